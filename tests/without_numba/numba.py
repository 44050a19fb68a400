"""Stands before the installed numba on the path with `pytest --without-numba`, in workers too."""

raise ImportError("hidden by --without-numba")
