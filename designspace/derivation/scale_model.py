"""Scale one model to a target cost or by a factor of flops, and record each step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from designspace.arch import (
    CATALOG,
    Model,
    RegNetParams,
    body_axes,
    format_quantity,
    model_name,
    parse_quantity,
)
from designspace.derivation.cost_target import NOUNS, Target
from designspace.derivation.nearest_scale import (
    better_rule,
    check_reach,
    nearest_scaled,
    ratio_text,
)
from designspace.derivation.scaled_models import fixed_group_width, scale, stem_follows
from designspace.derivation.scaling_rules import ScalingRule
from designspace.derivation.tune_to_target import tune
from designspace.errors import InputError

# Targets missed by a larger share are reported.
TOLERANCE = 0.02
SCALE_TOLERANCE = 0.03


@dataclass(frozen=True)
class Derivation:
    """A derived model and how it came about.

    Attributes:
        parent: The model that was scaled.
        model: The derived model, with its provenance.
        rule: The scaling rule.
        factor: The factor of flops that was applied.
        steps: What was done, one sentence each.
        warnings: What to know before relying on the model.
    """

    parent: Model
    model: Model
    rule: ScalingRule
    factor: float
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def prediction(self, batch: int) -> dict[str, dict[str, float]]:
        """Return value, parent and ratio of flops, params, acts and training memory (bytes)."""
        rows: dict[str, tuple[int, int]] = {
            key: (getattr(self.model, key), getattr(self.parent, key)) for key in NOUNS
        }
        rows["memory"] = training_memory(self.model, batch), training_memory(self.parent, batch)
        return {
            key: {"value": value, "parent": parent, "ratio": value / parent}
            for key, (value, parent) in rows.items()
        }

    def add(self, first: Sequence[str] = (), warnings: Sequence[str] = ()) -> "Derivation":
        """Return the derivation with more steps at its start and more warnings at its end."""
        return replace(self, steps=(*first, *self.steps), warnings=(*self.warnings, *warnings))


def training_memory(model: Model, batch: int) -> int:
    """Predict the peak bytes of a float32 training step of SGD with momentum.

    Weights, gradients and momentum take three numbers per parameter. The backward pass keeps each
    convolution's output twice: as the input of its BatchNorm and, normalized, as the input of the
    next layer (ReLU is in place). Buffers of the convolution library are not included.

    Args:
        model: The network, at its own resolution.
        batch: Images per step.
    """
    return 4 * (3 * model.params + 2 * batch * model.acts)


def regime(model: Model) -> float | None:
    """Return the nominal multiply-adds that a model is named after, or None.

    Raises:
        InputError: The provenance states something that is not a quantity.
    """
    stated = dict(model.provenance).get("regime")
    return None if stated is None else parse_quantity(stated, f"{model.name}: provenance.regime")


def scale_model(
    parent: Model,
    rule: ScalingRule,
    target: Target | None = None,
    factor: float | None = None,
    name: str | None = None,
) -> Derivation:
    """Scale a model by a factor of flops, or to a target.

    A factor is applied by the rule alone. For a target, too, the rule's model is taken if it is
    within 2 % of it and is a published model, or keeps group widths multiples of 8; otherwise the
    parameters are searched around the rule's model (`tune`).

    Args:
        parent: The model to scale.
        rule: How depth, width and resolution share the factor.
        target: The target cost; give either this or `factor`.
        factor: Factor of flops.
        name: Name of the derived model.

    Raises:
        InputError: The rule can't reach the target, or the factor gives no valid model.
    """
    assert (target is None) != (factor is None)
    steps, warnings = [f"Parent {parent.name}: {_describe(parent)}."], []
    if target is None:
        assert factor is not None
        model = scale_by(parent, rule, factor)
        steps.append(f"Factor of flops {factor:g}, as requested.")
        steps += _scaling_steps(parent, model, rule, factor)
        ratio = model.flops / parent.flops
        default = model_name(parent.name, f"x{factor:g}")
        if abs(ratio / factor - 1) > SCALE_TOLERANCE:
            default = model_name(parent.name, f"x{ratio:.3g}")
            stem = "" if stem_follows(parent) else " and the stem keeps its width"
            warnings.append(
                f"scale is {factor:g}, but the model has {ratio:.3g} times the flops of "
                f"{parent.name}, as widths are multiples of 8{stem}; a target, such as "
                f"flops={format_quantity(parent.flops * factor)!r}, is reached more exactly"
            )
    else:
        model, factor, scaling_steps = _to_target(parent, rule, target)
        steps += scaling_steps
        reached = target.of(model)
        steps.append(
            f"Reached {reached:,} {NOUNS[target.measure]}, {_percent(reached, target.value)} the "
            f"target {format_quantity(target.value)}."
        )
        near = abs(reached / target.value - 1) <= TOLERANCE
        size = target.suffix(None if near else reached)
        family = "RegNet" if model.regnet else "AnyNet"
        default = f"{family}{'Y' if model.body.se_ratio else 'X'}-{size}-derived"
        if not parent.is_regnet_network:
            default = model_name(parent.name, size)
        if not near:
            other = better_rule(parent, rule, target)
            warnings.append(
                f"the nearest to {target} that rule {rule.name!r} reaches is "
                f"{ratio_text(reached, target.value)}" + (f"; {other}" if other else "")
            )
    origin = _provenance(parent, rule, target, factor)
    model = replace(model, name=name or default, provenance=origin)
    return Derivation(parent, model, rule, factor, tuple(steps), tuple(warnings))


def _to_target(parent: Model, rule: ScalingRule, target: Target) -> tuple[Model, float, list[str]]:
    """Return the model nearest to a target, the rule's factor, and the steps."""
    nominal = regime(parent)
    if nominal is not None and target.measure == "flops":
        factor = target.value / nominal
        exact = scale(parent, rule, np.array([factor]))
        if len(exact) and _is_acceptable(exact.model(0), parent, target):
            model = exact.model(0)
            step = (
                f"Factor of flops {factor:.6g}: the target {format_quantity(target.value)} over "
                f"the parent's nominal regime {format_quantity(nominal)} (its exact flops are "
                f"{parent.flops:,})."
            )
            return model, factor, [step, *_scaling_steps(parent, model, rule, factor)]
    scaled, row = nearest_scaled(parent, rule, target)
    factor, model = float(scaled.factors[row]), scaled.model(row)
    steps = [
        f"Factor of flops {factor:.6g}: its model comes nearest to {target}; the parent has "
        f"{target.of(parent):,}.",
        *_scaling_steps(parent, model, rule, factor),
    ]
    if not _is_acceptable(model, parent, target) and (rule.depth or rule.width):
        fixed = fixed_group_width(parent)
        tuned = tune(model, target, _group_unit(parent), fixed)
        if tuned.body != model.body:
            names = ["d", "w_0", "w_a", "w_m"] if tuned.regnet else ["depths", "widths"]
            if fixed is None:
                names.append("g" if tuned.regnet else "group widths")
            listed = f"{', '.join(names[:-1])} and {names[-1]}"
            steps.append(f"Searched {listed} around these values: {_describe(tuned)}.")
        model = tuned
    check_reach(parent, rule, target, model)
    return model, factor, steps


