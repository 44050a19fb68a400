"""Options that several verbs share."""

import inspect
import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

MODEL_HELP = (
    "A published name (RegNetY-4.0GF, regnet_y_400mf, resnet50.a1_in1k, …), a model.yaml or "
    "another library's config file, or a model of a run (RUN:INDEX, RUN:best)."
)

# Data sets that may have labels, and all: a list of files has none.
LABELLED_DATA = (
    "digits, cifar10, cifar100, folder:PATH, imagenet:PATH, webdataset:PATTERN or hf:PATH"
)
DATA = LABELLED_DATA.replace(" webdataset", " files:LIST (a text file of paths), webdataset")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
TrialsAtOnce = Annotated[
    int | None,
    typer.Option(help="Trials at once; by default one per core, on GPUs what proves fastest."),
]
BatchSize = Annotated[int | None, typer.Option(help="Overrides the recipe's.")]
LearningRate = Annotated[float | None, typer.Option(help="Overrides the recipe's.")]
TimeLimit = Annotated[
    float | None, typer.Option(help="Seconds after which a trial fails; inf: no limit.")
]
Compile = Annotated[
    bool | None,
    typer.Option("--compile/--no-compile", help="Use torch.compile (for long GPU trials)."),
]
Exact = Annotated[
    bool | None,
    typer.Option("--exact/--no-exact", help="On CUDA, use deterministic algorithms; slower."),
]
ImageResults = Annotated[
    bool | None,
    typer.Option(
        "--image-results/--no-image-results",
        help="Keep which validation images each model got right; by default up to 50,000.",
    ),
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Write event files to RUN/tensorboard.")
]
Threads = Annotated[int | None, typer.Option(help="Threads on the CPU; by default one per core.")]
MeasureMode = Annotated[str, typer.Option(help="inference or training, when measured.")]
MeasurePrecision = Annotated[
    str | None, typer.Option(help="fp32, tf32, bf16 or fp16, when measured.")
]
MeasureTime = Annotated[float, typer.Option(help="Seconds of timing per measured model.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch the data set if it is missing.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of decoded images and downloads.")]
Log = Annotated[
    list[str] | None,
    typer.Option(help="Log to tensorboard, mlflow or wandb; several with commas."),
]
Resolution = Annotated[int | None, typer.Option(help="Side of the input, in pixels.")]
Classes = Annotated[int | None, typer.Option(help="Outputs of the classifier.")]
Backend = Annotated[
    str | None, typer.Option(help="loky (this machine) or dask; by default as options imply.")
]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler: tcp://HOST:8786.")
]
Cluster = Annotated[
    str | None, typer.Option(help="Batch system to start --jobs Dask workers on: slurm.")
]
ClusterOption = Annotated[
    list[str] | None, typer.Option(help="For the batch system: queue=gpu, walltime=04:00:00.")
]
Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", help="Python file that defines a block of your own; its code is executed."
    ),
]


def parse_setting(text: str) -> dict[str, Any]:
    """Return the fields of a measured setting from text such as `batch=1,threads=1`."""
    from designspace.errors import InputError

    pairs = [part.partition("=") for part in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise InputError(f"setting is {text!r}; give pairs such as batch=1,threads=1", "setting")
    words: dict[str, Any] = {"true": True, "false": False}
    return {
        name.strip(): int(value) if value.isdecimal() else words.get(value.lower(), value)
        for name, _, value in pairs
    }


def with_plugins(verb: Callable[..., None]) -> Callable[..., None]:
    """Return a verb with --plugin: the Python files that the user names are executed first."""

    @wraps(verb)
    def command(*, plugin: list[Path] | None = None, **options: Any) -> None:
        import designspace as ds

        for path in plugin or ():
            ds.load_plugin(path)
        verb(**options)

    kind = inspect.Parameter.KEYWORD_ONLY
    added = inspect.Parameter("plugin", kind, default=None, annotation=Plugin)
    signature = inspect.signature(verb)
    parameters = [*signature.parameters.values(), added]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {**verb.__annotations__, "plugin": Plugin}
    return command


def typed_command(context: typer.Context) -> str:
    """Return the command that is running, with all options that differ from their defaults."""
    options, places = [], []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if value is None or value == parameter.default:
            continue
        values = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if parameter.param_type_name == "argument":
            places += values
        elif isinstance(value, bool):
            options += [(parameter.opts if value else parameter.secondary_opts)[0]]
        else:
            options += [word for one in values for word in (max(parameter.opts, key=len), one)]
    return shlex.join([*context.command_path.split(), *places, *options])


def split_commas(words: list[str] | None) -> list[str]:
    """Return the values of an option that may be repeated, or have several with commas."""
    return [value.strip() for word in words or () for value in word.split(",")]
