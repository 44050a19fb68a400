"""Speed and memory of models, measured on this machine."""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace import arch, runs
from designspace.api.model import load_model
from designspace.api.run import load_run
from designspace.errors import InputError, check_types
from designspace.io.atomic_write import make_folder, make_output_folder
from designspace.runs.folder_kind import check_new_run, holds_model
from designspace.runs.measurements import Measurement, settings_of
from designspace.runs.space_file import check_extends
from designspace.space import Budget, Space

if TYPE_CHECKING:
    import pandas as pd

    from designspace.measurement.latency_model import LatencyModel
    from designspace.measurement.measure_options import MeasureOptions
    from designspace.measurement.sample_measured import MeasuredSample


# Models of one setting from which a latency model is reported.
_ENOUGH_TO_FIT = 20


@dataclass(frozen=True)
class Measurements:
    """Measurements of some models, in the order of the models.

    Attributes:
        records: One for each model and batch size.

    Example:
        >>> import designspace as ds
        >>> model = ds.sample("RegNetX@8", n=1, flops="180K:220K")[0]
        >>> result = ds.measure(model, device="cpu", threads=1, time_limit=0.1, progress=False)
        >>> result.to_frame()["flops"].tolist() == [model.flops]
        True
    """

    records: tuple[Measurement, ...]

    def __len__(self) -> int:
        return len(self.records)

    def to_frame(self) -> "pd.DataFrame":
        """Return a DataFrame with one row per measurement.

        Columns: `name`; the setting; `latency`, `low`, `high` (seconds of a step: the median with
        its 95 % interval); `images_per_second`; `memory` (bytes); `n`, `rounds`, `noise`, `load`,
        `noisy`; `flops`, `params`, `acts`, `depth`; `failure`.
        """
        import pandas as pd

        hidden = ("id", "versions", "memory_method")
        rows = [record.to_record() for record in self.records]
        return pd.DataFrame([{k: v for k, v in row.items() if k not in hidden} for row in rows])

    @property
    def warnings(self) -> list[str]:
        """What makes the numbers doubtful: failures, and a machine that was busy or unsteady."""
        timed = [record for record in self.records if record.latency is not None]
        noisy = [record for record in timed if record.noisy]
        texts = [
            f"{r.name}, batch {r.setting.batch}: {r.failure}" for r in self.records if r.failure
        ]
        if noisy:
            load, noise = max(r.load for r in noisy), max(r.noise for r in noisy)
            texts.append(
                f"noisy machine: {len(noisy)} of {len(timed)} times are doubtful; other processes "
                f"used up to {100 * load:.0f} % of the machine, and rounds of one model differed "
                f"by up to {100 * noise:.0f} %. On a quiet machine, a longer time limit narrows "
                "the intervals"
            )
        return texts

    def lines(self) -> list[str]:
        """Return a readable table: each setting, and below it one line per model."""
        lines: list[str] = []
        for setting in settings_of(self.records):
            lines.append(str(setting))
            chosen = [record for record in self.records if record.setting == setting]
            lines += [_line(record) for record in chosen]
            if sum(record.latency is not None for record in chosen) >= _ENOUGH_TO_FIT:
                model = self.latency_model(**asdict(setting))
                lines.append(f"  time by {model}")
        return lines

    def latency_model(self, **choice: Any) -> "LatencyModel":
        """Fit time on flops, acts, params and depth.

        Args:
            **choice: Fields of the setting, such as batch=1; needed if there are several.

        Raises:
            InputError: There are several settings, or fewer than 10 measured models.
        """
        from designspace.measurement.latency_model import fit_latency

        chosen = [record for record in self.records if record.setting.matches(choice)]
        settings = {replace(setting, resolution=0) for setting in settings_of(chosen)}
        if len(settings) > 1:
            listed = "; ".join(map(str, settings_of(chosen)))
            raise InputError(f"a latency model is of one setting; choose among: {listed}")
        return fit_latency([record for record in chosen if record.latency is not None])

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(border=0))


