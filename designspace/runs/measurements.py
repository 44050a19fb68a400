"""Measured speed and memory of models, and the journal measurements.jsonl that keeps it.

A measurement belongs to a setting: device, threads, batch, precision, mode and so on. Numbers of
different settings are never mixed: a table has those of one, which the caller chooses.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from designspace.errors import InputError
from designspace.io import journal
from designspace.io.validation import from_plain
from designspace.runs.recipe import Precision

MEASUREMENTS_FILE = "measurements.jsonl"
Mode = Literal["inference", "training"]
# Columns of a population's table.
MEASURED_COLUMNS = ("latency", "latency_low", "latency_high", "memory")


@dataclass(frozen=True)
class MeasuredSetting:
    """What a model was measured on, and how.

    Attributes:
        device: Product name, as in trials: `cpu (…)` or that of a GPU.
        threads: CPU threads.
        batch: Images per step.
        precision: fp32, tf32, bf16 or fp16.
        mode: inference (forward) or training (forward, loss, backward, SGD step).
        compile: Whether torch.compile was used.
        resolution: Side of the images, in pixels.
        torch: Version of torch.
        channels_last: Whether tensors had the memory format channels_last.
    """

    device: str
    threads: int
    batch: int
    precision: Precision
    mode: Mode
    compile: bool
    resolution: int
    torch: str
    channels_last: bool = True

    def matches(self, choice: Mapping[str, Any]) -> bool:
        """Whether each chosen field has its value; devices `cpu` and `cuda` match their kind."""
        return all(
            self.device_kind == value
            if name == "device" and value in ("cpu", "cuda", "mps")
            else getattr(self, name) == value
            for name, value in choice.items()
        )

    @property
    def device_kind(self) -> str:
        """cpu, mps or cuda."""
        kind = self.device.partition(" ")[0]
        return kind if kind in ("cpu", "mps") else "cuda"

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}"
        return (
            f"{self.device}{threads if self.device_kind == 'cpu' else ''}, batch {self.batch}, "
            f"{self.precision}, {self.mode}{', compiled' if self.compile else ''}"
            f"{'' if self.channels_last else ', channels first'}, {self.resolution} pixels, "
            f"torch {self.torch}"
        )


@dataclass(frozen=True)
class Measurement:
    """One line of measurements.jsonl: a model measured in one setting.

    Attributes:
        id: Content hash of the model's body, as in population.jsonl.
        name: The model's name.
        flops: Its multiply-adds.
        params: Its learnable numbers, which tell apart networks of one body with other heads.
        acts: Its activations.
        depth: Its blocks.
        setting: What it was measured on, and how.
        latency: Median seconds of a step; None where it failed.
        low: Lower end of the 95 % interval of the median.
        high: Upper end.
        n: Timed samples, each the mean of some steps.
        rounds: Rounds that they were taken in, between which other models had their turn.
        noise: Relative difference between the slowest and the fastest round's median.
        load: Load average of the machine per core, apart from this process.
        noisy: Whether the numbers should not be trusted; see `designspace.measurement.timing`.
        memory: Peak bytes, or None where unknown.
        memory_method: What `memory` counts; "" where it was not to be measured.
        failure: Why it could not be measured, or "".
        versions: Versions of designspace, torch and Python.
    """

    id: str
    name: str
    flops: int
    params: int
    acts: int
    depth: int
    setting: MeasuredSetting
    latency: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    rounds: int = 0
    noise: float = 0.0
    load: float = 0.0
    noisy: bool = False
    memory: int | None = None
    memory_method: str = ""
    failure: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int, int, MeasuredSetting]:
        """What is measured once: the network and the setting.

        The id is of the stages alone: stem and strides show in params and flops.
        """
        return self.id, self.params, self.flops, self.setting

    @property
    def images_per_second(self) -> float | None:
        """Images per second at the median latency."""
        return None if self.latency is None else self.setting.batch / self.latency

    def to_record(self) -> dict[str, Any]:
        """Return plain data without nested settings, as in measurements.jsonl."""
        record = asdict(self)
        setting = record.pop("setting")
        first = {key: record.pop(key) for key in ("id", "name", "flops", "params", "acts", "depth")}
        speed = {"images_per_second": self.images_per_second}
        return {**first, **setting, **record, **speed}

    @staticmethod
    def from_record(record: Mapping[str, Any], where: str) -> "Measurement":
        """Read what `to_record` wrote.

        Raises:
            InputError: A key is missing, or a value is out of range.
        """
        names = {entry.name for entry in fields(MeasuredSetting)}
        setting = {key: value for key, value in record.items() if key in names}
        rest = {k: v for k, v in record.items() if k not in names and k != "images_per_second"}
        result = from_plain(Measurement, {**rest, "setting": setting}, where)
        values = [v for v in (result.latency, result.low, result.high) if v is not None]
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise InputError(f"{where}: latency, low and high must be positive numbers")
        if (result.latency is None) != bool(result.failure):
            raise InputError(f"{where}: a measurement has either a latency or a failure")
        return result


def read_measurements(path: Path) -> tuple[Measurement, ...]:
    """Return the last measurement of each network and setting; a missing file has none.

    A torn last line, of a process that died while writing it, is ignored.

    Raises:
        InputError: Another line is damaged.
    """
    current: dict[object, Measurement] = {}
    for number, record in enumerate(journal.read(path, "measurements").records, start=1):
        measurement = Measurement.from_record(record, f"{path}, record {number}")
        current[measurement.key] = measurement
    return tuple(current.values())


def append_measurements(path: Path, measurements: Iterable[Measurement]) -> None:
    """Append measurements to a journal; they are on disk when this returns."""
    if records := [measurement.to_record() for measurement in measurements]:
        journal.append(path, records)


def settings_of(measurements: Iterable[Measurement]) -> list[MeasuredSetting]:
    """Return the settings of some measurements, in order of their first appearance."""
    return list(dict.fromkeys(measurement.setting for measurement in measurements))


def select_measurements(
    measurements: Sequence[Measurement], where: Path | str, **choice: Any
) -> dict[str, Measurement]:
    """Return the measurements of one setting by the id of their models.

    Args:
        measurements: Those of a run.
        where: The run, for messages.
        **choice: Values of fields of `MeasuredSetting`, such as device="cpu", threads=1.

    Raises:
        InputError: No setting or several settings match; the message lists those there are.
    """
    names = [entry.name for entry in fields(MeasuredSetting)]
    unknown = sorted(choice.keys() - set(names))
    if unknown:
        raise InputError(f"{unknown[0]} is not part of a setting; known: {', '.join(names)}")
    choice = {name: value for name, value in choice.items() if value is not None}
    settings = settings_of(measurements)
    if not settings:
        raise InputError(f"{where}: no model has been measured; measure them first")
    matching = [setting for setting in settings if setting.matches(choice)]
    if len(matching) != 1:
        wanted = ", ".join(f"{name}={value!r}" for name, value in choice.items()) or "none"
        listed = "; ".join(str(setting) for setting in (matching or settings))
        problem = f"{len(matching)} settings match" if matching else "no setting matches"
        raise InputError(
            f"{where}: {problem} the choice ({wanted}), and only one can be compared. Choose by "
            f"{', '.join(names[:7])}; measured: {listed}"
        )
    return {m.id: m for m in measurements if m.setting == matching[0]}


def measured_columns(
    ids: Sequence[str], by_id: Mapping[str, Measurement]
) -> dict[str, list[float]]:
    """Return columns `latency`, `latency_low`, `latency_high` (seconds) and `memory` (bytes).

    Args:
        ids: Models, in the order of the table's rows.
        by_id: Measurements of one setting.

    Returns:
        Columns of len(ids) numbers, NaN where a model was not measured or failed.
    """
    rows = [by_id.get(id_) for id_ in ids]
    names = ("latency", "low", "high", "memory")
    values = [[getattr(row, name, None) for row in rows] for name in names]
    return {
        column: [math.nan if value is None else float(value) for value in row]
        for column, row in zip(MEASURED_COLUMNS, values, strict=True)
    }
