"""`designspace derive`: a network of the wished cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from designspace.arch import Skeleton
    from designspace.derive.derivation import Derivation, Family
    from designspace.derive.scaling_rules import Rule
    from designspace.derive.target import Target


def derive(
    out: Annotated[Path, typer.Option(help="The model.yaml to write.")],
    family: Annotated[
        str | None, typer.Option(help="regnetx, or regnety (squeeze-and-excitation).")
    ] = None,
    flops: Annotated[str | None, typer.Option(help="Target multiply-adds, such as 256G.")] = None,
    params: Annotated[str | None, typer.Option(help="Target parameters, such as 20M.")] = None,
    acts: Annotated[str | None, typer.Option(help="Target activations, such as 10M.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Factor of flops, in place of a target.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A published name, a model.yaml, a model of a run (RUN:INDEX, RUN:best), or a "
            "folder of `designspace analyze`. "
            "Without it: the family's published model nearest to the target.",
        ),
    ] = None,
    rule: Annotated[
        str, typer.Option(help="width, depth, resolution, dw, dr, wr, dwr, or fast (dWr).")
    ] = "width",
    search: Annotated[
        int | None,
        typer.Option(help="Take the best predicted of so many sampled networks of that cost."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Space for --search; by default that of the findings.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for --search.")] = 0,
    population: Annotated[
        str | None, typer.Option(help="Which population of the findings to start from.")
    ] = None,
    imagenet: Annotated[
        bool, typer.Option("--imagenet", help="224 pixels, 1000 classes, stem 32, all strides 2.")
    ] = False,
    resolution: Annotated[int | None, typer.Option(help="Side of the input, in pixels.")] = None,
    classes: Annotated[int | None, typer.Option(help="Outputs of the classifier.")] = None,
    batch: Annotated[int, typer.Option(help="Images a step, for predicted memory.")] = 64,
    name: Annotated[str | None, typer.Option(help="Name of the network.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Scale findings or a published model to a target, and print each step.

    Examples:

      designspace derive --family regnety --from RegNetY-128GF --flops 256G --out m.yaml

      designspace derive --family regnety --flops 1.5M --from results/report --out m.yaml

      designspace derive --from results/a:best --scale 4 --rule fast --out big.yaml

      designspace derive --from results/report --flops 1.5M --search 500 --out m.yaml
    """
    import json

    from designspace.arch import check_name
    from designspace.arch.model_file import replaceable, write_model
    from designspace.derive.scaling_rules import find_rule
    from designspace.errors import InputError
    from designspace.io.files import make_folder

    if not 1 <= batch <= 10**6:
        raise InputError(f"--batch is {batch}; it must be 1 to 1000000")
    if name is not None:
        check_name(name)
    target = _target({"flops": flops, "params": params, "acts": acts}, scale)
    options = _Options(
        _family(family), find_rule(rule), target, scale, name, imagenet, resolution, classes
    )
    if from_ is not None and Path(from_).is_dir():
        made = _from_findings(options, Path(from_), population, search, space, seed)
    elif search is not None:
        raise InputError(
            "--search learns errors from a study: give --from DIR, a folder of designspace analyze"
        )
    else:
        made = _from_model(options, from_)
    make_folder(out.parent)
    if out.exists():
        replaceable(out)
    write_model(made.model, out)
    if json_:
        print(json.dumps(_record(made, batch, out)))
    else:
        _show(made, batch, out)


class _Options:
    """What was asked for, checked."""

    def __init__(
        self,
        family: "Family | None",
        rule: "Rule",
        target: "Target | None",
        factor: float | None,
        name: str | None,
        imagenet: bool,
        resolution: int | None,
        classes: int | None,
    ) -> None:
        self.family, self.rule, self.target = family, rule, target
        self.factor, self.name, self.imagenet = factor, name, imagenet
        self.resolution, self.classes = resolution, classes

    def skeleton(self, before: "Skeleton") -> "Skeleton":
        """Return the frame asked for: the parent's, or ImageNet's, with what was given."""
        from dataclasses import replace

        from designspace.arch import Skeleton

        base = Skeleton(strides=(2,) * before.num_stages) if self.imagenet else before
        return replace(
            base,
            resolution=base.resolution if self.resolution is None else self.resolution,
            classes=base.classes if self.classes is None else self.classes,
        )


def _target(texts: dict[Any, str | None], scale: float | None) -> "Target | None":
    import math

    from designspace.arch import parse_quantity
    from designspace.derive.target import Target
    from designspace.errors import InputError

    given = {key: text for key, text in texts.items() if text is not None}
    if len(given) + (scale is not None) != 1:
        raise InputError(
            "give one target: --flops, --params or --acts (such as 256G), or --scale (such as 2)"
        )
    if scale is not None:
        if not (math.isfinite(scale) and 1e-9 <= scale <= 1e9):
            raise InputError(f"--scale is {scale}; it must be a number from 1e-9 to 1e9")
        return None
    ((key, text),) = given.items()
    return Target(key, parse_quantity(text, f"--{key}"))


