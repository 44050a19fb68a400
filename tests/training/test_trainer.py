"""One network in training."""

import math
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

from designspace.data.batches import Batches
from designspace.data.cache import build_cache
from designspace.data.datasets import load_source
from designspace.data.decode import geometries
from designspace.data.splits import split
from designspace.errors import Diverged
from designspace.training.ema import WeightAverage
from designspace.training.lr_schedule import learning_rate
from designspace.training.trainer import Trainer, _layers_seed

CPU = torch.device("cpu")


@pytest.fixture
def batches(images, tmp_path, recipe):
    parts = split(load_source(f"folder:{images}"), "test")
    return Batches(build_cache(parts, geometries(recipe), tmp_path / "home"), recipe, CPU)


@pytest.fixture
def model(small_population):
    return small_population(2).model(1).at(classes=2)


def run(training, batches, epochs):
    for _ in range(epochs):
        training.run_epoch(batches, lambda: None)
    return training


def test_it_learns_bright_from_dark(batches, model, recipe):
    recipe = replace(recipe, epochs=6)
    training = run(Trainer(model, recipe, 0, CPU), batches, 6)
    assert training.curve[-1] == 0.0
    assert len(training.curve) == training.epochs_done == 6


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_going_on_from_a_state_gives_the_same_bits(batches, model, recipe, ema, tmp_path):
    from designspace.training import checkpoint

    recipe = replace(recipe, ema_decay=ema, label_smoothing=0.1, warmup_epochs=0.5)
    whole = run(Trainer(model, recipe, 7, CPU), batches, 3)
    first = run(Trainer(model, recipe, 7, CPU), batches, 1)
    checkpoint.save(tmp_path / "x.pt", "key", first.state())
    second = Trainer(model, recipe, 7, CPU)
    second.restore(checkpoint.load(tmp_path / "x.pt", "key", CPU))
    run(second, batches, 2)
    assert second.curve == whole.curve
    mine, theirs = second.state(), whole.state()
    for part in ("network", "average") if ema else ("network",):
        assert all(torch.equal(mine[part][key], theirs[part][key]) for key in mine[part])


def with_dropout(trainer):
    """Let the network draw random numbers in training, as a block of one's own may."""
    trainer.network.register_forward_hook(
        lambda network, _, outputs: nn.functional.dropout(outputs, 0.5, network.training)
    )
    return trainer


