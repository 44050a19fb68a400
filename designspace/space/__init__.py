"""What may be chosen: spaces, their files, budgets, and the sampler."""

from designspace.space.budget import MEASURES, Budget, Measure
from designspace.space.load import load_space, shipped_settings, shipped_spaces
from designspace.space.sampler import Sample, SamplingStats, sample, sample_record
from designspace.space.space import Space

__all__ = [
    "MEASURES",
    "Budget",
    "Measure",
    "Sample",
    "SamplingStats",
    "Space",
    "load_space",
    "sample",
    "sample_record",
    "shipped_settings",
    "shipped_spaces",
]