@check_types
def measure(
    models: "Sequence[arch.Model | runs.Run | str | Path] | arch.Model | runs.Run | str | Path",
    *,
    device: str = "auto",
    threads: int | None = None,
    batch: int | str | Sequence[int] = 1,
    precision: str | None = None,
    mode: str = "inference",
    compile: bool = False,
    limit: int | None = None,
    time_limit: float = 5.0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Measurements:
    """Measure latency, images a second and peak memory of models on this machine.

    Models take turns in rounds, until the 95 % interval of each median is narrower than 2 %. Those
    of a run are recorded in its measurements.jsonl and join its table; what is recorded there of
    the same setting on the same machine is measured again only if it was noisy. Networks are plain
    torch modules in channels_last, with fresh weights.

    Args:
        models: A model, anything that `load_model` accepts, a run (all its models), or several.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; by default one per core.
        batch: Images per step: a number, or several (`"1,64"`).
        precision: `"fp32"`, `"tf32"`, `"bf16"` or `"fp16"`; by default fp32 on CPUs, and TF32 on
            GPUs that have it.
        mode: `"inference"` (forward) or `"training"` (forward, loss, backward, SGD step).
        compile: Use torch.compile.
        limit: Only the first so many models of each run.
        time_limit: Seconds of timing per model and batch size.
        out: Folder for the measurements.jsonl of models that are not part of a run.
        progress: Show a progress bar on a terminal or in a notebook, lines elsewhere.

    Raises:
        InputError: This machine lacks the device or the precision, or there is no such model.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=2, flops="180K:220K", out="results/timed")
        >>> result = ds.measure(run, device="cpu", threads=1, time_limit=0.1, progress=False)
        >>> len(result), (run.to_frame()["latency"] > 0).all().item()
        (2, True)
    """
    from designspace.measurement.measure_options import MeasureOptions, parse_batches

    one = isinstance(models, str | Path | arch.Model | runs.Run)
    listed: list[Any] = [models] if one else list(models)  # type: ignore[arg-type]
    if not listed:
        raise InputError("models is empty; give at least one", "models")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1", "limit")
    batches = parse_batches(batch)
    options = MeasureOptions(
        device,
        threads,
        batches[0],
        precision,  # type: ignore[arg-type]
        mode,  # type: ignore[arg-type]
        compile,
        time_limit,
    )
    parts = _parts(listed, limit, None if out is None else Path(out))

    from designspace.api.progress import Display, progress_bar
    from designspace.measurement.measure_journal import measure_into

    records: list[Measurement] = []
    kept = all(folder is not None for folder, _ in parts)
    stopped = "the same call resumes" if kept else "with an output folder the same call resumes"
    with progress_bar(f"stopped; {stopped}", progress) as bar:
        display = Display(bar, silent=not progress)

        def show(done: int, total: int, last: Measurement) -> None:
            speed = last.failure or f"{1000 * (last.latency or 0):.4g} ms"
            about = f"{last.name}, batch {last.setting.batch}: {speed}"
            display.show("measuring", done, total, about, last=done == total)

        for folder, chosen in parts:
            for size in batches:
                with nullcontext() if folder is None else folder.lock():
                    journal = None if folder is None else folder.measurements_file
                    records += measure_into(journal, chosen, options.with_batch(size), show)
    return Measurements(tuple(records))


def sample_within(
    space: Space,
    n: int,
    budgets: tuple[Budget, ...],
    measured: tuple[Budget, ...],
    options: "MeasureOptions",
    seed: int,
    max_candidates: int,
    out: str | Path | None,
    progress: bool,
) -> "MeasuredSample":
    """Sample within budgets of latency and memory; `out` keeps what is measured as it comes.

    Raises:
        InputError: Too little fits, or `out` holds another population.
    """
    from designspace.api.progress import Display, progress_bar
    from designspace.measurement.sample_measured import measured_identity, sample_measured

    folder = None if out is None else runs.Run(out)
    before: tuple[str, ...] = ()
    if folder is not None:
        check_new_run(folder.path)
        make_folder(folder.path)
    if folder is not None and folder.space_file.exists():
        stored = folder.space()
        sampled = stored.get("sample", {})
        setting = measured_identity(measured, space, options)
        before_setting = {key: (sampled.get("measured") or {}).get(key) for key in setting}
        population = (space.name, seed, [budget.to_dict() for budget in budgets])
        if (
            before_setting != setting
            or (stored.get("name"), sampled.get("seed"), sampled.get("budget")) != population
        ):
            raise InputError(
                f"{folder.path} holds another population, or one measured on another machine or in "
                "another setting; choose another folder",
                "out",
            )
        before = folder.population().ids
        check_extends(folder.path, len(before), n)
    with (
        progress_bar("stopped; the same call resumes in a folder", progress) as bar,
        nullcontext() if folder is None else folder.lock(),
    ):
        display = Display(bar, silent=not progress)
        count = itertools.count(1)

        def show(done: int, total: int, last: Measurement) -> None:
            speed = last.failure or f"{1000 * (last.latency or 0):.4g} ms"
            tried = next(count)
            display.show("measuring", tried, max(tried, n + 32), f"{last.name}: {speed}")

        def searched(accepted: int, most: int, tried: int) -> None:
            display.show("sampling", accepted, most, f"{tried:,} candidates tried")

        journal = None if folder is None else folder.measurements_file
        result = sample_measured(
            space, n, budgets, measured, options, seed, max_candidates, journal, show, searched
        )
    if before and result.sample.population.ids[: len(before)] != before:
        raise InputError(
            f"{out} holds models that the measurements in it don't lead to; choose another folder",
            "out",
        )
    return result


def predictions(measured: Mapping[str, Any] | None) -> list[str]:
    """Return what the record of a measured budget says of its predictions, one line a measure."""
    from designspace.measurement.latency_model import LatencyModel

    models = (measured or {}).get("models", {})
    return [f"{name}: {LatencyModel(**fit)}" for name, fit in models.items()]


def _parts(
    listed: list[Any], limit: int | None, out: Path | None
) -> list[tuple[runs.Run | None, list[arch.Model]]]:
    """Return which models to measure into which folder; None is none."""
    parts: list[tuple[runs.Run | None, list[arch.Model]]] = []
    loose: list[arch.Model] = []
    for entry in listed:
        if isinstance(entry, runs.Run) or (isinstance(entry, str | Path) and _is_folder(entry)):
            run = load_run(entry)
            count = min(len(run), limit or len(run))
            parts.append((run, [run.model(i) for i in range(count)]))
        else:
            loose.append(load_model(entry))
    if limit is not None and not parts:
        raise InputError(f"limit is {limit}, which counts models of runs; name a run", "limit")
    if loose:
        folder = None if out is None else runs.Run(make_output_folder(out))
        parts.append((folder, loose))
    elif out is not None:
        raise InputError(
            f"out is {str(out)!r}, but every model is part of a run, whose folder has the results",
            "out",
        )
    return parts


def _is_folder(path: str | Path) -> bool:
    """Whether it is a folder that is a run, or should be one."""
    return Path(path).is_dir() and not holds_model(path)


def _line(record: Measurement) -> str:
    if record.latency is None:
        return f"  {record.name:<24}  {record.failure}"
    low, high = 1000 * (record.low or 0), 1000 * (record.high or 0)
    memory = "" if record.memory is None else f"  {record.memory / 1e6:8.1f} MB"
    return (
        f"  {record.name:<24}{1000 * record.latency:10.4g} ms ({low:.4g} to {high:.4g})"
        f"{record.images_per_second:10.1f} images/s{memory}{'  noisy' if record.noisy else ''}"
    )