def _family(text: str | None) -> "Family | None":
    from designspace.derive.derivation import FAMILY_NAMES
    from designspace.errors import InputError, nearest

    for family in FAMILY_NAMES:
        if text is not None and text.lower() == family:
            return family
    if text is not None:
        raise InputError(f"no family {text!r}; {nearest(text, list(FAMILY_NAMES))}")
    return None


def _from_model(options: _Options, text: str | None) -> "Derivation":
    from dataclasses import replace

    from designspace.cli.models import resolve_model
    from designspace.derive.derivation import (
        as_family,
        beyond_published,
        derive,
        in_frame,
        nearest_published,
    )
    from designspace.errors import InputError

    words = []
    if text is not None:
        parent = resolve_model(text, "derive")
    else:
        if options.family is None or options.target is None:
            raise InputError(
                "give --from (a published name, a model.yaml, or findings), or --family"
            )
        parent = nearest_published(options.family, options.target)
        words.append(
            f"No --from: starting from {parent.name}, the published {options.family} nearest to "
            f"{options.target}."
        )
    if options.family is not None:
        family = as_family(parent, options.family)
        if family is not parent:
            words.append(
                f"{parent.name} is taken with squeeze-and-excitation ratio "
                f"{family.body.se_ratio:g}, as {options.family} has it."
            )
        parent = family
    parent = in_frame(parent, options.skeleton(parent.skeleton))
    made = derive(parent, options.rule, options.target, options.factor, options.name)
    beyond = beyond_published(made.model)
    warnings = (*made.warnings, beyond) if beyond else made.warnings
    return replace(made, steps=(*words, *made.steps), warnings=warnings)


def _from_findings(
    options: _Options,
    folder: Path,
    population: str | None,
    search: int | None,
    space: str | None,
    seed: int,
) -> "Derivation":
    from dataclasses import replace

    from designspace.analysis.study_findings import read_findings
    from designspace.arch import Skeleton
    from designspace.derive.derivation import SE_RATIOS, Derivation, derive
    from designspace.derive.search import search as look
    from designspace.errors import InputError

    found = read_findings(folder, population)
    family = options.family or "regnetx"
    warnings: list[str] = []
    skeleton = found.skeleton or (Skeleton() if options.imagenet else None)
    skeleton = options.skeleton(skeleton) if skeleton else None
    parent, words = found.median_model(skeleton, SE_RATIOS[family])
    if search is not None:
        if options.target is None or options.imagenet or options.resolution or options.classes:
            raise InputError(
                "--search samples networks of a target cost in a space's own input size: give "
                "--flops, --params or --acts, and --space for another size"
            )
        model, words, warnings = look(found, family, options.target, search, seed, space)
        name = options.name or _searched_name(family, options.target)
        made = Derivation(parent, replace(model, name=name), options.rule, 1.0, tuple(words))
    else:
        made = derive(parent, options.rule, options.target, options.factor, options.name)
        made = replace(made, steps=(*words, *made.steps))
        warnings += made.warnings
        if found.few:
            warnings.append(
                "few models carry the medians of the findings: another study may differ"
            )
    outside = found.extrapolation(made.model)
    inside = () if outside else ("The result lies within the findings' range of flops.",)
    if outside:
        warnings.append(outside)
    return replace(made, steps=(*made.steps, *inside), warnings=tuple(warnings))


def _searched_name(family: "Family", target: "Target") -> str:
    from designspace.derive.derivation import FAMILY_NAMES, target_suffix

    return f"{FAMILY_NAMES[family]}-{target_suffix(target)}-searched"


def _record(made: "Derivation", batch: int, out: Path) -> dict[str, Any]:
    regnet = made.model.regnet
    return {
        "out": str(out),
        **made.model.summary(),
        "regnet": None if regnet is None else regnet.to_dict(),
        "rule": made.rule.name,
        "factor": made.factor,
        "steps": list(made.steps),
        "warnings": list(made.warnings),
        "batch": batch,
        "prediction": made.prediction(batch),
        "provenance": dict(made.model.provenance),
    }


def _show(made: "Derivation", batch: int, out: Path) -> None:
    for number, step in enumerate(made.steps, start=1):
        print(f"{number}. {step}")
    labels: dict[str, tuple[str, float, str]] = {
        "flops": ("multiply-adds", 1, ",.0f"),
        "params": ("parameters", 1, ",.0f"),
        "acts": ("activations", 1, ",.0f"),
        "memory": (f"training memory, batch {batch}, GB", 1e9, ",.3g"),
    }
    parent = "parent" if len(made.parent.name) > 22 else made.parent.name
    print(f"\n{made.model.name:<36}{'':>18}{parent:>24}{'ratio':>9}")
    for key, values in made.prediction(batch).items():
        label, unit, style = labels[key]
        value, before = (format(values[k] / unit, style) for k in ("value", "parent"))
        print(f"  {label:<34}{value:>18}{before:>24}{values['ratio']:>9.4g}")
    for warning in made.warnings:
        print(f"Mind: {warning}.")
    print(f"\nwritten: {out}")
