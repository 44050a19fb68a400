"""Torch networks of models."""

from designspace.networks.build import block_params, build

__all__ = ["block_params", "build"]
