"""Sampling and cost, for `make bench`."""

import logging
import statistics
import warnings
from collections.abc import Callable
from time import perf_counter

import numpy as np
from peers import LAYERS, Body, bodies, closed_form, plain_sample, sweep_peer
from table import Agreement, Comparison, Goal, Sizes, side_by_side

from designspace.arch import Population, cost
from designspace.space import Budget, load_space, sample

BUDGET = Budget.parse("flops", "360M:400M")
LOW, HIGH = int(BUDGET.low), int(BUDGET.high)


def sampling(sizes: Sizes) -> list[Comparison]:
    """Both sizes of a population against both peers."""
    space = load_space("AnyNetXA")
    peer = sweep_peer(space, LOW, HIGH)
    loops = [against_loop(space, n, sizes) for n in sizes.models]
    return [*against_sweep(space, peer, sizes), *loops]


def against_sweep(space, peer, sizes: Sizes) -> list[Comparison]:
    """Populations against a sweep: so many candidates are timed, scaled to as many as ours took.

    Args:
        space: The space.
        peer: Has `name`, `sweep(candidates, seed)` and `count(models)`.
        sizes: How much.
    """
    took: dict[int, list[float]] = {n: [] for n in sizes.models}
    each, kept, tried = [], [], 0
    for n in sizes.models:
        sample(space, n, (BUDGET,), 0)
    for seed in range(sizes.rounds):
        for n in sizes.models:
            began = perf_counter()
            drawn = sample(space, n, (BUDGET,), 0)
            took[n].append(perf_counter() - began)
        sweep = peer.sweep(sizes.candidates, seed)
        each.append(sweep.seconds / sweep.tried)
        kept += sweep.kept
        tried += sweep.tried
    found = []
    for n in sizes.models:
        drawn = sample(space, n, (BUDGET,), 0)
        found.append(
            Comparison(
                f"sample {n:,} AnyNetXA in 360M:400M",
                "s",
                tuple(took[n]),
                peer.name,
                tuple(seconds * drawn.stats.tried for seconds in each),
                same_sweep(space, drawn, peer, kept, tried),
                Goal("ratio", least=1000),
                f"of the other {sizes.candidates:,} candidates timed, scaled to "
                f"{drawn.stats.tried:,}",
            )
        )
    return found


