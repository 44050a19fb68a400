"""Small runs and images for the tests of training."""

import copy

import numpy as np
import pytest
from PIL import Image

from designspace.arch import BodyBatch, Population, Skeleton, cost
from designspace.arch.body import Body
from designspace.runs import DataRecord, Recipe, Run
from designspace.training.loky_workers import TaskResult
from designspace.training.run_task import TrialTask, run_task
from designspace.training.train_runs import TrainOptions, train_runs

SKELETON = Skeleton(resolution=8, classes=10, stem_width=8, stem_stride=1, strides=(1, 2))
RECIPE = Recipe("tiny", epochs=3, batch_size=16, lr=0.1, zero_init_residual=True, pad=1)


class Silent:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.notes, self.trials, self.ticks = [], [], 0

    def note(self, text):
        self.notes.append(text)

    def decoded(self, done, total):
        pass

    def trial(self, folder, trial, snapshot):
        self.trials.append(trial)

    def tick(self, snapshot):
        self.ticks += 1


class Inline:
    """Workers that do a task in this process when they are waited for."""

    def __init__(self, slots=1, work=run_task):
        self.slots = self.max_slots = slots
        self.work, self.lost_devices = work, {}
        self.tasks, self.closed, self.most = [], False, 0

    def submit(self, task):
        self.tasks.append(task)
        self.most = max(self.most, len(self.tasks))

    def wait(self, seconds):
        task = self.tasks.pop(0)
        outcome = self.work(task)
        return [outcome if isinstance(outcome, TaskResult) else TaskResult(task, outcome)]

    def kill(self, task):
        raise AssertionError("nothing to kill")

    def close(self):
        self.closed = True


def population(n):
    """n different small networks."""
    bodies = [Body((1, 1), (8, 8 * (i + 1)), (1.0, 1.0), (8, 8)) for i in range(n)]
    stages = BodyBatch.from_bodies(bodies)
    return Population(SKELETON, stages, cost(stages, SKELETON))


@pytest.fixture
def make_run(tmp_path):
    """Make a run folder of n small networks."""

    def make(name="run", n=3):
        sample = {"n": n, "budget": [], "seed": 0, "hash": f"tiny{n}"}
        space = {"name": "tiny", "family": "anynet", "input": SKELETON.to_dict(), "sample": sample}
        return Run.create(tmp_path / name, space, population(n))

    return make


@pytest.fixture
def images(tmp_path):
    """A folder of class folders: two classes that differ in brightness, 8 pixels."""
    return _write_images(tmp_path / "images")


@pytest.fixture
def write_images():
    """Write such a folder with a size of one's own."""
    return _write_images


def _write_images(root, classes=2, each=24, side=8, parts=("train", "test")):
    generator = np.random.default_rng(0)
    for part in parts:
        for label in range(classes):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(each):
                pixels = generator.integers(0, 120, (side, side, 3)) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:03d}.png")
    return root


@pytest.fixture
def request_of(images, tmp_path):
    """Make a request for the small images."""

    def make(**changes):
        plain = {"data": f"folder:{images}", "recipe": RECIPE, "device": "cpu"}
        return TrainOptions(**{**plain, "home": tmp_path / "home", **changes})

    return make


@pytest.fixture
def observer():
    """An observer that keeps what it is told."""
    return Silent()


@pytest.fixture
def inline():
    """Workers that work in this process."""
    return Inline


@pytest.fixture
def train_one():
    """Train one run; return how it ended."""

    def train(folder, request, observer, **more):
        (end,) = train_runs([(folder, request)], observer, **more)
        return end

    return train


@pytest.fixture
def recipe():
    """A recipe of three short epochs, resolved for the small networks."""
    return RECIPE.at(SKELETON.resolution)


@pytest.fixture
def exploding():
    """Return a recipe whose loss becomes non-finite: its rate is far above the allowed maximum."""

    def change(recipe):
        changed = copy.copy(recipe)
        object.__setattr__(changed, "lr", 1e30)
        return changed

    return change


@pytest.fixture
def small_population():
    """Make n different small networks."""
    return population


@pytest.fixture
def make_task(tmp_path, recipe):
    """Make the task of model i out of four, its data made up."""
    models = population(4)
    data = DataRecord("digits", "held-out", "val", 0, 10, 10, 10, "c")

    def make(i, folder=tmp_path):
        file = folder / f"{i}.pt"
        return TrialTask(models.ids[i], i, models.model(i), recipe, i, tmp_path, data, "cpu", file)

    return make
