"""A folder of models that were trained elsewhere: `models.csv`, and `import.yaml` about them.

`models.csv` has a line a model in sampled order: id, state, error (percent, empty where there is
none), then what is known of flops, params and acts, and any parameters. Columns `d1` .. `dk` and
`w1` .. `wk` (with `b1` .., `g1` ..) are read as the stages of a body, `d`, `w_0`, `w_a`, `w_m`, `b`
and `g` as a RegNet's parameters. `import.yaml` says where they came from and what was left out.
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from designspace.analysis.accounting import counted_models
from designspace.analysis.population_results import STATES, PopulationResults, Provenance
from designspace.arch import BodyBatch, RegNetParams, RegNetParamsBatch
from designspace.arch.parameter_columns import parameters
from designspace.errors import InputError, nearest
from designspace.io.atomic_write import make_folder, write_text
from designspace.io.serialization import readable
from designspace.io.text_files import read_text
from designspace.io.validation import validate
from designspace.io.yaml_files import dump_yaml, read_yaml
from designspace.stats.arrays import FloatArray

IMPORT_FILE = "import.yaml"
MODELS_FILE = "models.csv"
COSTS = ("flops", "params", "acts")
_REGNET = ("d", "w_0", "w_a", "w_m", "b", "g")
_MOST_STAGES = 16
# Beyond these, numbers that are called d1 or w1 are no depths and widths of networks.
_MOST_BLOCKS, _MOST_WIDTH = 10_000, 10_000_000


class About(BaseModel):
    """The shape of import.yaml."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    family: str = "imported"
    source: str = ""
    error: str = ""
    chance: float = Field(default=100.0, ge=0, le=100)
    split: str = "unknown"
    notes: list[str] = []


@dataclass(frozen=True, eq=False)
class Imported:
    """Models that were trained elsewhere, in sampled order.

    Attributes:
        about: Where they come from.
        ids: A name of each, distinct.
        states: complete, diverged, failed or missing, (n,).
        errors: Percent, NaN where there is none, (n,).
        columns: flops, params, acts and parameters as far as known, each (n,).
    """

    about: About
    ids: tuple[str, ...]
    states: NDArray[np.str_]
    errors: FloatArray
    columns: Mapping[str, FloatArray]


def write_imported(imported: Imported, folder: Path) -> None:
    """Write models and what is known about them into a folder.

    Raises:
        InputError: The folder cannot be written.
    """
    make_folder(folder)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "state", "error", *imported.columns])
    columns = [values.tolist() for values in imported.columns.values()]
    for i, identifier in enumerate(imported.ids):
        cells = (imported.errors[i].item(), *(values[i] for values in columns))
        writer.writerow([identifier, imported.states[i], *map(_cell, cells)])
    write_text(folder / MODELS_FILE, text.getvalue())
    header = "Models that were trained elsewhere (written by designspace import)."
    write_text(folder / IMPORT_FILE, dump_yaml(imported.about.model_dump(), header))


def read_table(
    text: str, path: Path, delimiter: str = ","
) -> tuple[list[str], list[dict[str, str]]]:
    """Return the header of a table, and its rows by column; cells that a row lacks are empty.

    Raises:
        InputError: It is no CSV.
    """
    lines = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=delimiter)
    try:
        rows = list(lines)
    except csv.Error as error:
        raise InputError(f"import: {path}: not CSV: {error}") from None
    return list(lines.fieldnames or []), rows


