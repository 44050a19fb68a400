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
    from designspace.arch import published
    from designspace.arch.model_file import read_model
    from designspace.errors import InputError
    from designspace.runs import Run

    of_run = re.fullmatch(r"(.+):(best|[0-9]{1,9})", text)
    if of_run and Path(of_run[1]).is_dir():
        return Run.open(of_run[1]).model("best" if of_run[2] == "best" else int(of_run[2]))
    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        return read_model(text)
    if Path(text).is_dir() and (Path(text) / "model.yaml").is_file():
        return read_model(Path(text) / "model.yaml")
    try:
        return published(text)
    except InputError as error:
        raise InputError(
            f"{error} (or the path of a model.yaml, or a model of a run: RUN:INDEX, RUN:best)"
        ) from None
