"""space.yaml and population.jsonl of a run folder, read and checked."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from designspace.arch import BodyBatch, Cost, Population, RegNetParams, RegNetParamsBatch, Skeleton
from designspace.arch.body import Body
from designspace.errors import InputError, counted
from designspace.io import journal
from designspace.io.fingerprint import unseal
from designspace.io.validation import validate
from designspace.io.yaml_files import read_yaml

_COSTS = ("flops", "params", "acts")
_RESTORE = "run the same `designspace sample` again to restore it"


def check_extends(path: Path, before: int, n: int) -> None:
    """Raise unless n models extend a folder that holds some of their population already.

    Raises:
        InputError: There are more.
    """
    if before > n:
        raise InputError(
            f"{path} already holds {counted(before, 'model')} of this population; sample at least "
            "as many, or choose another folder",
            "out",
        )


class _Budget(BaseModel, extra="allow"):
    measure: str
    low: float = Field(ge=0)
    high: float = Field(ge=0)


class _Sample(BaseModel, extra="allow"):
    n: int | None = Field(default=None, ge=1, le=10**7)
    seed: int | None = None
    hash: str | None = None
    budget: list[_Budget] = []


class _SpaceFile(BaseModel):
    """The keys of space.yaml that a run relies on; the package `space` checks the others."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)
    family: Literal["anynet", "regnet"]
    input: dict[str, Any]
    stages: list[int] | None = None
    sample: _Sample = _Sample()


def read_space(path: Path) -> dict[str, Any]:
    """Read a resolved space with its `sample` map as plain data.

    Raises:
        InputError: The file is damaged, or was edited after it was written.
    """
    data = unseal(read_yaml(path, "space"), path, "space")
    validate(_SpaceFile, data, path, "space")
    return data


def read_population(path: Path, space: dict[str, Any], space_file: Path) -> Population:
    """Read the population of a resolved space.

    Raises:
        InputError: A line is damaged, missing, out of order or was edited.
    """
    try:
        skeleton = Skeleton.from_dict(space["input"])
    except InputError as error:
        raise InputError(f"{space_file}: input: {error}") from None
    records = journal.read(path, "population").records
    counts = space.get("stages") or [skeleton.num_stages]
    n = space.get("sample", {}).get("n", len(records))
    if len(records) != n or not records:
        raise InputError(
            f"{path} holds {counted(len(records), 'model')}, {space_file.name} says {n}; {_RESTORE}"
        )
    bodies: list[Body] = []
    regnets: list[RegNetParams] = []
    costs = np.empty((len(_COSTS), n), np.int64)
    for i, record in enumerate(records):
        try:
            bodies.append(_read_body(record, i, counts))
            if "regnet" in record:
                regnets.append(RegNetParams(**record["regnet"]))
            costs[:, i] = [_read_cost(record, name) for name in _COSTS]
        except InputError as error:
            raise InputError(f"{path}, line {i + 1}: {error}") from None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{path}, line {i + 1}: {error!r}; a model has id, index, arch, "
                f"{', '.join(_COSTS)}; {_RESTORE}"
            ) from None
    if regnets and len(regnets) != n:
        raise InputError(f"{path}: only {counted(len(regnets), 'line has', 'lines have')} a regnet")
    return Population(
        skeleton=skeleton,
        bodies=BodyBatch.from_bodies(bodies),
        cost=Cost(*costs),
        regnets=RegNetParamsBatch.from_list(regnets) if regnets else None,
    )


def _read_body(record: dict[str, Any], index: int, counts: list[int]) -> Body:
    body = Body.from_dict(record["arch"])
    if record["id"] != body.id or record["index"] != index:
        raise InputError("id or index does not match the arch: the line was edited")
    if body.num_stages not in counts:
        raise InputError(f"{body.num_stages} stages; the space has {' or '.join(map(str, counts))}")
    return body


def _read_cost(record: dict[str, Any], name: str) -> int:
    value = int(record[name])
    if not 0 <= value < 2**63:
        raise InputError(f"{name} is {value:g}, out of range for a network")
    return value
