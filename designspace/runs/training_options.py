"""Validate training options without importing torch."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from designspace.errors import InputError, nearest

VAL_CHOICES = ("held-out", "test")
_MAX_THREADS = 1024
# The batch systems that dask-jobqueue supports, and the command that submits a job.
_CLUSTERS = {
    "slurm": "sbatch",
    "pbs": "qsub",
    "sge": "qsub",
    "lsf": "bsub",
    "htcondor": "condor_submit",
    "oar": "oarsub",
}
DATA_SETS = (
    "digits",
    "cifar10",
    "cifar100",
    "folder:PATH",
    "imagenet:PATH",
    "files:LIST",
    *("webdataset:PATTERN", "hf:PATH"),
)


def check_training_options(
    *,
    data: str,
    val: str,
    seed: int,
    jobs: int | None,
    device: str,
    time_limit: float | None,
) -> None:
    """Check each option of a training.

    Args:
        data: A data set, as `parse_source` takes it.
        val: held-out or test.
        seed: Seed of the run.
        jobs: Trials at once, or None for the device's default.
        device: auto, cpu, cuda, cuda:N or mps.
        time_limit: Seconds that a trial may train, or None.

    Raises:
        InputError: For the first invalid one.
    """
    parse_source(data)
    check_val(val)
    check_seed(seed)
    check_jobs(jobs)
    check_device(device)
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"time_limit is {time_limit:g}; it must be above 0 seconds", "time_limit")


def check_seed(seed: int) -> None:
    """Raise unless torch and NumPy both accept the seed."""
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}; it must be from 0 to 2**63 - 1", "seed")


def check_threads(threads: int | None) -> None:
    """Raise unless the number of threads is None or in range."""
    if threads is not None and not 1 <= threads <= _MAX_THREADS:
        raise InputError(f"threads is {threads}; it must be from 1 to {_MAX_THREADS}", "threads")


def check_jobs(jobs: int | None) -> None:
    """Raise unless `jobs` is None or at least 1."""
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1", "jobs")


def check_val(val: str) -> None:
    """Raise unless `val` is a known split."""
    if val not in VAL_CHOICES:
        raise InputError(f"val is {val!r}; it must be {' or '.join(VAL_CHOICES)}", "val")


def check_device(device: str) -> None:
    """Raise unless `device` is a device's name; whether this machine has it, torch knows."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", device):
        raise InputError(
            f"device is {device!r}; it must be auto, cpu, cuda, cuda:N or mps", "device"
        )


def check_cluster(cluster: str | None) -> None:
    """Raise unless the batch system is known and this machine can submit jobs to it."""
    if cluster is None:
        return
    if cluster not in _CLUSTERS:
        raise InputError(f"cluster is {cluster!r}; {nearest(cluster, list(_CLUSTERS))}", "cluster")
    command = _CLUSTERS[cluster]
    if shutil.which(command) is None:
        raise InputError(
            f"cluster is {cluster!r}, but this machine has no command {command}; start training on "
            "a machine that submits jobs",
            "cluster",
        )


def parse_cluster_option(text: str) -> tuple[str, Any]:
    """Return the key and the value of KEY=VALUE, whose value is YAML or a time.

    Raises:
        InputError: It is written otherwise (`cluster_options`).
    """
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise InputError(
            f"cluster_options has {text!r}; write KEY=VALUE, such as queue=gpu", "cluster_options"
        )
    # YAML 1.1 reads a time such as 04:00:00, or 1-04:00:00, as a number.
    if re.fullmatch(r"(\d+-)?\d+(:\d+)+", value):
        return key, value
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        return key, value


