"""Torch networks of models."""

from designspace.networks.build import build, build_on_meta, fuse_for_cpu

__all__ = ["build", "build_on_meta", "fuse_for_cpu"]
