"""model.yaml: our own description of one network: parameters, explicit stages, cost, provenance.

A file may give RegNet parameters, explicit stages, or both (which must then agree). What we write
has both where there are parameters, and the cost, so that the file can be read without the tool;
a cost that does not fit the stages means that the file was edited, and is refused.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from designspace.arch import NAME_PATTERN, Body, Model, RegNetParams, Skeleton
from designspace.errors import InputError
from designspace.io.atomic_write import write_text
from designspace.io.validation import validate
from designspace.io.yaml_files import dump_yaml, read_yaml

_Positive = Annotated[int, Field(ge=1, le=10**7)]
_Ratio = Annotated[float, Field(ge=1 / 64, le=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Input(_Strict):
    resolution: int = Field(default=224, ge=1, le=8192)
    classes: int = Field(default=1000, ge=1, le=10**7)
    stem_width: int = Field(default=32, ge=1, le=10**5)
    stem_stride: int = Field(default=2, ge=1, le=2)
    strides: list[Annotated[int, Field(ge=1, le=2)]] = Field(
        default=[2, 2, 2, 2], min_length=1, max_length=16
    )


class _RegNet(_Strict):
    d: int = Field(ge=1, le=1000)
    w_0: int = Field(ge=8, le=10**5, multiple_of=8)
    w_a: float = Field(ge=0, le=1e5)
    w_m: float = Field(gt=1, le=100)
    b: _Ratio = 1.0
    g: int = Field(default=1, ge=1, le=10**6)


class _Stages(_Strict):
    depths: list[_Positive] = Field(min_length=1, max_length=16)
    widths: list[_Positive] = Field(min_length=1, max_length=16)
    bottleneck_ratios: list[_Ratio] = Field(min_length=1, max_length=16)
    group_widths: list[_Positive] = Field(min_length=1, max_length=16)


class _Cost(_Strict):
    flops: int = Field(ge=0)
    params: int = Field(ge=0)
    acts: int = Field(ge=0)


class ModelFile(_Strict):
    """The keys of model.yaml."""

    name: str = Field(pattern=NAME_PATTERN)
    input: _Input = _Input()
    se_ratio: float = Field(default=0.0, ge=0, le=1)
    regnet: _RegNet | None = None
    stages: _Stages | None = None
    cost: _Cost | None = None
    provenance: dict[str, str | int | float] = {}

    @model_validator(mode="after")
    def _check(self) -> "ModelFile":
        if self.regnet is None and self.stages is None:
            raise ValueError("needs `regnet` (d, w_0, w_a, w_m, b, g) or explicit `stages`")
        return self


def read_model(path: Path | str) -> Model:
    """Read a model.yaml.

    Raises:
        InputError: With file, key path, value and rule, for the first mistakes.
    """
    data = read_yaml(Path(path), "model")
    checked = validate(ModelFile, data, path, "model")
    try:
        return _model(checked)
    except InputError as error:
        raise InputError(f"model: {path}: {error}") from None


def write_model(model: Model, path: Path | str) -> None:
    """Write a model.yaml that `read_model` gives back unchanged.

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
    skeleton = Skeleton.from_dict(checked.input.model_dump())
    regnet = RegNetParams(**checked.regnet.model_dump()) if checked.regnet else None
    if checked.stages is not None:
        body = Body.from_dict({**checked.stages.model_dump(), "se_ratio": checked.se_ratio})
    else:
        assert regnet is not None
        body = regnet.body(checked.se_ratio)
    provenance = tuple((key, str(value)) for key, value in checked.provenance.items())
    model = Model(checked.name, body, skeleton, regnet, provenance)
    if checked.cost is not None:
        for key, stated in checked.cost.model_dump().items():
            exact = getattr(model, key)
            if exact != stated:
                raise InputError(
                    f"cost.{key}: {stated}; these stages at {skeleton.resolution} pixels have "
                    f"{exact}: the file was edited (drop `cost`, or mend the stages)"
                )
    return model


def replaceable(path: Path) -> None:
    """Allow an existing file to be written over where it is a model file itself.

    Raises:
        InputError: It is something else, which a person would miss.
    """
    try:
        read_model(path)
    except InputError:
        raise InputError(f"{path} exists and is no model file; choose another --out") from None
