"""A folder of models that were trained elsewhere: `models.csv`, and `import.yaml` about them.

`models.csv` has one line per model in sampled order: id, state, error (percent, empty where there
is none), then flops, params and acts as far as they are known, and any other numbers; an empty
cell is unknown. `import.yaml` states where they came from, and which columns are parameters.
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from designspace.analysis.network_columns import is_network_column, read_networks
from designspace.analysis.population_results import MISSING, STATES, PopulationResults, Provenance
from designspace.analysis.trial_accounting import counted_models
from designspace.arch import Skeleton
from designspace.arch.activation import Activation
from designspace.arch.blocks import BOTTLENECK, block_axes
from designspace.errors import InputError, nearest
from designspace.io.atomic_write import make_folder, write_text
from designspace.io.serialization import readable
from designspace.io.text_files import read_text
from designspace.io.validation import validate
from designspace.io.yaml_files import dump_yaml, read_yaml
from designspace.runs import TrialState
from designspace.stats.arrays import FloatArray

IMPORT_FILE = "import.yaml"
MODELS_FILE = "models.csv"
COSTS = ("flops", "params", "acts")
# Columns of a table of models that are not costs or parameters.
RESERVED = ("id", "state", "error", "population", "index", "counted", "rank")
_MAX_LISTED = 5


class ImportInfo(BaseModel):
    """The schema of import.yaml."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    family: str = "imported"
    source: str = ""
    error: str = ""
    chance: float = Field(default=100.0, ge=0, le=100)
    split: str = "unknown"
    parameters: list[str] | None = Field(default=None, description="None: all but costs")
    input: dict[str, Any] | None = Field(default=None, description="input, stem and strides")
    block: str | None = Field(default=None, description="None: not stated, taken as bottleneck")
    activation: Activation = "relu"
    notes: list[str] = []

    def skeleton(self) -> Skeleton | None:
        """Return input, stem and strides of the models, or None where they are unknown."""
        return None if self.input is None else Skeleton.from_dict(self.input)


@dataclass(frozen=True, eq=False)
class ImportedResults:
    """Models that were trained elsewhere, in sampled order.

    Attributes:
        about: Where they come from.
        ids: A name of each, distinct.
        states: complete, diverged, failed or missing, (n,).
        errors: Percent, NaN where there is none, (n,).
        columns: flops, params, acts and all other numbers, each (n,), NaN where unknown.
    """

    about: ImportInfo
    ids: tuple[str, ...]
    states: NDArray[np.str_]
    errors: FloatArray
    columns: Mapping[str, FloatArray]


def write_imported(imported: ImportedResults, folder: Path) -> None:
    """Write models and their description into a folder.

    Raises:
        InputError: The folder cannot be written.
    """
    import pandas as pd

    make_folder(folder)
    columns = pd.DataFrame({"error": imported.errors, **imported.columns})
    frame = pd.DataFrame({"id": imported.ids, "state": imported.states})
    text = pd.concat([frame, columns.convert_dtypes()], axis=1).to_csv(
        index=False, lineterminator="\n"
    )
    write_text(folder / MODELS_FILE, text)
    header = "Models that were trained elsewhere (written by designspace import)."
    about = imported.about.model_dump(exclude_none=True)
    write_text(folder / IMPORT_FILE, dump_yaml(about, header))


def read_import_info(folder: Path) -> ImportInfo:
    """Read the import.yaml of a folder.

    Raises:
        InputError: It is missing or invalid.
    """
    path = folder / IMPORT_FILE
    about = validate(ImportInfo, read_yaml(path, "import"), path, "import")
    try:
        block_axes(about.block or BOTTLENECK)
    except InputError as error:
        raise InputError(f"import: {path}: {error}") from None
    return about


def read_imported(folder: Path, all_finished: bool = False) -> PopulationResults:
    """Read a folder that `write_imported` wrote, or that the user wrote by hand.

    Raises:
        InputError: A file is missing or invalid; the message names file, line and rule.
    """
    about = read_import_info(folder)
    stem = Path(about.source).stem
    path = folder / MODELS_FILE
    ids, states, errors, columns = _read_models(path)
    # A diverged model counts with chance error, whether or not the file says so.
    errors[(states == TrialState.DIVERGED.value) & np.isnan(errors)] = about.chance
    costs = {name: columns.pop(name) for name in COSTS if name in columns}
    if about.parameters is not None:
        columns = {name: values for name, values in columns.items() if name in about.parameters}
    networks = (
        read_networks(columns, about.block or BOTTLENECK, about.activation) if columns else None
    )
    notes = [f"imported from {about.source}; error is {about.error}", *about.notes]
    if networks is not None:
        others = {name: values for name, values in columns.items() if not is_network_column(name)}
        own = {
            name: np.where(networks.described, values, columns.get(name, values))
            for name, values in networks.parameters.items()
        }
        columns = {**own, **others}
        missing = int((~networks.described).sum())
        if missing:
            notes.append(f"{missing} of {len(ids)} models are not described as networks")
    return PopulationResults(
        # Without a name of its own it is called like its folder, as runs are.
        name=readable(folder.resolve().name if about.name == stem else about.name),
        space=readable(about.name),
        family=about.family if networks is None or networks.regnets is None else "regnet",
        ids=ids,
        states=states,
        errors=errors,
        chance=about.chance,
        parameters=columns,
        costs=costs,
        bodies=None if networks is None else networks.bodies,
        regnets=None if networks is None else networks.regnets,
        counted=counted_models(states, errors, all_finished),
        provenance=Provenance(
            path=readable(str(folder)), splits=(about.split,), notes=tuple(notes)
        ),
        resolution=None if about.input is None else about.input.get("resolution"),
        described=None if networks is None else networks.described,
    )


