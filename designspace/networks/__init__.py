"""Torch networks of models."""

from designspace.networks.build import build

__all__ = ["build"]
