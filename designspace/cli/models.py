"""What people mean by MODEL: a published network, a model.yaml, or a model of a run."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from designspace.arch import Model


def resolve_model(text: str, ours: str | None = None) -> "Model":
    """Return the network that a person names.

    Args:
        text: A catalog name such as RegNetY-128GF, the path of a model.yaml, or a model of a run
            such as results/a:12 or results/a:best.
        ours: What knows RegNet's block only, if anything: other blocks are refused for it.

    Raises:
        InputError: There is no such model or file, or the file is wrong.
    """
    from designspace.arch import require_bottleneck

    model = _resolve(text)
    if ours is not None:
        require_bottleneck(model.body.block, f"{text}: {ours}")
    return model


def _resolve(text: str) -> "Model":
    from designspace.arch.model_names import published_model
    from designspace.errors import InputError
    from designspace.export.read_model import read_model_file
    from designspace.runs import Run

    of_run = re.fullmatch(r"(.+):(best|[0-9]{1,9})", text)
    if of_run and Path(of_run[1]).is_dir():
        return Run.open(of_run[1]).model("best" if of_run[2] == "best" else int(of_run[2]))
    path = Path(text)
    written = any((path / name).is_file() for name in ("model.yaml", "config.json"))
    if path.is_file() or written:
        return read_model_file(path)
    try:
        return published_model(text)
    except InputError as error:
        if path.suffix in (".yaml", ".yml", ".json"):
            return read_model_file(path)
        raise InputError(
            f"{error} (or the path of a model.yaml, or a model of a run: RUN:INDEX, RUN:best)"
        ) from None
