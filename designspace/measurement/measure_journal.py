"""Measure models into a journal: what it has of the same setting isn't measured again.

Noisy measurements are, once a call: another moment, or a longer time limit, may give better ones.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from designspace.arch import Model
from designspace.measurement.measure_models import Target, measure_models
from designspace.measurement.measure_options import MeasureOptions
from designspace.runs.measurements import Measurement, append_measurements, read_measurements

# Receives how many models are measured, of how many, and the last measurement.
Progress = Callable[[int, int, Measurement], None]


def measure_into(
    journal: Path | None,
    models: Sequence[Model],
    options: MeasureOptions,
    progress: Progress = lambda done, total, last: None,
    repeat_noisy: bool = True,
) -> list[Measurement]:
    """Return a measurement of each model, from the journal or measured now.

    Args:
        journal: File that new measurements are appended to as they come, or None.
        models: The models, in order; one that failed before is tried again.
        options: How to measure.
        progress: Called after each new measurement.
        repeat_noisy: Whether models whose recorded measurement is noisy are measured again.

    Raises:
        InputError: The machine lacks the device or the precision, or the journal is damaged.
    """
    target = Target.of(options)
    keys = [
        (m.body.id, m.params, m.flops, target.setting(m.skeleton.resolution, options))
        for m in models
    ]
    records = () if journal is None else read_measurements(journal)
    recorded = {m.key: m for m in records if not (m.noisy and repeat_noisy)}
    results = {
        key: recorded[key] for key in keys if key in recorded and _complete(recorded[key], options)
    }
    left = {key: model for key, model in zip(keys, models, strict=True) if key not in results}

    def done(measurements: list[Measurement]) -> None:
        if journal is not None:
            append_measurements(journal, measurements)
        for measurement in measurements:
            results[measurement.key] = measurement
            progress(len(results), len(set(keys)), measurement)

    if left:
        measure_models(list(left.values()), options, done)
    return [results[key] for key in keys]


def _complete(measurement: Measurement, options: MeasureOptions) -> bool:
    """Whether a model need not be measured again: it ran, with its memory if that is wanted."""
    return not measurement.failure and bool(measurement.memory_method or not options.memory)
