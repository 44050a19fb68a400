"""How fast a population trains: `make bench-train`.

Five questions, answered in one run on this machine:

1. Models an hour, against a fair plain loop: ImageFolder, torchvision's transforms, a DataLoader
   with its best number of workers, the same networks, recipe and cores. At least 5 times.
2. Images a second in training, against the bare step: forward, backward and optimizer on a batch
   that stays where it is, in the same process. At least 95 percent.
3. Models an hour with two workers, against one. At least 1.9 times.
4. Seconds for 10,000 trials that do nothing: under 60, with flat memory.
5. From the command to its first step: at most 5 seconds. A whole command of about a minute, against
   a script of the plain loop: at least 4 times.

Each side is measured in a process of its own where it could disturb the other, after its imports
and a first pass; sides alternate, and what is reported is the median of n rounds with the least and
the greatest. The images are made up (10 classes of 32x32 JPEG files, each a pattern of its class
under noise) unless a folder is given: their content doesn't matter to speed.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rows import Row, report
from train_command import command_rows

SPACE, BUDGET = "RegNetX@32", "1M:2M"


class Silent:
    """An observer that says nothing."""

    def note(self, text):
        print(text, file=sys.stderr)

    def decoded(self, done, total): ...

    def trial(self, folder, trial, snapshot): ...

    def tick(self, snapshot): ...


def make_images(root: Path, train: int, test: int) -> None:
    """Write 10 classes of JPEG files: smooth noise, about as large as photographs of that size."""
    from PIL import Image

    generator = np.random.default_rng(0)
    patterns = generator.uniform(-1, 1, (10, 8, 8, 3))
    for part, count in (("train", train), ("test", test)):
        for label in range(10):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count // 10):
                noise = generator.uniform(-1, 1, (8, 8, 3))
                coarse = 127.5 + 127.5 * (0.6 * patterns[label] + 0.4 * noise)
                image = Image.fromarray(coarse.astype(np.uint8)).resize(
                    (32, 32), Image.Resampling.BICUBIC
                )
                image.save(folder / f"{i:05d}.jpg", quality=90)


def make_run(path: Path, n: int, space_name: str = SPACE, budget: str = BUDGET):
    """Sample a population."""
    from designspace.runs import Run
    from designspace.space import Budget, load_space, sample, sample_record

    space, budgets = load_space(space_name), (Budget.parse("flops", budget),)
    drawn = sample(space, n, budgets, 0)
    source = {**space.source, "sample": sample_record(space, drawn, budgets, 0)}
    return Run.create(path, source, drawn.population)


def the_recipe(epochs: int):
    """The recipe `cifar` with few epochs."""
    from designspace.runs import load_recipe

    return replace(load_recipe("cifar"), epochs=epochs, warmup_epochs=0.05)


@dataclass(frozen=True)
class Trained:
    """What a side's round took, in seconds, and the error of each model in percent."""

    seconds: float
    errors: tuple[float, ...]