def _read_models(
    path: Path,
) -> tuple[tuple[str, ...], NDArray[np.str_], FloatArray, dict[str, FloatArray]]:
    """Return ids, states, errors, and all other columns of models.csv."""
    (header, *rows), (_, *lines) = csv_rows(read_text(path, "import").removeprefix("\ufeff"), path)
    rows = [row + [""] * (len(header) - len(row)) for row in rows]
    if not rows or not {"id", "state", "error"} <= set(header):
        raise InputError(f"import: {path}: needs a header with id, state, error, and models below")
    cells = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    problems: list[str] = []
    columns = {
        name: _numbers(values, name, lines, problems)
        for name, values in cells.items()
        if name not in ("id", "state")
    }
    states, errors = cells["state"], columns.pop("error")
    for i, state, error in zip(lines, states, errors.tolist(), strict=True):
        if state not in STATES:
            problems.append(f"line {i}: state is {state!r}; {nearest(state, list(STATES))}")
        if error < 0 or error > 100:
            problems.append(f"line {i}: error is {error:g}; it must be 0 to 100 percent")
        if state == TrialState.COMPLETE.value and math.isnan(error):
            problems.append(f"line {i}: a complete model needs an error")
        if state in (TrialState.FAILED.value, MISSING) and not math.isnan(error):
            problems.append(f"line {i}: a {state} model has no error; found {error:g}")
    if problems:
        raise InputError(f"import: {path}: {listed(problems)}")
    named = {usable_name(name, i): values for i, (name, values) in enumerate(columns.items())}
    ids = tuple(readable(name) for name in cells["id"])
    return ids, np.array(states, dtype="U8"), errors, named


def usable_name(name: str, place: int) -> str:
    """Return a column's name without control characters, never empty or reserved."""
    name = readable(" ".join(name.split())) or f"column {place + 1}"
    return f"{name} (imported)" if name in RESERVED else name


def csv_rows(text: str, path: Path, delimiter: str = ",") -> tuple[list[list[str]], list[int]]:
    """Return the rows of a CSV that are not blank, with stripped cells, and the line of each.

    Raises:
        InputError: The text is no CSV, or a row has more cells than the header.
    """
    rows, lines, line = [], [], 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
                lines.append(line)
            line = reader.line_num + 1  # a quoted cell may have several lines
    except csv.Error as error:
        raise InputError(f"import: {path}: not CSV: {error}") from None
    if not rows:
        raise InputError(f"import: {path}: needs a header line, and a model per line")
    rows[0] = [name or (f"column {i + 1}" if i else "") for i, name in enumerate(rows[0])]
    width = len(rows[0])
    if len(rows) > 1 and all(len(row) == width + 1 for row in rows[1:]):
        trailing = all(not row[-1] for row in rows[1:])
        # Either each row ends with a delimiter, or the row names have no header, as R writes them.
        rows = [row[:width] for row in rows] if trailing else [["", *rows[0]], *rows[1:]]
        width = len(rows[0])
    long = [line for line, row in zip(lines, rows, strict=True) if any(row[width:])]
    if long:
        raise InputError(
            f"import: {path}: the header has {width} columns, but these lines have more: "
            f"{listed([str(line) for line in long], ', ')}; quote cells that contain {delimiter!r}"
        )
    twice = sorted({name for name in rows[0] if name and rows[0].count(name) > 1})
    if twice:
        raise InputError(f"import: {path}: these columns occur twice: {listed(twice, ', ')}")
    return [row[:width] for row in rows], lines


def listed(items: list[str], separator: str = "; ") -> str:
    """Join the first few items, and count the rest."""
    more = len(items) - _MAX_LISTED
    return separator.join(items[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _numbers(cells: list[str], name: str, lines: list[int], problems: list[str]) -> FloatArray:
    values = np.full(len(cells), math.nan)
    for i, cell in enumerate(cells):
        if cell:
            try:
                values[i] = float(cell)
            except ValueError:
                problems.append(f"line {lines[i]}, {name}: {cell!r} is not a number")
    return values