def _is_acceptable(model: Model, parent: Model, target: Target) -> bool:
    """Whether the rule's own model needs no search."""
    if abs(target.of(model) / target.value - 1) > TOLERANCE:
        return False
    unit = _group_unit(parent)
    groups = (model.regnet.g,) if model.regnet else model.body.group_widths
    return all(g % unit == 0 for g in groups) or any(
        model.body == entry.regnet.body(entry.se_ratio) for entry in CATALOG.values()
    )


def _group_unit(parent: Model) -> int:
    groups = (parent.regnet.g,) if parent.regnet else parent.body.group_widths
    return 8 if all(g % 8 == 0 for g in groups) else 1


def scale_by(parent: Model, rule: ScalingRule, factor: float) -> Model:
    """Return a model scaled by a factor of flops, named after its parent, without provenance.

    Raises:
        InputError: The factor is out of range, or gives no valid model.
    """
    if not 1e-9 <= factor <= 1e9:
        raise InputError(f"scale is {factor}; it must be a number from 1e-9 to 1e9", "scale")
    scaled = scale(parent, rule, np.array([factor]))
    if not len(scaled):
        raise InputError(
            f"{parent.name} scaled by {factor:g} with rule {rule.name!r} gives no model of "
            f"{parent.skeleton.num_stages} stages with widths up to 100,000 and group widths that "
            "divide them; try another factor, rule or source, or give a target"
        )
    return scaled.model(0)


