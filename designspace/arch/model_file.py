"""model.yaml: one network with its parameters, explicit stages, cost and provenance.

A file has RegNet parameters, explicit stages, or both (which must agree). Files that we write have
both where there are parameters, and the cost, so that they can be read without this package; a cost
that does not fit the stages means that the file was edited, and is an error.
"""

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from designspace.arch.blocks import activations_of, block_axes, body_axes, has_squeeze
from designspace.arch.body import Body
from designspace.arch.cost import MEASURES
from designspace.arch.model import Model
from designspace.arch.regnet import RegNetParams
from designspace.arch.skeleton import Skeleton
from designspace.arch.valid_names import NAME_PATTERN
from designspace.errors import InputError, shortened
from designspace.io.atomic_write import write_text
from designspace.io.validation import validate
from designspace.io.yaml_files import dump_yaml, read_yaml


class ModelFile(BaseModel):
    """The keys of model.yaml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=NAME_PATTERN)
    input: Skeleton = Skeleton()
    se_ratio: float = Field(default=0.0, ge=0, le=1)
    regnet: RegNetParams | None = None
    stages: Body | None = None
    cost: dict[str, Annotated[int, Field(ge=0)]] = {}
    provenance: dict[str, str | int | float] = {}

    @model_validator(mode="before")
    @classmethod
    def _one_se_ratio(cls, data: Any) -> Any:
        parts = [part for part in (data, data.get("stages")) if isinstance(part, dict)]
        stated = [part["se_ratio"] for part in parts if "se_ratio" in part]
        if len(stated) == 2 and stated[0] != stated[1]:
            values = [shortened(str(value), 20) for value in stated]
            raise ValueError(
                f"se_ratio is {values[0]}, but stages.se_ratio is {values[1]}; keep one of them"
            )
        return data

    @model_validator(mode="after")
    def _check(self) -> "ModelFile":
        if self.stages is not None and "se_ratio" not in self.model_fields_set:
            self.se_ratio = self.stages.se_ratio
        if self.regnet is None and self.stages is None:
            raise ValueError("needs `regnet` (d, w_0, w_a, w_m, b, g) or explicit `stages`")
        unknown = sorted(set(self.cost) - set(MEASURES))
        if unknown:
            raise ValueError(f"cost.{unknown[0]}: unknown key; known: {', '.join(MEASURES)}")
        return self


def read_model(path: Path | str) -> Model:
    """Read a model.yaml.

    Raises:
        InputError: With file, key path, value and rule of each mistake.
    """
    data = read_yaml(Path(path), "model")
    checked = validate(ModelFile, data, path, "model")
    try:
        return _model(checked)
    except InputError as error:
        raise InputError(f"model: {path}: {error}") from None


def write_model(model: Model, path: Path | str) -> None:
    """Write a model.yaml, which `read_model` returns unchanged.

    Raises:
        InputError: The folder does not exist or cannot be written.
    """
    write_text(Path(path), model_text(model))


def model_text(model: Model) -> str:
    """Render a model as the text of a model.yaml."""
    stages = model.body.to_dict()
    data: dict[str, Any] = {"name": model.name, "input": model.skeleton.to_dict()}
    data["se_ratio"] = stages.pop("se_ratio")
    if model.regnet is not None:
        data["regnet"] = model.regnet.to_dict()
    data["stages"] = stages
    data["cost"] = {"flops": model.flops, "params": model.params, "acts": model.acts}
    if model.provenance:
        data["provenance"] = dict(model.provenance)
    header = (
        f"A network: `designspace complexity FILE` prints its cost, `designspace export FILE` "
        f"writes it for other libraries.\ncost: multiply-adds, learnable numbers and activations "
        f"at {model.skeleton.resolution} pixels."
    )
    return dump_yaml(data, header)


def _model(checked: ModelFile) -> Model:
    if checked.stages is not None:
        body = replace(checked.stages, se_ratio=checked.se_ratio)
        _check_block(body)
    else:
        assert checked.regnet is not None
        body = checked.regnet.body(checked.se_ratio)
    provenance = tuple((key, str(value)) for key, value in checked.provenance.items())
    model = Model(checked.name, body, checked.input, checked.regnet, provenance)
    for key, stated in checked.cost.items():
        exact = getattr(model, key)
        if exact != stated:
            raise InputError(
                f"cost.{key}: {stated}; these stages at {model.skeleton.resolution} pixels have "
                f"{exact}: the file was edited (remove `cost`, or correct the stages)"
            )
    return model


def _check_block(body: Body) -> None:
    """Raise unless a body has the parameters of its block, with possible values, and no more."""
    block, axes = body.block, {axis.name: axis for axis in block_axes(body.block)}
    names = [name for name, _ in body.extras]
    if sorted(names) != sorted(axes):
        raise InputError(
            f"stages.extras has {shortened(', '.join(names)) or 'nothing'}; {block} blocks have "
            f"{', '.join(axes) or 'no axes of their own'}"
        )
    for name, values in body.extras:
        for i, value in enumerate(values):
            try:
                axes[name].check(value)
            except ValueError as error:
                raise InputError(f"stages.extras.{name}[{i}]: {error}") from None
    for axis, key in (("b", "bottleneck_ratios"), ("g", "group_widths")):
        values = getattr(body, key)
        if axis not in body_axes(block) and set(values) != {1}:
            raise InputError(
                f"stages.{key}: must be 1 in every stage, as {block} blocks have no {axis}; found "
                f"{', '.join(f'{value:g}' for value in values)}"
            )
    if body.se_ratio and not has_squeeze(block):
        raise InputError(
            f"se_ratio: must be 0, as {block} blocks have no squeeze-and-excitation; found "
            f"{body.se_ratio:g}"
        )
    supported = activations_of(block) or ("relu",)
    if body.activation not in supported:
        raise InputError(
            f"stages.activation: must be {' or '.join(supported)} in {block} blocks; found "
            f"{body.activation}"
        )


def check_target(path: Path) -> None:
    """Raise unless a model file may be written; an existing one may be overwritten.

    Raises:
        InputError: Another kind of file is in the way, or there is no folder to write in.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"cannot make folder {path.parent}: {folder} is a file")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {path}: {os.strerror(errno.EACCES)}")
    if not path.exists():
        return
    try:
        read_model(path)
    except InputError:
        raise InputError(f"{path} exists and is not a model file; choose another path") from None
