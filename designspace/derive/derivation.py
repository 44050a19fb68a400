"""A published, own or found network and a target in, one network and the steps to it out."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from designspace.arch import (
    CATALOG,
    Model,
    RegNetParams,
    Skeleton,
    format_quantity,
    model_name,
    parse_quantity,
    published,
)
from designspace.derive.scaling import Scaled, scale
from designspace.derive.scaling_rules import Rule
from designspace.derive.target import NEAR, NOUNS, Target, better_rule, distance, solve
from designspace.derive.training_memory import training_memory
from designspace.errors import InputError

Family = Literal["regnetx", "regnety"]
FAMILY_NAMES: dict[Family, str] = {"regnetx": "RegNetX", "regnety": "RegNetY"}
SE_RATIOS: dict[Family, float] = {"regnetx": 0.0, "regnety": 0.25}


@dataclass(frozen=True)
class Derivation:
    """A derived network and how it came about.

    Attributes:
        parent: What was scaled, with the frame and family asked for.
        model: The result, with its provenance.
        rule: The scaling rule.
        factor: Factor of flops that was applied.
        steps: What was done, a sentence each, with numbers.
        warnings: What a reader must know before trusting the result.
    """

    parent: Model
    model: Model
    rule: Rule
    factor: float
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def prediction(self, batch: int) -> dict[str, dict[str, float]]:
        """Return flops, params, acts and training memory (bytes): value, parent, ratio."""
        rows = {key: (getattr(self.model, key), getattr(self.parent, key)) for key in NOUNS}
        rows["memory"] = (training_memory(self.model, batch), training_memory(self.parent, batch))
        return {
            key: {"value": value, "parent": parent, "ratio": value / parent}
            for key, (value, parent) in rows.items()
        }


def regime(model: Model) -> float | None:
    """Return the nominal multiply-adds that a network stands for, or None.

    Raises:
        InputError: The provenance states one that is no quantity.
    """
    stated = dict(model.provenance).get("regime")
    return None if stated is None else parse_quantity(stated, f"{model.name}: provenance.regime")


def nearest_published(family: Family, target: Target) -> Model:
    """Return the family's published model that lies nearest to a target, by ratio."""
    prefix = FAMILY_NAMES[family] + "-"
    models = [published(name) for name in CATALOG if name.startswith(prefix)]

    def away(model: Model) -> float:
        nominal = regime(model) if target.measure == "flops" else None
        return abs(float(np.log((nominal or target.of(model)) / target.value)))

    return min(models, key=away)


def beyond_published(model: Model) -> str | None:
    """Say how far a network's flops at 224 pixels lie outside the published family, or None."""
    prefix = "RegNetY-" if model.body.se_ratio else "RegNetX-"
    regimes = {n: e.nominal_flops for n, e in CATALOG.items() if n.startswith(prefix)}
    flops = model.at(resolution=224).flops
    ends = (min(regimes, key=regimes.__getitem__), max(regimes, key=regimes.__getitem__))
    for name, ratio in zip(ends, (regimes[ends[0]] / flops, flops / regimes[ends[1]]), strict=True):
        if ratio > 1.1:
            return (
                f"no published {prefix[:-1]} is so {'small' if name == ends[0] else 'large'}: "
                f"{ratio:.4g} times beyond {name} (by multiply-adds at 224 pixels)"
            )
    return None


def as_family(model: Model, family: Family) -> Model:
    """Return the network with, or without, squeeze-and-excitation, as the family has it."""
    se = SE_RATIOS[family]
    if (model.body.se_ratio > 0) == (se > 0):
        return model
    return replace(model, body=replace(model.body, se_ratio=se))


def in_frame(model: Model, skeleton: Skeleton) -> Model:
    """Return the network in another frame; its nominal regime holds no longer if that differs.

    Raises:
        InputError: The frame has another number of stages.
    """
    if skeleton == model.skeleton:
        return model
    kept = tuple(pair for pair in model.provenance if pair[0] != "regime")
    same_cost = replace(skeleton, classes=model.skeleton.classes) == model.skeleton
    return replace(model, skeleton=skeleton, provenance=model.provenance if same_cost else kept)


def derive(
    parent: Model,
    rule: Rule,
    target: Target | None = None,
    factor: float | None = None,
    name: str | None = None,
) -> Derivation:
    """Scale a network by a rule: by a stated factor of flops, or to a target.

    To a target in flops from a network with a nominal regime the factor is the ratio of the
    regimes, as the published models are named; else the factor is solved for, so that the exact
    cost comes as near as possible.

    Raises:
        InputError: The target is out of the rule's reach, or the scaled parameters break a rule.
    """
    assert (target is None) != (factor is None)
    nominal = regime(parent)
    steps = [f"Parent {parent.name}: {_describe(parent)}."]
    if factor is not None:
        steps.append(f"Factor of flops {factor:g}, as asked.")
        scaled, row = _at(parent, rule, factor), 0
    elif nominal is not None and target is not None and target.measure == "flops":
        factor = target.value / nominal
        steps.append(
            f"Factor of flops {factor:.6g}: the target {format_quantity(target.value)} over the "
            f"parent's nominal regime {format_quantity(nominal)} (its exact flops are "
            f"{parent.flops:,})."
        )
        scaled, row = _at(parent, rule, factor), 0
    else:
        assert target is not None
        scaled, row = solve(parent, rule, target)
        factor = float(scaled.factors[row])
        steps.append(
            f"Factor of flops {factor:.6g}: of all factors the one whose network comes nearest to "
            f"{target}; the parent has {target.of(parent):,}."
        )
    model = _named(scaled.model(row, parent.name), parent, rule, target, factor, name)
    steps += _scaling_steps(parent, model, rule, factor)
    warnings = []
    if target is not None:
        reached = target.of(model)
        steps.append(
            f"Reached {reached:,} {NOUNS[target.measure]}, {_percent(reached, target.value)} the "
            f"target {format_quantity(target.value)}."
        )
        if abs(reached / target.value - 1) > NEAR:
            other = better_rule(parent, rule, target)
            warnings.append(
                f"rule {rule.name!r} comes no nearer to {target} than "
                f"{distance(reached, target.value)} from here" + (f"; {other}" if other else "")
            )
    return Derivation(parent, model, rule, factor, tuple(steps), tuple(warnings))


