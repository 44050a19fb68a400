"""Derive a model of a target cost from a published model, your own, or a study's findings."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from designspace.analysis.findings import Findings
from designspace.analysis.read_findings import StudyPopulation, read_findings
from designspace.arch import CATALOG, Model, Skeleton, check_name, published, require_bottleneck
from designspace.derivation.cost_target import Target, parse_target
from designspace.derivation.imagenet_skeleton import imagenet_skeleton, imagenet_step
from designspace.derivation.scale_model import Derivation, regime, scale_model
from designspace.derivation.scaled_models import with_stem
from designspace.derivation.scaling_rules import DEFAULT_RULE, RULES, ScalingRule, find_rule
from designspace.derivation.search_by_findings import search_model
from designspace.errors import InputError, nearest

Family = Literal["regnetx", "regnety"]
FAMILY_NAMES: dict[Family, str] = {"regnetx": "RegNetX", "regnety": "RegNetY"}
SE_RATIOS: dict[Family, float] = {"regnetx": 0.0, "regnety": 0.25}


def derive_model(
    family: str | None = None,
    *,
    source: Model | Findings | Path | None = None,
    flops: str | float | None = None,
    params: str | float | None = None,
    acts: str | float | None = None,
    scale: float | None = None,
    rule: str = DEFAULT_RULE,
    search: int | None = None,
    space: str | None = None,
    seed: int = 0,
    population: str | None = None,
    imagenet: bool = False,
    resolution: int | None = None,
    classes: int | None = None,
    name: str | None = None,
) -> Derivation:
    """Derive a model with a target cost.

    The arguments are those of `designspace.derive`; `source` is a model, findings, or
    their folder.

    Returns:
        The model, its parent, and the steps and warnings of the derivation.

    Raises:
        InputError: There is no single target, or it can't be reached from the source.
    """
    if name is not None:
        check_name(name)
    target = parse_target(flops, params, acts)
    if (target is None) == (scale is None):
        raise InputError("give one target: flops, params or acts (such as 256G), latency or scale")
    kind, scaling_rule = _family(family), find_rule(rule)
    _refuse_idle(search, scaling_rule, space, seed)
    size = _Size(imagenet, resolution, classes)
    if source is None or isinstance(source, Model):
        if search is not None:
            raise InputError(
                "search fits its predictor to a study; source must be findings, or a folder of "
                "`designspace analyze`",
                "search",
            )
        if population is not None:
            raise InputError(
                f"population is {population!r}, which has no effect unless source is findings; "
                "leave it out",
                "population",
            )
        parent, steps = _choose_parent(source, kind, size, target)
        derivation = scale_model(parent, scaling_rule, target, scale, name)
        beyond = beyond_published(derivation.model)
        return derivation.add(steps, [beyond] if beyond else [])
    findings = read_findings(source, population)
    if family is not None:
        require_bottleneck(findings.block, f"{findings.place}: family={family!r}")
    if search is not None:
        require_bottleneck(findings.block, f"{findings.place}: search={search}")
    if search is None:
        parent, steps = _typical_parent(findings, kind, size)
        derivation = scale_model(parent, scaling_rule, target, scale, name).add(steps)
        if findings.few:
            few = "the medians come from few models: another study may give other values"
            derivation = derivation.add(warnings=[few])
    else:
        if target is None or size != _Size():
            raise InputError(
                "search samples models of a target cost at the space's own input size: give "
                "flops, params or acts, and space for another size",
                "search",
            )
        derivation = _searched(findings, kind, target, search, seed, space, name)
    outside = findings.extrapolation(derivation.model)
    if outside:
        return derivation.add(warnings=[outside])
    inside = "The model is within the findings' range of flops."
    return replace(derivation, steps=(*derivation.steps, inside))


def _refuse_idle(search: int | None, rule: ScalingRule, space: str | None, seed: int) -> None:
    """Raise for an argument that would have no effect, unless it has its default."""
    if search is None:
        for name, value, default in (("space", space, None), ("seed", seed, 0)):
            if value != default:
                raise InputError(
                    f"{name} is {value!r}, which has no effect without search; give search, or "
                    f"leave {name} out",
                    name,
                )
    elif rule.name != DEFAULT_RULE:
        raise InputError(
            f"rule is {rule.name!r}, which has no effect with search: its models are sampled, not "
            "scaled; leave one of them out",
            "rule",
        )


def nearest_published(family: Family, target: Target) -> Model:
    """Return the family's published model that is nearest to a target, by ratio."""
    prefix = FAMILY_NAMES[family] + "-"
    models = [published(name) for name in CATALOG if name.startswith(prefix)]

    def distance(model: Model) -> float:
        nominal = regime(model) if target.measure == "flops" else None
        return abs(float(np.log((nominal or target.of(model)) / target.value)))

    return min(models, key=distance)