def ask(script: str, *words) -> Trained:
    """Train in a process of its own, which prints what it took as JSON."""
    argv = [sys.executable, script, "--train", *map(str, words)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return Trained(told["seconds"], tuple(told["errors"]))


# The plain loop.


def plain(
    images: Path, models, epochs: int, workers: int, channels_last: bool, seed: int
) -> Trained:
    """Train models one after the other as people write it."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from designspace.networks import build
    from designspace.training.lr_schedule import learning_rate

    recipe = the_recipe(epochs).at(32)
    normalize = [transforms.ToTensor(), transforms.Normalize((0.49,) * 3, (0.25,) * 3)]
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    train = datasets.ImageFolder(str(images / "train"), transforms.Compose(augment + normalize))
    test = datasets.ImageFolder(str(images / "test"), transforms.Compose(normalize))
    size = recipe.batch_size
    layout = torch.channels_last if channels_last else torch.contiguous_format
    seconds, errors = 0.0, []
    torch.manual_seed(seed)
    for model in models:
        began = time.perf_counter()
        keep = {"num_workers": workers, "persistent_workers": workers > 0}
        loader = DataLoader(train, size, shuffle=True, drop_last=True, **keep)
        test_loader = DataLoader(test, size, **keep)
        network = build(model.at(classes=10), zero_init_residual=True).to(memory_format=layout)
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        step = 0
        for _ in range(epochs):
            network.train()
            for inputs, labels in loader:
                optimizer.param_groups[0]["lr"] = learning_rate(recipe, step, len(loader))
                optimizer.zero_grad()
                outputs = network(inputs.to(memory_format=layout))
                nn.functional.cross_entropy(outputs, labels).backward()
                optimizer.step()
                step += 1
            network.eval()
            wrong = 0
            with torch.inference_mode():
                for inputs, labels in test_loader:
                    found = network(inputs.to(memory_format=layout)).argmax(1)
                    wrong += (found != labels).sum().item()
        errors.append(100 * wrong / len(test))
        seconds += time.perf_counter() - began
    return Trained(seconds, tuple(errors))


def plain_process(
    images: Path, run: Path, n: int, epochs: int, workers: int, last: bool, seed: int = 0
) -> Trained:
    """Train n models by the plain loop in a process of its own."""
    return ask(__file__, images, run, n, epochs, workers, int(last), seed)


def plain_main(
    images: str, run: str, n: str, epochs: str, workers: str, last: str, seed: str
) -> None:
    """What that process does."""
    from designspace.runs import Run

    population = Run.open(run).population()
    models = [population.model(i) for i in range(int(n))]
    trained = plain(Path(images), models, int(epochs), int(workers), last == "1", int(seed))
    print(json.dumps(asdict(trained)))


def best_workers(train: Callable[[int], Trained], choices: tuple[int, ...] = (0, 1, 2)) -> int:
    """Return with how many loader processes a loop is fastest."""
    if len(choices) == 1:
        return choices[0]
    tried = {workers: train(workers).seconds for workers in choices}
    return min(tried, key=lambda workers: tried[workers])


# Ours.


class Kept:
    """Worker processes that stay from one call to the next, as in a long run."""

    def __init__(self, jobs: int, work) -> None:
        from designspace.training.loky_workers import LokyWorkers

        self._workers = LokyWorkers(jobs, work)
        self.end = self._workers.close
        self.submit, self.wait, self.kill = (
            self._workers.submit,
            self._workers.wait,
            self._workers.kill,
        )
        self.slots = self.max_slots = jobs
        self.lost_devices: dict[str, str] = {}

    def close(self) -> None: ...


def ours(
    folder, images: Path, home: Path, epochs: int, n: int, workers: Kept, seed: int = 0
) -> Trained:
    """Train the first n models of a run anew."""
    from designspace.training.train_runs import TrainOptions, train_runs

    folder.trials_file.unlink(missing_ok=True)
    request = TrainOptions(
        data=f"folder:{images}",
        recipe=the_recipe(epochs),
        val="test",
        seed=seed,
        indices=tuple(range(n)),
        device="cpu",
        home=home,
    )
    began = time.perf_counter()
    (end,) = train_runs([(folder, request)], Silent(), make_workers=lambda *_: workers)
    seconds = time.perf_counter() - began
    assert end.complete == n, end
    return Trained(seconds, tuple(trial.error for trial in folder.trials()))


def against_plain(images: Path, home: Path, options) -> list[Row]:
    """Questions 1 and 3."""
    from designspace.training.run_task import run_task

    folder = make_run(home / "run", options.models)
    n, epochs = options.models, options.epochs
    one, two = Kept(1, run_task), Kept(2, run_task)
    for workers in (one, two):  # start the processes, decode the images
        ours(folder, images, home, epochs, 2, workers)
    best = best_workers(lambda w: plain_process(images, folder.path, 1, epochs, w, False))
    best_last = best_workers(lambda w: plain_process(images, folder.path, 1, epochs, w, True))
    hours: dict[str, list[float]] = {"plain": [], "plain last": [], "one": [], "two": []}
    for _ in range(options.rounds):
        count = options.plain_models
        for key, workers, last in (("plain", best, False), ("plain last", best_last, True)):
            theirs = plain_process(images, folder.path, count, epochs, workers, last)
            hours[key].append(theirs.seconds / count)
            key, mine = ("one", one) if last else ("two", two)
            hours[key].append(ours(folder, images, home, epochs, n, mine).seconds / n)
    one.end()
    two.end()
    rate = {key: [3600 / seconds for seconds in values] for key, values in hours.items()}
    return [
        Row(f"plain loop, {best} loader workers", "models/h", rate["plain"]),
        Row(
            f"plain loop, channels last, {best_last} loader workers", "models/h", rate["plain last"]
        ),
        Row("designspace train, one worker", "models/h", rate["one"]),
        Row("designspace train, two workers", "models/h", rate["two"]),
        ratio("two workers against the plain loop", rate["two"], rate["plain"], 5.0),
        ratio("  against the plain loop in channels last", rate["two"], rate["plain last"], None),
        ratio("two workers against one", rate["two"], rate["one"], 1.9),
    ]


def ratio(what: str, above: list[float], below: list[float], wanted: float | None) -> Row:
    """The ratios of rounds that lie side by side in time."""
    values = [a / b for a, b in zip(above, below, strict=True)]
    if wanted is None:
        return Row(what, "times", values)
    return Row(what, "times", values, f">= {wanted:g}", statistics.median(values) >= wanted)


def against_bare(images: Path, home: Path, options) -> list[Row]:
    """Question 2, in a process of its own."""
    argv = [sys.executable, __file__, "--bare", str(images), str(home), str(options.rounds)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    values = [mine / bare for mine, bare in zip(found["ours"], found["bare"], strict=True)]
    return [
        Row("the bare step, one thread", "images/s", found["bare"]),
        Row("a step of ours, one thread", "images/s", found["ours"]),
        Row("ours against the bare step", "", values, ">= 0.95", statistics.median(values) >= 0.95),
    ]


def bare_main(images: str, home: str, rounds: str) -> None:
    """What that process does: some rounds of each of three networks, sides alternating."""
    import torch
    from torch import nn

    from designspace.data.batches import Batches
    from designspace.data.cache import build_cache
    from designspace.data.datasets import load_source
    from designspace.data.decode import geometries
    from designspace.data.splits import split
    from designspace.runs import Run
    from designspace.training import device_setup
    from designspace.training.trainer import Trainer

    cpu, recipe = torch.device("cpu"), the_recipe(10**6).at(32)
    parts = split(load_source(f"folder:{images}"), "test")
    cache = build_cache(parts, geometries(recipe), Path(home) / "images")
    device_setup.prepare(cpu)
    population = Run.open(Path(home) / "run").population()
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    for index in range(3):
        batches = Batches(cache, recipe, cpu)
        training = Trainer(population.model(index).at(classes=10), recipe, 0, cpu)
        network, optimizer = training.network, training._optimizer
        inputs, labels = next(batches.epoch(0, 0))

        def bare(steps, network=network, optimizer=optimizer, inputs=inputs, labels=labels):
            for _ in range(steps):
                nn.functional.cross_entropy(network(inputs), labels).backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

        steps = batches.steps_per_epoch
        images_seen = steps * recipe.batch_size
        training.train_epoch(batches, lambda: None)
        bare(steps)
        for _ in range(int(rounds)):
            began = time.perf_counter()
            bare(steps)
            middle = time.perf_counter()
            training.train_epoch(batches, lambda: None)
            end = time.perf_counter()
            found["bare"].append(images_seen / (middle - began))
            found["ours"].append(images_seen / (end - middle))
    print(json.dumps(found))


# Trials that do nothing.


def nothing(task):
    """A trial that is through at once."""
    from designspace.runs import Trial, TrialState
    from designspace.training.run_task import Outcome

    return Outcome(Trial(task.id, task.index, TrialState.COMPLETE, 10.0, (), 0.0, task.seed))


def empty_trials(home: Path, options) -> list[Row]:
    """Question 4."""
    from designspace.training.loky_workers import LokyWorkers
    from designspace.training.train_runs import TrainOptions, train_runs

    n = options.empty
    folder = make_run(home / "empty", n, "AnyNetXA@32", "1M:100M")
    memory: list[int] = []

    class Watching(Silent):
        def trial(self, folder, trial, snapshot):
            if snapshot.finished in (n // 10, n):
                memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    request = TrainOptions(data="digits", recipe=the_recipe(1), device="cpu", home=home)
    began = time.perf_counter()
    (end,) = train_runs(
        [(folder, request)], Watching(), make_workers=lambda *_: LokyWorkers(2, nothing)
    )
    seconds = time.perf_counter() - began
    assert end.complete == n
    growth = (memory[-1] - memory[0]) / 1024
    return [
        Row(f"{n} trials that do nothing", "s", [seconds], "< 60", seconds < 60),
        Row("  growth of memory over the last 9 in 10", "MB", [growth], "< 50", growth < 50),
    ]


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder with train/ and test/ of 32x32 images")
    parser.add_argument("--train", type=int, default=4000, help="images to make for training")
    parser.add_argument("--test", type=int, default=400, help="images to make for validation")
    parser.add_argument("--models", type=int, default=6, help="models a round of ours trains")
    parser.add_argument("--plain-models", type=int, default=2, help="and a round of the plain loop")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--empty", type=int, default=10_000)
    parser.add_argument("--command-models", type=int, default=16, help="that the command trains")
    parser.add_argument("--only", choices=["plain", "bare", "empty", "command"])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/train.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        images = options.images or home / "made"
        if options.images is None:
            make_images(images, options.train, options.test)
        parts = {
            "plain": lambda: against_plain(images, home, options),
            "bare": lambda: against_bare(images, home, options),
            "empty": lambda: empty_trials(home, options),
            "command": lambda: command_rows(images, home, options),
        }
        make_run(home / "run", options.models)
        rows = [row for key, part in parts.items() if options.only in (None, key) for row in part()]
    report(rows, options, {"space": SPACE, "budget": BUDGET})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        plain_main(*sys.argv[2:])
    elif sys.argv[1:2] == ["--bare"]:
        bare_main(*sys.argv[2:])
    else:
        main()
