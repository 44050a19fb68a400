"""What may be asked of a training: rules that need no torch, so that a mistake is met at once."""

import os
from pathlib import Path

from designspace.errors import InputError, nearest

VAL_CHOICES = ("held-out", "test")
_MOST_THREADS = 1024
_DATA = ("digits", "cifar10", "cifar100", "folder:PATH", "imagenet:PATH")


def check_training_options(
    *,
    data: str,
    val: str,
    seed: int,
    jobs: int | None,
    device: str,
    time_limit: float | None,
) -> None:
    """Check the options of a training, each on its own.

    Args:
        data: digits, cifar10, cifar100, folder:PATH or imagenet:PATH.
        val: held-out or test.
        seed: Seed of the run.
        jobs: Trials at once, or None for what suits the devices.
        device: auto, cpu, cuda, cuda:N or mps.
        time_limit: Seconds that a trial may train, or None.

    Raises:
        InputError: For the first that cannot be.
    """
    parse_source(data)
    check_val(val)
    check_seed(seed)
    check_jobs(jobs)
    check_device(device)
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"--time-limit is {time_limit:g}; it must be above 0 seconds")


def check_seed(seed: int) -> None:
    """Refuse what torch and NumPy don't both take as a seed."""
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed is {seed}; it must be from 0 to 2**63 - 1")


def check_threads(threads: int | None) -> None:
    """Refuse no thread, and more than a machine would start."""
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise InputError(f"--threads is {threads}; it must be from 1 to {_MOST_THREADS}")


def check_jobs(jobs: int | None) -> None:
    """Refuse less than one trial at once."""
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs is {jobs}; it must be at least 1")


def check_val(val: str) -> None:
    """Refuse what is no choice of validation images."""
    if val not in VAL_CHOICES:
        raise InputError(f"--val {val}: no such choice; it is {' or '.join(VAL_CHOICES)}")


def check_device(device: str) -> None:
    """Refuse what is no device's name; whether this machine has it, torch must tell."""
    kind, colon, number = device.partition(":")
    plain = device in ("auto", "cpu", "mps", "cuda")
    if not plain and not (kind == "cuda" and colon and number.isdecimal()):
        raise InputError(f"--device {device}: unknown; it is auto, cpu, cuda, cuda:N or mps")


def parse_source(spec: str) -> tuple[str, str]:
    """Return the kind of a data set and its folder, which is empty where none is named.

    Raises:
        InputError: There is no such kind, or no such folder.
    """
    kind, colon, path = spec.partition(":")
    if kind == "digits" and not colon:
        return kind, ""
    if kind in ("cifar10", "cifar100"):
        return kind, path
    if kind in ("folder", "imagenet"):
        if not path:
            raise InputError(f"data {spec!r}: give the folder, as in {kind}:PATH")
        folder = os.path.expanduser(path)
        if not os.path.isdir(folder):
            raise InputError(f"data {spec}: no folder {folder}")
        return kind, path
    if os.path.isdir(spec):
        raise InputError(f"no data set {spec!r}; for a folder of images write folder:{spec}")
    raise InputError(f"no data set {spec!r}; {nearest(spec, list(_DATA))}")


def absolute_source(spec: str) -> str:
    """Write the path of a data set so that it holds from any folder."""
    kind, colon, path = spec.partition(":")
    return f"{kind}:{Path(path).expanduser().resolve()}" if colon else spec


def chosen_models(
    only: str | None, limit: int | None, size: int, where: Path | str
) -> tuple[int, ...] | None:
    """Return the indices of the models that are to be trained, or None for all.

    Args:
        only: Numbers and ranges as people write them: 0-249, 7,12-15.
        limit: Only the first so many of them.
        size: Models of the population.
        where: Its run folder, for messages.

    Raises:
        InputError: It is no such list, or names models that are not there.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit is {limit}; it must be at least 1")
    if only is None:
        return None if limit is None else tuple(range(min(limit, size)))
    found: set[int] = set()
    for part in only.replace(" ", "").split(","):
        found.update(_span(part, only, size, where))
    return tuple(sorted(found))[:limit]


def _span(part: str, only: str, size: int, where: Path | str) -> range:
    first, dash, last = part.partition("-")
    if not dash:
        last = first
    if not (first.isdecimal() and last.isdecimal()):
        raise InputError(
            f"--only {only[:40]!r}: {part[:40]!r} is not a number or a range low-high, "
            "as in 0-249,300"
        )
    # Eighteen digits are beyond any population; int() refuses thousands of them.
    low, high = (int(word.lstrip("0")[:18] or "0") for word in (first, last))
    if high >= size:
        raise InputError(
            f"--only {only:.40}: model {last:.20} is not in {where}, which has "
            f"models 0 to {size - 1}"
        )
    if low > high:
        raise InputError(f"--only {only:.40}: {part} runs backwards; write {last}-{first}")
    return range(low, high + 1)
