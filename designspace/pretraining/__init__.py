"""SwAV pretraining of a trunk, and the evaluation of what it learned."""