def beyond_published(model: Model) -> str | None:
    """Say how far a model's flops at 224 pixels are outside the published family, or None."""
    if not model.is_regnet_network:
        return None
    prefix = "RegNetY-" if model.body.se_ratio else "RegNetX-"
    regimes = {n: e.nominal_flops for n, e in CATALOG.items() if n.startswith(prefix)}
    flops = model.at(resolution=224).flops
    smallest, largest = (pick(regimes, key=regimes.__getitem__) for pick in (min, max))
    ratios = (
        ("small", smallest, regimes[smallest] / flops),
        ("large", largest, flops / regimes[largest]),
    )
    for size, name, ratio in ratios:
        if ratio > 1.1:
            return (
                f"no published {prefix[:-1]} is so {size}: {ratio:.4g} times beyond {name} (by "
                "multiply-adds at 224 pixels)"
            )
    return None


def as_family(model: Model, family: Family) -> Model:
    """Return the model with or without squeeze-and-excitation, as its family has it."""
    se = SE_RATIOS[family]
    if (model.body.se_ratio > 0) == (se > 0):
        return model
    return replace(model, body=replace(model.body, se_ratio=se))


@dataclass(frozen=True)
class _Size:
    """The requested input size and classes."""

    imagenet: bool = False
    resolution: int | None = None
    classes: int | None = None

    def of(self, skeleton: Skeleton | None, block: str, where: str) -> Skeleton | None:
        """Return the skeleton with what was requested, starting from ImageNet's if requested.

        None, where it is unknown, stays None without `imagenet`.
        """
        base = imagenet_skeleton(skeleton, block, where) if self.imagenet else skeleton
        return base and replace(
            base,
            resolution=base.resolution if self.resolution is None else self.resolution,
            classes=base.classes if self.classes is None else self.classes,
        )


def _family(name: str | None) -> Family | None:
    for family in FAMILY_NAMES:
        if name is not None and name.lower() == family:
            return family
    if name is not None:
        raise InputError(f"no family {name!r}; {nearest(name, list(FAMILY_NAMES))}", "family")
    return None


def _choose_parent(
    source: Model | None, family: Family | None, size: _Size, target: Target | None
) -> tuple[Model, list[str]]:
    """Return the model to scale, of the requested family and size, and the steps to it."""
    steps = []
    if source is None:
        if family is None or target is None:
            raise InputError("pass source=, a model or a findings folder, or family= and a target")
        source = nearest_published(family, target)
        steps.append(f"Start from {source.name}, the published {family} nearest to {target}.")
    if family is not None:
        require_bottleneck(source.body.block, f"{source.name}: family={family!r}")
    parent = source if family is None else as_family(source, family)
    if parent is not source:
        steps.append(
            f"Set the squeeze-and-excitation ratio of {parent.name} to "
            f"{parent.body.se_ratio:g}, as in {family}."
        )
    skeleton = size.of(parent.skeleton, parent.body.block, parent.name)
    assert skeleton is not None
    if size.imagenet:
        if skeleton.stem == "patch":
            skeleton = with_stem(parent.body, skeleton, parent)
        steps.append(imagenet_step(skeleton))
    return parent.with_skeleton(skeleton), steps


def _typical_parent(
    findings: StudyPopulation, family: Family | None, size: _Size
) -> tuple[Model, list[str]]:
    """Return the model of the findings' medians at the requested size, and the steps to it."""
    around = size.of(findings.skeleton, findings.block, findings.place)
    parent, steps = findings.median_model(around, family and SE_RATIOS[family])
    return parent, [*steps, imagenet_step(parent.skeleton)] if size.imagenet else steps


def _searched(
    findings: StudyPopulation,
    family: Family | None,
    target: Target,
    n: int,
    seed: int,
    space: str | None,
    name: str | None,
) -> Derivation:
    se_ratio = family and SE_RATIOS[family]
    parent, _ = findings.median_model(None, se_ratio)
    model, steps, warnings = search_model(findings, se_ratio, target, n, seed, space)
    prefix = FAMILY_NAMES["regnety" if model.body.se_ratio else "regnetx"]
    default = f"{prefix}-{target.suffix()}-searched"
    model = replace(model, name=name or default)
    return Derivation(parent, model, RULES[DEFAULT_RULE], 1.0, tuple(steps), tuple(warnings))