def check_source_kind(spec: str) -> None:
    """Raise unless a data set is of a kind that can be read; whether it is here doesn't matter.

    Raises:
        InputError: There is no such kind, or its path is missing.
    """
    kind, colon, path = spec.partition(":")
    if (kind == "digits" and not colon) or kind in ("cifar10", "cifar100"):
        return
    if kind in ("folder", "imagenet", "hf"):
        if not path:
            raise InputError(f"data is {spec!r}; add the folder, as in {kind}:PATH", "data")
    elif kind == "webdataset":
        if not path:
            example = "webdataset:shards/{000..049}.tar"
            raise InputError(f"data is {spec!r}; add the shards, as in {example}", "data")
    elif kind != "files":
        if os.path.isdir(spec):
            raise InputError(
                f"data is {spec!r}; for a folder of images write folder:{spec}", "data"
            )
        raise InputError(
            f"data is {spec!r}, an unknown data set; {nearest(spec, list(DATA_SETS))}", "data"
        )


def parse_source(spec: str) -> tuple[str, str]:
    """Return the kind of a data set and its folder, or "" for the default one.

    Args:
        spec: digits, cifar10[:PATH], cifar100[:PATH], folder:PATH, imagenet:PATH, files:LIST (a
            text file with the path of an image on each line), webdataset:PATTERN (tar shards) or
            hf:PATH (saved by Hugging Face's datasets).

    Raises:
        InputError: There is no such kind or no such folder.
    """
    check_source_kind(spec)
    kind, _, path = spec.partition(":")
    if kind in ("folder", "imagenet", "hf"):
        folder = os.path.expanduser(path)
        if not os.path.isdir(folder):
            raise InputError(f"data is {spec!r}, but there is no folder {folder}", "data")
    if kind == "files":
        file = os.path.expanduser(path)
        if os.path.isdir(file):
            raise InputError(
                f"data is {spec!r}, but {path} is a folder; write folder:{path}, or files: with a "
                "text file that names an image on each line",
                "data",
            )
        if not os.path.isfile(file):
            raise InputError(f"data is {spec!r}, but there is no file {path!r}", "data")
    return kind, path


def has_addresses(pattern: str) -> bool:
    """Return whether a pattern of shards has pipes or URLs, rather than files alone."""
    return "pipe:" in pattern or "://" in pattern


def absolute_source(spec: str) -> str:
    """Return the specification of a data set with an absolute path."""
    kind, colon, path = spec.partition(":")
    if kind == "webdataset" and has_addresses(path):
        return spec
    return f"{kind}:{Path(path).expanduser().resolve()}" if colon else spec


def chosen_models(
    only: str | None, limit: int | None, size: int, run: Path | str
) -> tuple[int, ...] | None:
    """Return the indices of the models to train, or None for all.

    Args:
        only: Comma-separated indices and inclusive ranges: 0-249, 7,12-15.
        limit: Maximum number of models, from the first, or None.
        size: Models in the population.
        run: Its run folder, for messages.

    Raises:
        InputError: The text is malformed, or names models that don't exist.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1", "limit")
    if only is None:
        return None if limit is None else tuple(range(min(limit, size)))
    indices: set[int] = set()
    for part in only.replace(" ", "").split(","):
        indices.update(_parse_range(part, only, size, run))
    return tuple(sorted(indices))[:limit]


def _parse_range(part: str, only: str, size: int, run: Path | str) -> range:
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
    if match is None:
        raise InputError(
            f"only is {only[:40]!r}; {part[:40]!r} is not an index or a range low-high, "
            "as in 0-249,300",
            "only",
        )
    first, last = match[1], match[2] or match[1]
    # Eighteen digits exceed any population; int() refuses thousands of them.
    low, high = (int(digits.lstrip("0")[:18] or "0") for digits in (first, last))
    if high >= size:
        raise InputError(
            f"only is {only[:40]!r}; model {last[:20]} is not in {run}, which has "
            f"models 0 to {size - 1}",
            "only",
        )
    if low > high:
        raise InputError(
            f"only is {only[:40]!r}; {part[:40]} is descending; write {last[:20]}-{first[:20]}",
            "only",
        )
    return range(low, high + 1)
