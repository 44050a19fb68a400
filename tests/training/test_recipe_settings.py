"""Nesterov, no decay on norms and biases, mixup and the period of the weight average."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

import designspace as ds
from designspace.errors import InputError
from designspace.networks import build
from designspace.runs import load_recipe
from designspace.runs.recipe import parse_recipe
from designspace.training import train_runs
from designspace.training.ema import WeightAverage
from designspace.training.mixup import mix, mixed_loss, mixing_weights
from designspace.training.optimizer import parameter_groups, set_learning_rate, sgd
from designspace.training.step_settings import StepSettings

CPU = torch.device("cpu")
QUICK = load_recipe("quick")
NEW = {"nesterov": True, "decay_norms": False, "mixup": 0.2, "ema_decay": 0.9, "ema_period": 4}


def network():
    torch.manual_seed(0)
    return build(ds.sample("RegNetX@8", n=1, flops="180K:220K")[0])


def test_older_recipes_read_and_are_written_as_before():
    assert not {"nesterov", "decay_norms", "mixup", "ema_period"} & QUICK.to_dict().keys()
    changed = replace(QUICK, **NEW)
    assert parse_recipe(changed.to_dict(), "recipe") == changed
    assert "nesterov: None, True" in QUICK.differences(changed)
    with pytest.raises(InputError, match="nesterov needs a momentum"):
        parse_recipe({**QUICK.to_dict(), "nesterov": True, "momentum": 0.0}, "recipe")


def test_a_recipe_file_takes_what_it_does_not_set_from_its_parent(tmp_path):
    base, own = tmp_path / "base.yaml", tmp_path / "own.yaml"
    base.write_text("parent: quick\nlr: 0.3\nnesterov: true\n")
    own.write_text("parent: base.yaml\nepochs: 7\n")
    assert load_recipe(str(own)) == replace(QUICK, name="own", epochs=7, lr=0.3, nesterov=True)
    assert "parent" not in load_recipe(str(own)).to_dict()
    swav = tmp_path / "swav.yaml"
    swav.write_text("parent: quick\nname: mine\nepochs: 9\n")
    quick = ds.load_pretrain_recipe("quick").to_dict()
    assert ds.load_pretrain_recipe(swav).to_dict() == {**quick, "name": "mine", "epochs": 9}
    wrong = {
        "parent: own.yaml": "own.yaml: parent: the recipe descends from itself",
        "parent: qick": "no recipe \\(parent of .*own.yaml\\) 'qick'; did you mean quick",
        "parent: none.yaml": "none.yaml",
        "parent: 3": "parent must be a recipe's name or a .yaml file",
        "parent: quick\nepochs: 0": "epochs",
    }
    for text, message in wrong.items():
        own.write_text(text)
        with pytest.raises(InputError, match=message):
            load_recipe(str(own))


def test_a_recipe_is_taken_as_a_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {"parent": "quick", "lr": 0.3}
    assert load_recipe(own) == replace(QUICK, name="custom", lr=0.3)
    (tmp_path / "base.yaml").write_text("parent: quick\nlr: 0.3\n")
    assert load_recipe({"parent": "base.yaml", "name": "mine"}) == replace(
        QUICK, name="mine", lr=0.3
    )
    run = ds.sample("RegNetX@8", n=1, flops="180K:220K", out="run")
    ds.train(run, "digits", {**own, "epochs": 1}, limit=1, jobs=1, progress=False)
    assert run.recipe().lr == 0.3
    swav = ds.load_pretrain_recipe({"parent": "swav", "epochs": 9})
    assert ds.load_pretrain_recipe(swav).epochs == 9
    for wrong, message in (
        (5, "recipe is 5; it must be a name, a path or a map"),
        ({"lr": 0.3}, "recipe: as passed: epochs: missing"),
        ({**own, "mommentum": 0.8}, "did you mean momentum"),
        ({"parent": "dds", "pad": 3}, "pad is 3, which has no effect with augmentation resized"),
    ):
        with pytest.raises(InputError, match=message):
            load_recipe(wrong)


def test_norms_and_biases_are_not_decayed():
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    recipe = replace(QUICK, decay_norms=False, weight_decay=0.5, momentum=0.0)
    optimizer = sgd(model, recipe, CPU)
    set_learning_rate(optimizer, 0.1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if p.ndim > 1 else before[name]
        assert torch.allclose(p, expected), name
    assert len(parameter_groups(model, QUICK)) == 1


def test_layer_scales_are_not_decayed():
    drawn = ds.sample("ConvNeXt-like@16", n=1, flops="1M:4M")[0].build()
    decayed, plain = parameter_groups(drawn, replace(QUICK, decay_norms=False))
    names = {id(p): name for name, p in drawn.named_parameters()}
    scales = {name for name in names.values() if "scale" in name}
    assert scales
    assert scales <= {names[id(p)] for p in plain["params"]}
    assert all(p.ndim > 1 for p in decayed["params"])


def test_nesterov_is_sgds():
    assert sgd(network(), replace(QUICK, nesterov=True), CPU).param_groups[0]["nesterov"]


def test_mixup_is_a_batch_mixed_with_its_reverse():
    images, labels, weight = torch.rand(4, 3, 8, 8), torch.arange(4), torch.tensor(0.3)
    assert torch.allclose(mix(images, weight)[0], 0.3 * images[0] + 0.7 * images[3])
    outputs = torch.randn(4, 10)

    def loss(targets):
        return functional.cross_entropy(outputs, targets)

    soft = 0.3 * functional.one_hot(labels, 10) + 0.7 * functional.one_hot(labels.flip(0), 10)
    assert torch.allclose(mixed_loss(loss, labels, weight), functional.cross_entropy(outputs, soft))
    weights = mixing_weights(0.2, 0, 1, 4000)
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)).
    assert weights.mean().item() == pytest.approx(0.5, abs=0.03)
    assert weights.var().item() == pytest.approx(1 / (4 * 1.4), abs=0.01)
    assert torch.equal(weights, mixing_weights(0.2, 0, 1, 4000))
    assert not torch.equal(weights[:10], mixing_weights(0.2, 0, 2, 10))


def test_the_average_is_updated_once_a_period():
    recipe = replace(QUICK, ema_decay=0.9, ema_period=3)
    values = StepSettings(recipe, CPU).epoch(0, 1, 4)[:, 0]  # steps 5 to 8 of all
    assert torch.allclose(values, torch.tensor([0.0, 0.1, 0.0, 0.0]))
    model = torch.nn.Linear(2, 2)
    average = WeightAverage(model, 0.9)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    average.update(model, torch.tensor(0.0))
    assert torch.equal(average.network.weight, start)
    average.update(model, torch.tensor(0.1))
    assert torch.allclose(average.network.weight, start + 0.1)


@pytest.mark.parametrize("static", [False, True])
def test_a_training_uses_all_of_them_and_static_steps_agree(tmp_path, static, monkeypatch, inline):
    """Static steps, which CUDA graphs replay, compute what the others do."""
    from designspace.training import run_task as module

    real = module.Trainer
    monkeypatch.setattr(
        module, "Trainer", lambda *args, **options: real(*args, **options, static=static)
    )
    monkeypatch.setattr(train_runs, "LokyWorkers", lambda *_: inline())
    errors = {}
    for name, recipe in (("plain", QUICK), ("new", replace(QUICK, **NEW))):
        run = ds.sample("RegNetX@8", n=1, flops="180K:220K", out=tmp_path / name)
        run.train(data="digits", recipe=recipe, epochs=2, jobs=1, progress=False)
        errors[name] = run.trials()[0].curve
    assert errors["plain"] != errors["new"]
    _SEEN.setdefault("new", errors["new"])
    assert errors["new"] == _SEEN["new"]


_SEEN: dict[str, tuple[float, ...]] = {}
