"""Torch networks of models."""

from designspace.networks.build import build, fuse_for_cpu

__all__ = ["build", "fuse_for_cpu"]
