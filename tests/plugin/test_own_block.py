"""A design space of a third party's own block, brought by one file and an entry point."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from packages import bring
from torch import nn

import designspace
from designspace.arch import Body, Model, Population, Skeleton
from designspace.arch.blocks import _installed_block
from designspace.errors import InputError
from designspace.networks import build
from designspace.space import load_space, sample

HERE = Path(__file__).parent
SPACE = HERE / "InvertedResiduals.yaml"


ENTRIES = {
    "inverted-residual": "inverted_residual:BLOCK",
    "broken": "inverted_residual.none:BLOCK",
    "missing": "inverted_residual:NOTHING",
    "misnamed": "inverted_residual:BLOCK",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """What pip would install: the file, and metadata with its entry point."""
    folder = tmp_path_factory.mktemp("site")
    text = (HERE / "inverted_residual.py").read_text()
    return bring(folder, "inverted_residual", text, ENTRIES)


@pytest.fixture
def installed(package, monkeypatch):
    monkeypatch.syspath_prepend(str(package))
    _installed_block.cache_clear()
    yield
    _installed_block.cache_clear()


def run(package, where, *arguments):
    environment = os.environ | {
        "PYTHONPATH": f"{package}{os.pathsep}{Path(designspace.__file__).parents[1]}"
    }
    return subprocess.run(
        [sys.executable, "-m", "designspace", *map(str, arguments)],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
    )


def edited(tmp_path, *changes):
    text = SPACE.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def counted(network, side):
    """Multiply-adds with biases, and activations, as hooks on the built network count them."""
    flops = acts = 0

    def look(module, inputs, output):
        nonlocal flops, acts
        acts += output.numel()
        if isinstance(module, nn.Conv2d):
            flops += output.numel() * module.weight[0].numel()
        else:
            flops += output.numel() * (module.in_features + 1)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(look)
    network.eval()(torch.zeros(1, 3, side, side))
    return flops, acts


def test_costs_are_those_of_the_built_networks(installed):
    population = sample(load_space(str(SPACE)), 40, seed=1).population
    kinds = population.bodies.extras
    assert set(np.unique(kinds["t"])) == {1, 2, 3, 6}
    assert (kinds["k"] == kinds["k"][:, :1]).all()  # shared
    assert set(np.unique(kinds["k"])) == {3, 5}
    for i in range(0, 40, 3):
        model = population.model(i)
        network = build(model)
        assert counted(network, model.skeleton.resolution) == (model.flops, model.acts)
        assert sum(p.numel() for p in network.parameters()) == model.params


def test_a_body_survives_its_file_and_has_a_name_of_its_own(installed):
    population = sample(load_space(str(SPACE)), 5).population
    for body in population.iter_bodies():
        again = Body.from_dict(json.loads(json.dumps(body.to_dict())))
        assert again == body
        assert again.id == body.id
        other = dataclasses.replace(body, extras=(("t", (1.0, 1.0)), ("k", (7.0, 7.0))))
        assert other.id != body.id


def test_the_space_of_the_readme_takes_depths_and_widths_from_its_parent(installed, tmp_path):
    readme = (HERE.parents[1] / "spaces" / "README.md").read_text()
    (text,) = (t for t in re.findall(r"```yaml\n(.*?)```", readme, re.S) if "\nblock: " in t)
    (tmp_path / "inverted.yaml").write_text(text)
    space, parent = load_space(f"{tmp_path}/inverted.yaml@8"), load_space("AnyNetXA@8")
    assert tuple(space.axes) == ("d", "w", "t", "k")
    for name in ("d", "w"):
        assert np.array_equal(space.axes[name].values, parent.axes[name].values)
    assert len(sample(space, 3).population) == 3
    (tmp_path / "back.yaml").write_text(
        "name: back\nparent: inverted\nreason: r\nblock: bottleneck\naxes:\n"
        "  b: {distribution: choice, values: [1]}\n  g: {distribution: choice, values: [8]}\n"
    )
    assert load_space(str(tmp_path / "back.yaml")).block == "bottleneck"


def test_sampling_depends_on_the_block_but_not_on_n(installed, tmp_path):
    space = load_space(str(SPACE))
    few, many = sample(space, 4, seed=3).population, sample(space, 30, seed=3).population
    assert many.ids[:4] == few.ids
    wider = load_space(str(edited(tmp_path, ("[1, 2, 3, 6]", "[1, 2, 3, 4]"))))
    assert wider.hash != space.hash


def test_residual_branches_start_at_zero_on_request(installed):
    model = sample(load_space(str(SPACE)), 1).population.model(0)
    torch.manual_seed(0)
    images = torch.randn(2, 3, 8, 8)
    outputs = [build(model, zero)(images) for zero in (False, True)]
    assert not torch.allclose(*outputs)


def test_the_same_commands_do_all_of_it(package, installed, cli, tmp_path, monkeypatch):
    """Sampled, trained, reported and refined as RegNets are; what knows RegNet's block says so."""
    monkeypatch.chdir(tmp_path)
    listed = run(package, tmp_path, "spaces")
    assert "convnext, inverted-residual.\n" in listed.stdout
    for name, why in (("broken", "can't be loaded"), ("misnamed", "must be a block of the same")):
        origin = f"Unusable: block {name}: the entry point {ENTRIES[name]} of inverted_residual "
        assert origin + why in listed.stdout
    made = cli("sample", SPACE, "-n", 4, "--flops", "50k:1M", "--out", "ir")
    assert made.code == 0, made.err
    shown = cli("complexity", "ir:0").out
    told = json.loads(cli("complexity", "ir:0", "--json").out)
    assert set(told["extras"]) == {"t", "k"}
    assert told["block"] == "inverted-residual"
    for name, values in {**told["extras"], "depths": told["depths"]}.items():
        assert f"  {name:<18}{'  '.join(map(str, values))}\n" in shown
    for name in ("bottleneck_ratios", "group_widths", "se_ratio"):
        assert name not in shown
        assert name not in told
    trained = run(
        package, tmp_path, "train", "ir", "--data", "digits", "--recipe", "quick", "--epochs", "1"
    )
    assert trained.returncode == 0, trained.stderr
    analysed = cli("analyze", "ir", "--out", "report")
    assert analysed.code == 0, analysed.err
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert {"d1", "w1", "t1", "t2", "k"} <= set(summary["bootstrap"]["ir"])
    assert summary["best"]["ir"][0]["arch"]["block"] == "inverted-residual"
    page = (tmp_path / "report" / "index.html").read_text()
    best = summary["best"]["ir"][0]["arch"]
    stage = f"{best['depths'][0]}\\u00d7{best['widths'][0]} (t{best['extras']['t'][0]} "
    assert stage in page or stage.replace("\\u00d7", "×") in page
    refined = cli("refine", "report", "--out", "narrower.yaml")
    assert refined.code == 0, refined.err
    assert "one t for all stages" in refined.out
    derived = cli("derive", "--from", "report", "--flops", "1M", "--out", "m.yaml")
    assert derived.code == 0, derived.err
    assert "block: inverted-residual" in (tmp_path / "m.yaml").read_text()