def same_sweep(space, drawn, peer, kept: list[Body], tried: int) -> Agreement:
    """Hold a population against what a sweep kept: each side's costs by the other, distributions.

    Distributions can't be equal number by number, since the generators differ: the shares of
    candidates that were kept must be within 4 standard errors, and Kolmogorov and Smirnov's test of
    depth, parameters and activations must not reject at one in a thousand each.
    """
    from scipy.stats import ks_2samp

    population = drawn.population
    some = np.arange(0, len(population), max(1, len(population) // 100))[:100]
    counted = np.array(peer.count(bodies(population.bodies, some)))
    ours = np.stack([getattr(population.cost, layer) for layer in LAYERS], axis=1)
    theirs = np.array([body.cost for body in kept])
    recounted = costs_of(kept, space.skeleton)
    shares = drawn.stats.accepted / drawn.stats.tried, len(kept) / tried
    error = np.sqrt(shares[0] * (1 - shares[0]) * (1 / drawn.stats.tried + 1 / tried))
    features = [
        (population.bodies.depths.sum(axis=1), [sum(body.depths) for body in kept]),
        (ours[:, 1], theirs[:, 1]),
        (ours[:, 2], theirs[:, 2]),
    ]
    inside = [((flops >= LOW) & (flops <= HIGH)).all() for flops in (ours[:, 0], theirs[:, 0])]
    least = min(ks_2samp(a, b, method="asymp").pvalue for a, b in features)
    return Agreement.all(
        {
            "all models within the budget": all(inside),
            f"costs equal on {len(some)} models of ours and {len(kept)} of theirs": (
                np.array_equal(counted, ours[some]) and np.array_equal(recounted, theirs)
            ),
            f"kept {shares[0]:.2%} and {shares[1]:.2%} of candidates": (
                abs(shares[0] - shares[1]) <= 4 * error
            ),
            f"distributions not told apart (p {least:.2g})": least > 0.001,
        }
    )


def costs_of(models: list[Body], skeleton) -> np.ndarray:
    """Return this project's cost of given networks, (n, 3)."""
    from designspace.arch import Body, BodyBatch

    bodies = [Body(m.depths, m.widths, m.ratios, m.groups, 0.0) for m in models]
    counted = cost(BodyBatch.from_bodies(bodies), skeleton)
    return np.stack([getattr(counted, layer) for layer in LAYERS], axis=1)


def against_loop(space, n: int, sizes: Sizes, loop: Callable = plain_sample) -> Comparison:
    """One population against a careful loop on the same random numbers: the outcome is the same."""
    found: dict[str, object] = {}
    ours, theirs = side_by_side(
        lambda: found.update(ours=sample(space, n, (BUDGET,), 0)),
        lambda: found.update(theirs=loop(space, n, LOW, HIGH, 0)),
        sizes.rounds,
        times=3,
    )
    drawn, (models, tried) = found["ours"], found["theirs"]
    same = bodies(drawn.population.bodies, range(n)) == models
    return Comparison(
        f"sample {n:,} AnyNetXA in 360M:400M",
        "s",
        ours,
        "a careful loop in plain Python over the closed form",
        theirs,
        Agreement.all(
            {f"the same {n:,} models": same, "of as many candidates": tried == drawn.stats.tried}
        ),
        Goal("ratio", least=10),
    )


def costing(sizes: Sizes) -> list[Comparison]:
    """Cost of a population against a count in plain Python, and fvcore's of the built network."""
    n = sizes.costed
    population = sample(load_space("AnyNetXA"), n, (BUDGET,), 0).population
    return [against_count(population, sizes), against_fvcore(population, sizes)]


def against_count(
    population: Population, sizes: Sizes, count: Callable[..., tuple] = closed_form
) -> Comparison:
    """All models counted by both sides; the figures are models a second on one core."""
    n, skeleton = len(population), population.skeleton
    models = bodies(population.bodies, range(n))
    found: dict[str, object] = {}
    ours, theirs = side_by_side(
        lambda: found.update(ours=cost(population.bodies, skeleton)),
        lambda: found.update(theirs=[count(model, skeleton) for model in models]),
        sizes.rounds,
        times=10,
    )
    counted = np.stack([getattr(found["ours"], layer) for layer in LAYERS], axis=1)
    same = np.array_equal(counted, np.array(found["theirs"]))
    return Comparison(
        f"cost of {n:,} models",
        "models/s",
        tuple(n / seconds for seconds in ours),
        "the closed form in plain Python",
        tuple(n / seconds for seconds in theirs),
        Agreement.all({f"flops, params and acts of {n:,} models equal": same}),
        Goal("ours", least=1e6),
        "one core",
    )


def fvcore_count(model) -> tuple[int, int, int]:
    """Return fvcore's count of the built network.

    Not on `meta`, whose convolutions can't be traced. It leaves BatchNorm and pooling out, as the
    convention has it, and knows no bias additions: the classifier's are added.
    """
    import torch
    from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis

    from designspace.networks import build

    network = build(model).eval()
    side = model.skeleton.resolution
    image = torch.zeros(1, 3, side, side)
    left_out = dict.fromkeys(("aten::batch_norm", "aten::adaptive_avg_pool2d"), lambda i, o: 0)
    flops = FlopCountAnalysis(network, image).set_op_handle(**left_out)
    acts = ActivationCountAnalysis(network, image)
    for analysis in (flops, acts):
        analysis.unsupported_ops_warnings(False).tracer_warnings("none")
    params = sum(p.numel() for p in network.parameters())
    return int(flops.total()) + model.skeleton.classes, params, int(acts.total())


def against_fvcore(
    population: Population, sizes: Sizes, count: Callable[..., tuple] = fvcore_count
) -> Comparison:
    """A part of the models, scaled to all."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="torch.jit")
    n, part = len(population), sizes.built
    rows = np.arange(part) * (n // part)
    models = [population.model(int(i)) for i in rows]
    found: dict[str, list] = {}
    ours, theirs = side_by_side(
        lambda: cost(population.bodies, population.skeleton),
        lambda: found.update(theirs=[count(model) for model in models]),
        sizes.few,
        times=10,
    )
    counted = np.stack([getattr(population.cost, layer)[rows] for layer in LAYERS], axis=1)
    same = np.array_equal(counted, np.array(found["theirs"]))
    return Comparison(
        f"cost of {n:,} models",
        "s",
        ours,
        "fvcore on the built network",
        tuple(seconds * n / part for seconds in theirs),
        Agreement.all({f"flops, params and acts of {part} models equal": same}),
        note=f"of the other {part} models timed, scaled",
    )


# Growth.


def exponents(clock: Callable[[int], float], counts: list[int], rounds: int) -> tuple[float, ...]:
    """Fit log time against log n in each round; return the slopes.

    Args:
        clock: Does the job for n, and returns its seconds.
        counts: The n's.
        rounds: How often.
    """
    slopes = []
    for _ in range(rounds):
        times = [clock(n) for n in counts]
        slopes.append(float(np.polyfit(np.log(counts), np.log(times), 1)[0]))
    return tuple(slopes)


def median_of_three(work: Callable[[int], object]) -> Callable[[int], float]:
    """Return what does a short job for n three times, and returns its median seconds."""

    def clock(n: int) -> float:
        runs = []
        for _ in range(3):
            began = perf_counter()
            work(n)
            runs.append(perf_counter() - began)
        return statistics.median(runs)

    return clock


def growth_row(job: str, counts: list[int], slopes: tuple[float, ...]) -> Comparison:
    """Return the row of a fitted exponent: at most 1.2 counts as growing with n and no faster."""
    across = ", ".join(f"{n:,}" for n in counts)
    return Comparison(
        f"growth of {job}: exponent of time with n", "", slopes, note=f"n = {across}",
        goal=Goal("ours", most=1.2),
    )  # fmt: skip


def growth(sizes: Sizes) -> list[Comparison]:
    """Growth of sampling, cost and bootstrap."""
    from designspace.stats.range_of_best import bootstrap

    space, rng = load_space("AnyNetXA"), np.random.default_rng(0)
    most = max(sizes.models)
    sampled = [most // 8, most // 4, most // 2, most]
    few = sample(space, most, (BUDGET,), 0).population
    counts = [sizes.costed * k for k in (1, 4, 16)]
    tiled = {n: few.bodies.take(np.arange(n) % most) for n in counts}
    values, errors = rng.random(counts[-1]), rng.normal(50, 5, counts[-1])
    jobs: list[tuple[str, list[int], Callable[[int], object]]] = [
        ("sampling", sampled, lambda n: sample(space, n, (BUDGET,), 0)),
        ("cost", counts, lambda n: cost(tiled[n], space.skeleton)),
        ("bootstrap", counts, lambda n: bootstrap(values[:n], errors[:n])),
    ]
    rows = []
    for job, ns, work in jobs:
        work(ns[0])
        rows.append(growth_row(job, ns, exponents(median_of_three(work), ns, sizes.rounds)))
    return rows