def read_imported(folder: Path, all_finished: bool = False) -> PopulationResults:
    """Read a folder that `write_imported` wrote, or that a person wrote by hand.

    Raises:
        InputError: A file is missing or wrong; file, line and rule are named.
    """
    about = validate(
        About, read_yaml(folder / IMPORT_FILE, "import"), folder / IMPORT_FILE, "import"
    )
    path = folder / MODELS_FILE
    header, rows = read_table(read_text(path, "import"), path)
    if not rows or not {"id", "state", "error"} <= set(header):
        raise InputError(f"import: {path}: needs a header with id, state, error, and models below")
    states = np.array([_state(row["state"], i, path) for i, row in enumerate(rows)], dtype="U8")
    columns = {name: _column(rows, name, path) for name in header if name not in ("id", "state")}
    errors = columns.pop("error")
    bad = np.flatnonzero((errors < 0) | (errors > 100))
    if len(bad):
        raise InputError(
            f"import: {path}, line {bad[0] + 2}: error is {errors[bad[0]]:g}; it is 0 to 100"
        )
    # What is not known of every model can't be compared over them.
    known = {name: values for name, values in columns.items() if np.isfinite(values).all()}
    costs = {name: known.pop(name) for name in COSTS if name in known}
    regnets, bodies = _regnets(known), _stages(known)
    if regnets is not None or bodies is not None:
        free = {name: values for name, values in known.items() if not _is_body(name)}
        known = {**_own(bodies, regnets), **free}
    return PopulationResults(
        name=readable(folder.resolve().name),
        space=readable(about.name),
        family=about.family if regnets is None else "regnet",
        ids=tuple(readable(row["id"]) for row in rows),
        states=states,
        errors=errors,
        chance=about.chance,
        parameters=known,
        costs=costs,
        bodies=bodies,
        regnets=regnets,
        counted=counted_models(states, errors, all_finished),
        provenance=Provenance(
            path=readable(str(folder)),
            splits=(about.split,),
            notes=(f"imported from {about.source}; error is {about.error}", *about.notes),
        ),
    )


def _own(bodies: BodyBatch | None, regnets: RegNetParamsBatch | None) -> dict[str, FloatArray]:
    if regnets is not None:
        return {name: getattr(regnets, name).astype(np.float64) for name in _REGNET}
    assert bodies is not None
    return parameters(bodies)


def _is_body(name: str) -> bool:
    """Whether a column is one of a body's own: d, d1, w_0, ..."""
    return name in _REGNET or (name[:1] in "dwbg" and name[1:].isdecimal())


def _stages(columns: Mapping[str, FloatArray]) -> BodyBatch | None:
    """The bodies that columns d1, w1, b1, g1 .. describe, if they are whole and consistent."""
    counts = [
        next(k for k in range(_MOST_STAGES + 1) if f"{letter}{k + 1}" not in columns)
        for letter in "dwbg"
    ]
    k = counts[0]
    if k == 0 or counts[1] != k or any(n not in (0, k) for n in counts[2:]):
        return None
    n = len(columns["d1"])

    def array(letter: str, default: float) -> FloatArray:
        names = [f"{letter}{i + 1}" for i in range(k)]
        if names[0] in columns:
            return np.stack([columns[name] for name in names], axis=1)
        shared = columns.get(letter, np.full(n, default))
        return np.repeat(shared[:, None], k, axis=1)

    depths, widths = array("d", 1), array("w", 1)
    ratios, groups = array("b", 1), array("g", 1)
    if min(depths.min(), widths.min(), groups.min()) < 1 or ratios.min() <= 0:
        return None
    if depths.sum(axis=1).max() > _MOST_BLOCKS or widths.max() > _MOST_WIDTH:
        return None
    inner = np.rint(widths / ratios)
    groups = np.minimum(groups, np.maximum(inner, 1))
    if (inner < 1).any() or (inner % groups != 0).any():
        return None
    whole = [values.astype(np.int64) for values in (depths, widths, groups)]
    return BodyBatch(whole[0], whole[1], ratios, whole[2], np.zeros(n))


def _regnets(columns: Mapping[str, FloatArray]) -> RegNetParamsBatch | None:
    if not set(_REGNET) <= set(columns):
        return None
    try:
        return RegNetParamsBatch.from_list(
            [
                RegNetParams(int(d), int(w_0), float(w_a), float(w_m), float(b), int(g))
                for d, w_0, w_a, w_m, b, g in zip(*(columns[k] for k in _REGNET), strict=True)
            ]
        )
    except InputError:  # not the paper's RegNets, say with w_0 that is no multiple of 8
        return None


def _state(text: str, i: int, path: Path) -> str:
    if text not in STATES:
        raise InputError(
            f"import: {path}, line {i + 2}: state is {text!r}; {nearest(text, list(STATES))}"
        )
    return text


def _column(rows: list[dict[str, str]], name: str, path: Path) -> FloatArray:
    cells = enumerate(rows, start=2)
    return np.array([_number(row[name], f"{path}, line {i}, {name}") for i, row in cells])


def _number(text: str | None, where: str) -> float:
    if text is None or not text.strip():
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise InputError(f"import: {where}: {text!r} is not a number") from None


def _cell(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