def test_where_the_package_is_missing_the_message_says_which(tmp_path):
    with pytest.raises(InputError, match=r"no block 'inverted-residual': .*entry point"):
        load_space(str(SPACE))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  t: {d", "  z: {d", "axes.z: .* has exactly the axes d, w, t, k; found"),
        ("[3, 5]", "[3, 13]", r"axes\.k: side of the depthwise kernel: must be 1 to 11; found 13"),
        ("[3, 5]", "[3, 4.5]", r"axes\.k: .*must be a whole number; found 4\.5"),
        ("share: [k]", "share: [g]", "share: no axis g; the axes are d, w, t, k"),
        ("family: anynet", "family: regnet", "axes.w: unknown axis; a regnet of inverted"),
        ("share: [k]", "se_ratio: 0.25", "inverted-residual blocks have none; it must be 0"),
        ("inverted-residual", "missing", "NOTHING"),
        ("inverted-residual", "broken", "can't be loaded: ModuleNotFoundError"),
        ("inverted-residual", "misnamed", "of the same name"),
        ("inverted-residual", "inverted", "did you mean inverted-residual"),
    ],
)
def test_mistakes_are_explained(installed, tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        load_space(str(edited(tmp_path, (old, new))))


def test_blocks_do_not_mix(installed):
    own = sample(load_space(str(SPACE)), 1).population.model(0)
    plain = Model("plain", Body((1, 1), (8, 8), (1.0, 1.0), (8, 8)), own.skeleton)
    with pytest.raises(InputError, match="a population has one kind"):
        Population.of([own, plain])


def test_networks_too_large_to_count_are_refused(installed):
    skeleton = Skeleton(resolution=4096, strides=(1,), stem_stride=1)
    body = Body((1000,), (10**6,), (1.0,), (1,), 0.0, "inverted-residual", (("t", (12.0,)),))
    with pytest.raises(InputError, match="64 bits"):
        _ = Model("huge", body, skeleton).flops
