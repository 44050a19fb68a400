"""Models as files of other libraries: written and verified, read, and weights converted."""
