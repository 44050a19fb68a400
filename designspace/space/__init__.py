"""Design spaces: their files, distributions, budgets, and the sampler."""

from designspace.arch import MEASURES
from designspace.space.budget import Budget
from designspace.space.load import load_space, shipped_settings, shipped_spaces
from designspace.space.sampler import Sample, SamplingStats, sample, sample_prefix, sample_record
from designspace.space.space import Space, parse_space

__all__ = [
    "MEASURES",
    "Budget",
    "Sample",
    "SamplingStats",
    "Space",
    "load_space",
    "parse_space",
    "sample",
    "sample_prefix",
    "sample_record",
    "shipped_settings",
    "shipped_spaces",
]