def target_suffix(target: Target) -> str:
    """Return the part of a name that tells the target: 256GF, 20M-params, 10M-acts."""
    unit = {"flops": "F", "params": "-params", "acts": "-acts"}[target.measure]
    return format_quantity(target.value) + unit


def _at(parent: Model, rule: Rule, factor: float) -> Scaled:
    if not 1e-9 <= factor <= 1e9:
        raise InputError(f"a factor of flops of {factor:g} is out of reach; 1e-9 to 1e9 are tried")
    scaled = scale(parent, rule, np.array([factor]))
    if not len(scaled):
        raise InputError(
            f"{parent.name} scaled by {factor:g} with rule {rule.name!r} gives no network of "
            f"{parent.skeleton.num_stages} stages with widths up to 100,000; try another factor, "
            "--rule or --from"
        )
    return scaled


def _named(
    model: Model, parent: Model, rule: Rule, target: Target | None, factor: float, name: str | None
) -> Model:
    """Give the result its name and provenance: parent, rule, factor, the regime it stands for."""
    family = "RegNetY" if model.body.se_ratio else "RegNetX"
    if model.regnet is None:
        family = "AnyNetY" if model.body.se_ratio else "AnyNetX"
    nominal = regime(parent)
    if target is None:
        stands_for = None if nominal is None else nominal * factor
        default = model_name(parent.name, f"x{factor:g}")
    else:
        stands_for = target.value if target.measure == "flops" else None
        default = f"{family}-{target_suffix(target)}-derived"
    origin = [("parent", parent.name), ("rule", rule.name), ("factor", f"{factor:.10g}")]
    if target is not None:
        origin.append(("target", str(target)))
    if nominal is not None and stands_for is not None:
        origin.append(("regime", format_quantity(stands_for)))
    inherited = [
        (f"parent {key}" if key == "source" else key, value)
        for key, value in parent.provenance
        if key in ("source", "space", "seed", "run", "study", "id", "findings")
    ]
    return replace(model, name=name or default, provenance=(*origin, *inherited))


def _scaling_steps(parent: Model, model: Model, rule: Rule, factor: float) -> list[str]:
    depth, width, side = rule.factors(factor)
    steps = [
        f"Rule {rule.name!r} ({rule.about}): depth x {depth:.6g}, width and group width x "
        f"{width:.6g}, resolution x {side:.6g}."
    ]
    old, new = parent.regnet, model.regnet
    if old is not None and new is not None:
        steps += [
            f"d {old.d} -> {new.d}"
            + (f" ({old.d * depth:.2f} rounded)" if new.d != old.d else " (kept)")
            + f"; w_m {new.w_m:g} and b {new.b:g} kept.",
            f"w_0 {old.w_0} -> {old.w_0 * width:.2f} -> {new.w_0} (nearest multiple of 8).",
            f"w_a {old.w_a:g} -> {new.w_a:g} (two decimals)"
            + (", spread over the new depth" if new.d != old.d else "")
            + (
                "; it goes with the rounded w_0, to keep the number of stages."
                if _follows(old, new, width)
                else "."
            ),
            f"g {old.g} -> {old.g * width:.2f} -> {new.g} (nearest whole number).",
            f"Width rule with these, then group compatibility: depths {_list(model.body.depths)}, "
            f"widths {_list(model.body.widths)}, group widths {_list(model.body.group_widths)}.",
        ]
    else:
        steps.append(
            f"Stages: depths {_list(parent.body.depths)} -> {_list(model.body.depths)}, widths "
            f"{_list(parent.body.widths)} -> {_list(model.body.widths)} (nearest multiples of 8, "
            f"then group compatibility), group widths {_list(model.body.group_widths)}."
        )
    if model.skeleton.resolution != parent.skeleton.resolution:
        steps.append(
            f"Resolution {parent.skeleton.resolution} -> {model.skeleton.resolution} pixels."
        )
    return steps


def _follows(old: RegNetParams, new: RegNetParams, width: float) -> bool:
    """Whether w_a was scaled by the rounded w_0's factor instead of the width factor."""
    stretch = 1.0 if new.d == old.d else max(old.d - 1, 1) / max(new.d - 1, 1)
    return abs(new.w_a - old.w_a * width * stretch) > 0.006


def _describe(model: Model) -> str:
    text = f"depths {_list(model.body.depths)}, widths {_list(model.body.widths)}"
    if model.regnet is not None:
        r = model.regnet
        text = f"d {r.d}, w_0 {r.w_0}, w_a {r.w_a:g}, w_m {r.w_m:g}, b {r.b:g}, g {r.g}; {text}"
    skeleton = model.skeleton
    return f"{text}; {model.flops:,} multiply-adds at {skeleton.resolution} pixels"


def _percent(value: float, wished: float) -> str:
    away = 100 * (value / wished - 1)
    return f"{abs(away):.2g} % {'above' if away >= 0 else 'below'}"


def _list(values: tuple[int, ...]) -> str:
    return " ".join(str(value) for value in values)
