"""Blocks registered at run time, and plugin files."""

import pickle
from dataclasses import replace
from pathlib import Path

import inverted_residual
import pytest

from designspace.arch import find_block, register_block, unregister_block
from designspace.arch.blocks import installed_blocks
from designspace.arch.plugins import (
    PluginFile,
    _loaded,
    block_for_workers,
    load_plugin,
    provide_block,
)
from designspace.errors import InputError
from designspace.networks import build
from designspace.space import load_space, sample

HERE = Path(__file__).parent
NAME = inverted_residual.BLOCK.name


@pytest.fixture(autouse=True)
def forget():
    yield
    unregister_block(NAME)
    _loaded.clear()


def test_a_registered_block_is_sampled_and_built():
    with pytest.raises(InputError, match="no block"):
        load_space(HERE / "InvertedResiduals.yaml")
    assert register_block(inverted_residual.BLOCK) is inverted_residual.BLOCK
    assert NAME in installed_blocks()[0]
    model = sample(load_space(HERE / "InvertedResiduals.yaml"), 1).population.model(0)
    assert sum(p.numel() for p in build(model).parameters()) == model.params
    unregister_block(NAME)
    with pytest.raises(InputError, match="no block"):
        find_block(NAME)


def test_registering_again_replaces():
    register_block(inverted_residual.BLOCK)
    changed = register_block(replace(inverted_residual.BLOCK, about="changed"))
    assert find_block(NAME) is changed


def test_only_blocks_are_registered():
    with pytest.raises(InputError, match=r"^block is 3; it must be a Block"):
        register_block(3)


def test_a_plugin_file_is_executed_once(tmp_path):
    text = (HERE / "inverted_residual.py").read_text()
    path = tmp_path / "mine.py"
    path.write_text(text + f"\nopen({str(tmp_path / 'log')!r}, 'a').write('x')\n")
    (block,) = load_plugin(path)
    assert find_block(NAME) is block
    assert load_plugin(str(path)) == (block,)
    assert (tmp_path / "log").read_text() == "x"


def test_a_worker_needs_nothing_but_the_task(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text((HERE / "inverted_residual.py").read_text())
    load_plugin(path)
    sent = pickle.dumps(block_for_workers(NAME))
    unregister_block(NAME)
    _loaded.clear()
    path.unlink()
    provide_block(pickle.loads(sent))
    provide_block(pickle.loads(sent))
    model = sample(load_space(HERE / "InvertedResiduals.yaml"), 1).population.model(0)
    assert sum(p.numel() for p in build(model).parameters()) == model.params
    assert block_for_workers("vanilla") is None


def test_a_shipped_block_that_a_plugin_imports_is_listed_once(tmp_path):
    path = tmp_path / "mine.py"
    text = (HERE / "inverted_residual.py").read_text()
    path.write_text(text + "\nfrom designspace.blocks.mbconv import BLOCK as MBCONV\n")
    try:
        load_plugin(path)
        usable, _ = installed_blocks()
    finally:
        unregister_block("mbconv")
    assert sorted(usable) == sorted({*usable})
    assert {"mbconv", NAME} <= {*usable}


def test_models_of_a_plugin_are_trained_by_workers(tmp_path, cli, worker_processes):
    plugin, run = tmp_path / "my block.py", tmp_path / "run"
    plugin.write_text((HERE / "inverted_residual.py").read_text())
    space = HERE / "InvertedResiduals.yaml"
    assert cli("sample", space, "-n", 2, "--out", run, "--plugin", plugin).code == 0
    unregister_block(NAME)
    _loaded.clear()
    train = ("train", run, "--data", "digits", "--recipe", "quick", "--epochs", 1, "--jobs", 1)
    forgotten = cli(*train)
    assert forgotten.code == 2
    assert "load its plugin file" in forgotten.err
    assert not (run / "trials.jsonl").exists()
    done = cli(*train, "--plugin", plugin)
    assert done.code == 0, done.err
    assert "2 of 2 models: 2 complete" in done.out


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.py", "x = 3\n", "defines no designspace Block"),
        ("broken.py", "1 / 0\n", "failed: ZeroDivisionError"),
        ("ended.py", "raise SystemExit(3)\n", "failed: SystemExit: 3"),
        ("text.txt", "x = 3\n", "not a Python file"),
        ("missing.py", None, "no file .*missing.py"),
    ],
)
def test_wrong_plugins_are_named(tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_plugin(path)
    assert name in str(caught.value)


def test_the_plugin_that_is_named_last_counts(tmp_path):
    """In a worker that outlives a run, and in a notebook."""
    text = (HERE / "inverted_residual.py").read_text()
    versions = [PluginFile("mine.py", f"{text}\n# version {n}\n") for n in (1, 2)]
    for file in (*versions, versions[0]):
        provide_block(file)
        assert _loaded[file] == (find_block(NAME),)
    paths = [tmp_path / name for name in ("one.py", "two.py")]
    for path in paths:
        path.write_text(text)
    for path in (*paths, paths[0]):
        assert load_plugin(path) == (find_block(NAME),)
