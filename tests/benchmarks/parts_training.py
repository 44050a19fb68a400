"""Training and pretraining, for `make bench`."""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from bench_train import Kept, Trained, best_workers, make_images, make_run, ours, plain_process
from table import Agreement, Comparison, Goal, Sizes, compared, side_by_side

Side = Callable[[int], Trained]


def training(sizes: Sizes) -> list[Comparison]:
    """Models an hour of one population, the same for each side, with a seed a round."""
    from timm_loop import timm_process

    from designspace.training.run_task import run_task

    n, epochs = sizes.trained, sizes.epochs
    two = Kept(2, run_task)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        images = home / "made"
        make_images(images, *sizes.images)
        folder = make_run(home / "run", n)
        run = folder.path

        def plain(workers: int, last: bool, seed: int, models: int = n) -> Trained:
            return plain_process(images, run, models, epochs, workers, last, seed)

        def timm(workers: int, seed: int, models: int = n) -> Trained:
            return timm_process(images, run, models, epochs, workers, seed)

        try:
            ours(folder, images, home, epochs, min(2, n), two)  # starts processes, decodes images
            best = best_workers(lambda w: plain(w, False, 0, 1), sizes.loaders)
            best_last = best_workers(lambda w: plain(w, True, 0, 1), sizes.loaders)
            peers: dict[str, tuple[Side, Goal | None]] = {
                f"a plain loop ({best} loader processes)": (
                    lambda seed: plain(best, False, seed),
                    Goal("ratio", least=5),
                ),
                f"the plain loop in channels last ({best_last} loader processes)": (
                    lambda seed: plain(best_last, True, seed),
                    None,
                ),
            }
            missing = "" if find_spec("timm") else "timm is not installed (the `export` extra)"
            if not missing:
                best_timm = best_workers(lambda w: timm(w, 0, 1), sizes.loaders)
                peers[f"timm's training script restated ({best_timm} loader processes)"] = (
                    lambda seed: timm(best_timm, seed),
                    Goal("ratio", least=3),
                )
            rows = race(
                f"train {n} RegNetX of 1M to 2M multiply-adds, {epochs} epochs",
                lambda seed: ours(folder, images, home, epochs, n, two, seed),
                peers,
                n,
                sizes.few,
            )
        finally:
            two.end()
    if missing:
        rows.append(Comparison("train models against timm's training script", skipped=missing))
    return rows


def race(
    job: str, mine: Side, peers: dict[str, tuple[Side, Goal | None]], n: int, rounds: int
) -> list[Comparison]:
    """Let all sides take turns, and make a row of each peer.

    Args:
        job: What is trained.
        mine: Trains this project's n models, given a seed.
        peers: The same by others, with what is wanted of the ratio.
        n: Models a round.
        rounds: How often, each with its own seed.
    """
    done: dict[str, list[Trained]] = {name: [] for name in ("", *peers)}
    for seed in range(rounds):
        done[""].append(mine(seed))
        for name, (side, _) in peers.items():
            done[name].append(side(seed))
    rate = {key: tuple(3600 * n / one.seconds for one in many) for key, many in done.items()}
    return [
        Comparison(
            job,
            "models/h",
            rate[""],
            name,
            rate[name],
            within_noise(done[""], done[name]),
            goal,
            "two workers, images decoded once before; its own processes are up",
        )
        for name, (_, goal) in peers.items()
    ]


def within_noise(mine: list[Trained], theirs: list[Trained]) -> Agreement:
    """Hold errors of the same models against each other, which can't be equal bit by bit.

    Both sides draw their own weights and crops. The mean of the differences, model by model and
    seed by seed, must be within 3 standard errors of 0, or half a point.
    """
    differences = [
        a - b
        for one, other in zip(mine, theirs, strict=True)
        for a, b in zip(one.errors, other.errors, strict=True)
    ]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    errors = [statistics.fmean(e for one in side for e in one.errors) for side in (mine, theirs)]
    return Agreement.all(
        {
            f"mean error {errors[0]:.1f} % and {errors[1]:.1f} %, differences of "
            f"{len(differences)} pairs {mean:+.2f} ± {error:.2f} points, within seed noise": (
                abs(mean) <= max(3 * error, 0.5)
            )
        }
    )


def convolutions(sizes: Sizes) -> list[Comparison]:
    """Steps of a 3x3 convolution of narrow groups, forward and backward, against torch's own."""
    import torch
    from torch import nn

    from designspace.networks.fast_convolutions import use_fast_convolutions
    from designspace.training.device_setup import prepare

    prepare(torch.device("cpu"))
    torch.manual_seed(0)
    rows = []
    for channels, side in ((16, 16), (48, 8), (96, 2)):
        images = torch.randn(64, channels, side, side).to(memory_format=torch.channels_last)
        images.requires_grad_()
        for group in (1, 2, 4):
            layers = [
                nn.Conv2d(channels, channels, 3, 1, 1, groups=channels // group, bias=False)
                for _ in range(2)
            ]
            layers[0].load_state_dict(layers[1].state_dict())
            mine, plain = (
                nn.Sequential(layer).to(memory_format=torch.channels_last) for layer in layers
            )
            use_fast_convolutions(mine)
            gradient = torch.randn_like(images)

            def steps(network: nn.Module, images=images, gradient=gradient) -> torch.Tensor:
                for _ in range(20):
                    images.grad = None
                    network.zero_grad()
                    network(images).backward(gradient)
                return images.grad

            apart = float((steps(mine) - steps(plain)).abs().max())
            both = partial(steps, mine), partial(steps, plain)
            ours, theirs = side_by_side(*both, sizes.rounds)
            rows.append(
                Comparison(
                    f"20 steps of {channels} channels in groups of {group}, {side} pixels",
                    "s",
                    ours,
                    "torch",
                    theirs,
                    Agreement.all({f"gradients {apart:.1g} apart": apart < 1e-4}),
                )
            )
    return rows


def pretraining(sizes: Sizes) -> list[Comparison]:
    """A full SwAV step against lightly's."""
    import torch
    from bench_pretrain import lightly_difference, whole

    from designspace.training.device_setup import prepare

    prepare(torch.device("cpu"))
    job, goal = "SwAV step, crops included", Goal("ratio", least=1.5)
    if not find_spec("lightly"):
        missing = "lightly is not installed (the extra `dev`)"
        return [Comparison(job, skipped=missing, goal=goal)]
    apart = lightly_difference()
    rows = whole(argparse.Namespace(rounds=sizes.few, steps=sizes.steps, batch=sizes.batch))
    same = Agreement.all({f"losses of the same scores {apart:.1g} apart": apart < 1e-5})
    return [compared(rows, job, "lightly's example loop", same, goal=goal, note=rows[0].what)]