@pytest.mark.parametrize("static", [False, True], ids=["eager", "static"])
def test_blocks_that_draw_random_numbers_are_reproducible_and_resume(
    batches, model, recipe, static
):
    def trainer():
        return with_dropout(Trainer(model, recipe, 7, CPU, static=static))

    plain = run(Trainer(model, recipe, 7, CPU, static=static), batches, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = run(trainer(), batches, 3)
        torch.manual_seed(2)
        before = torch.random.get_rng_state()
        first = run(trainer(), batches, 1)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(3)
        second = trainer()
        second.restore(first.state())
        run(second, batches, 2)
    weights = [one.network.fc.weight for one in (whole, second, plain)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_layers_draw_other_numbers_in_each_epoch_than_the_order_of_images_does():
    from designspace.data.batches import _epoch_seed

    seeds = [_layers_seed(s, e) for s in range(9) for e in range(9)]
    assert len({*seeds, *(_epoch_seed(s, e) for s in range(9) for e in range(9))}) == 162


def test_training_on_a_gpu_goes_on_on_a_cpu(batches, model, recipe):
    """The state of a GPU has no counters of batches."""
    whole = run(Trainer(model, recipe, 7, CPU), batches, 2)
    first = run(Trainer(model, recipe, 7, CPU), batches, 1)
    state = first.state()
    network = state["network"]
    state["network"] = {k: v for k, v in network.items() if "num_batches_tracked" not in k}
    assert len(state["network"]) < len(network)
    second = Trainer(model, recipe, 7, CPU)
    second.restore(state)
    assert run(second, batches, 1).curve == whole.curve


def test_a_step_is_plain_sgd(batches, model, recipe):
    """The slow twin: torch's simplest loop over the same batches, in another memory format."""
    training = Trainer(model, recipe, 3, CPU)
    torch.manual_seed(3)
    from designspace.networks import build

    twin = build(model, zero_init_residual=True)
    optimizer = torch.optim.SGD(
        twin.parameters(), lr=0.1, momentum=0.9, weight_decay=recipe.weight_decay, foreach=False
    )
    twin.train()
    for step, (images, labels) in enumerate(batches.epoch(3, 0)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, batches.steps_per_epoch)
        optimizer.zero_grad()
        nn.functional.cross_entropy(twin(images.contiguous()), labels).backward()
        optimizer.step()
    run(training, batches, 1)
    for mine, theirs in zip(training.network.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_training_does_not_import_torchs_compiler():
    """It takes each worker two seconds."""
    script = (
        "import sys, torch; from designspace.runs import Recipe\n"
        "from designspace.training.optimizer import sgd\n"
        "network = torch.nn.Linear(2, 2)\n"
        "optimizer = sgd(network, Recipe('tiny', 1, 8, 0.1), torch.device('cpu'))\n"
        "network(torch.ones(1, 2)).sum().backward()\n"
        "optimizer.step(); optimizer.zero_grad()\n"
        "optimizer.load_state_dict(optimizer.state_dict())\n"
        "assert network.weight.grad is None and optimizer.state\n"
        "print({'torch._dynamo', 'sympy', 'triton'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_a_loss_that_blows_up_ends_at_once(batches, model, recipe, exploding):
    training = Trainer(model, exploding(recipe), 0, CPU)
    with pytest.raises(Diverged, match=r"at step \d of 3, epoch 1 of 3"):
        run(training, batches, 3)
    assert training.curve == []


def test_the_guard_stops_before_a_step(batches, model, recipe):
    calls = []

    def guard():
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        Trainer(model, recipe, 0, CPU).run_epoch(batches, guard)
    assert len(calls) == 3


def test_the_guard_stops_before_a_validation_batch(batches, model, recipe):
    trainer, calls = Trainer(model, recipe, 0, CPU), []

    def guard():
        calls.append(1)
        if len(calls) > batches.steps_per_epoch:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        trainer.run_epoch(batches, guard)
    assert trainer.curve == []


def test_initial_weights_depend_on_the_seed_and_leave_torch_alone(model, recipe):
    before = torch.random.get_rng_state()
    one, same, other = (Trainer(model, recipe, seed, CPU).network for seed in (1, 1, 2))
    assert torch.equal(one.fc.weight, same.fc.weight)
    assert not torch.equal(one.fc.weight, other.fc.weight)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_average_follows_weights_and_statistics():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = WeightAverage(network, 0.75)
    start = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight.add_(1)
        network[1].running_mean.add_(2)
        network[1].num_batches_tracked.add_(3)
    average.update(network)
    assert torch.allclose(average.network[0].weight, start + 0.25)
    assert torch.allclose(average.network[1].running_mean, torch.tensor([0.5, 0.5]))
    assert average.network[1].num_batches_tracked == 3


def test_the_schedule_warms_up_then_falls_along_a_cosine(recipe):
    recipe = replace(recipe, epochs=10, lr=0.4, warmup_epochs=2.0)
    rates = [learning_rate(recipe, step, 5) for step in range(50)]
    assert rates[0] == pytest.approx(0.04)
    assert rates[9] == rates[10] == pytest.approx(0.4)
    assert rates[30] == pytest.approx(0.2)
    assert rates[49] == pytest.approx(0.2 * (1 + math.cos(math.pi * 39 / 40)))
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_without_warm_up_the_schedule_is_the_papers(recipe):
    recipe = replace(recipe, epochs=10, lr=0.05, warmup_epochs=0.0)
    for step in (0, 7, 25, 99):
        expected = 0.05 * 0.5 * (1 + math.cos(math.pi * step / 100))
        assert learning_rate(recipe, step, 10) == pytest.approx(expected)


def test_initial_weights_do_not_depend_on_other_threads(model, recipe, batches):
    """A worker of several threads begins models while others pass the ends of their epochs."""
    expected = Trainer(model, recipe, 7, CPU).network.fc.weight.clone()
    other, stop = Trainer(model, recipe, 1, CPU), threading.Event()
    other._train_eager_epoch = lambda *_: None

    def epochs():
        while not stop.is_set():
            other.train_epoch(batches, lambda: None)

    thread = threading.Thread(target=epochs)
    thread.start()
    try:
        weights = [Trainer(model, recipe, 7, CPU).network.fc.weight for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    assert all(torch.equal(one, expected) for one in weights)
