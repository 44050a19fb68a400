"""A toolkit from a space of networks to a network worth pretraining."""

__version__ = "0.1.0"