def _provenance(
    parent: Model, rule: ScalingRule, target: Target | None, factor: float
) -> tuple[tuple[str, str], ...]:
    """Return the provenance of a derived model: parent, rule, factor, target, regime."""
    nominal = regime(parent)
    origin = [("parent", parent.name), ("rule", rule.name), ("factor", f"{factor:.10g}")]
    if target is not None:
        origin.append(("target", str(target)))
    if nominal is not None and target is None:
        origin.append(("regime", format_quantity(nominal * factor)))
    elif nominal is not None and target is not None and target.measure == "flops":
        origin.append(("regime", format_quantity(target.value)))
    inherited = [
        (f"parent {key}" if key == "source" else key, value)
        for key, value in parent.provenance
        if key in ("source", "space", "seed", "run", "study", "id", "findings")
    ]
    return (*origin, *inherited)


def _scaling_steps(parent: Model, model: Model, rule: ScalingRule, factor: float) -> list[str]:
    depth, width, side = rule.factors(factor)
    fixed = fixed_group_width(parent)
    widths = "width" if fixed else "width and group width"
    steps = [
        f"Rule {rule.name!r} ({rule.description}): depth x {depth:.6g}, {widths} x {width:.6g}, "
        f"resolution x {side:.6g}."
    ]
    present = body_axes(model.body.block)
    groups = f", group widths {_list(model.body.group_widths)}" if "g" in present else ""
    old, new = parent.regnet, model.regnet
    if old is not None and new is not None:
        kept = f"w_m {new.w_m:g}" + (f" and b {new.b:g}" if "b" in present else "")
        steps += [
            f"d {old.d} -> {new.d}"
            + (f" ({old.d * depth:.2f} rounded)" if new.d != old.d else " (kept)")
            + f"; {kept} kept.",
            f"w_0 {old.w_0} -> {old.w_0 * width:.2f} -> {new.w_0} (nearest multiple of 8).",
            f"w_a {old.w_a:g} -> {new.w_a:g} (two decimals)"
            + (", spread over the new depth" if new.d != old.d else "")
            + (
                "; scaled by the rounded w_0, to keep the number of stages."
                if _follows(old, new, width)
                else "."
            ),
        ]
        if fixed is None:
            steps.append(f"g {old.g} -> {old.g * width:.2f} -> {new.g} (nearest integer).")
        elif new.g != old.g:
            steps.append(f"g {old.g} -> {new.g}: every stage stays a single group.")
        compatible = " and group compatibility" if present else ""
        steps.append(
            f"Quantized linear rule{compatible}: depths {_list(model.body.depths)}, widths "
            f"{_list(model.body.widths)}{groups}."
        )
    else:
        compatible = ", then group compatibility" if present else ""
        steps.append(
            f"Stages: depths {_list(parent.body.depths)} -> {_list(model.body.depths)}, widths "
            f"{_list(parent.body.widths)} -> {_list(model.body.widths)} (nearest multiples of 8"
            f"{compatible}){groups}."
        )
    if fixed == 1 and "g" in present:
        steps.append("Group width 1 kept: the 3x3 convolutions stay depthwise.")
    if model.skeleton.stem_width != parent.skeleton.stem_width:
        steps.append(
            f"Stem width {parent.skeleton.stem_width} -> {model.skeleton.stem_width}, that of the "
            "first stage."
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
        present = body_axes(model.body.block)
        b, g = f", b {r.b:g}" * ("b" in present), f", g {r.g}" * ("g" in present)
        text = f"d {r.d}, w_0 {r.w_0}, w_a {r.w_a:g}, w_m {r.w_m:g}{b}{g}; {text}"
    return f"{text}; {model.flops:,} multiply-adds at {model.skeleton.resolution} pixels"


def _percent(value: float, target: float) -> str:
    excess = 100 * (value / target - 1)
    return f"{abs(excess):.2g} % {'above' if excess >= 0 else 'below'}"


def _list(values: tuple[int, ...]) -> str:
    return " ".join(str(value) for value in values)
