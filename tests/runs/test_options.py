"""Training options are validated without torch."""

import subprocess
import sys

import numpy as np
import pytest

import designspace as ds
from designspace.errors import InputError
from designspace.runs.training_options import (
    DATA_SETS,
    check_training_options,
    chosen_models,
    parse_source,
)

FINE = {
    "data": "digits",
    "val": "test",
    "seed": 0,
    "jobs": None,
    "device": "cuda:1",
    "time_limit": None,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "digitz"}, "did you mean digits"),
        ({"data": "digits:/x"}, "unknown data set"),
        ({"data": "folder:"}, "add the folder"),
        ({"data": "imagenet:/nowhere"}, "no folder /nowhere"),
        ({"data": f"folder:{'x' * 5000}"}, "no folder xxx"),
        ({"data": "x" * 5000}, "unknown data set"),
        ({"data": "/"}, "write folder:/"),
        ({"val": "foo"}, "val is 'foo'"),
        ({"seed": -1}, "seed is -1"),
        ({"jobs": 0}, "jobs is 0"),
        ({"device": "foo"}, "device is 'foo'"),
        ({"device": "cuda:"}, "device is 'cuda:'"),
        ({"device": "cpu:1"}, "device is 'cpu:1'"),
        ({"time_limit": 0.0}, "time_limit is 0"),
        ({"time_limit": float("nan")}, "time_limit is nan"),
    ],
)
def test_an_invalid_option_is_named(changes, said):
    with pytest.raises(InputError, match=said) as caught:
        check_training_options(**(FINE | changes))
    assert caught.value.argument == next(iter(changes))


def test_valid_options(tmp_path):
    for data in ("digits", "cifar10", f"cifar100:{tmp_path}", f"folder:{tmp_path}"):
        check_training_options(**(FINE | {"data": data}))
    for device in ("auto", "cpu", "cuda", "cuda:0", "mps"):
        check_training_options(**(FINE | {"device": device}))
    assert parse_source(f"folder:{tmp_path}") == ("folder", str(tmp_path))


def test_help_and_docstrings_name_every_data_set(cli):
    any_data = {name: cli(name, "--help").out for name in ("pretrain", "evaluate")}
    any_data |= {"ds.pretrain": ds.pretrain.__doc__, "ds.evaluate": ds.evaluate.__doc__}
    # Of a list of files none has a label, which training needs.
    labelled = {"train": cli("train", "--help").out, "ds.train": ds.train.__doc__}
    for place, text in (any_data | labelled).items():
        expected = [name for name in DATA_SETS if place in any_data or "files" not in name]
        assert [name for name in expected if name not in text] == [], place


def test_lists_of_models():
    assert chosen_models(None, None, 9, "results/a") is None
    assert chosen_models(None, 4, 3, "results/a") == (0, 1, 2)
    assert chosen_models("0-3,7, 5", None, 8, "results/a") == (0, 1, 2, 3, 5, 7)
    assert chosen_models("5,1,8-9,007", 3, 10, "results/a") == (1, 5, 7)


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("", "'' is not an index or a range"),
        ("a", "'a' is not an index"),
        ("1-", "'1-' is not an index"),
        ("-2", "'-2' is not an index"),
        ("1,,2", "'' is not an index"),
        ("3-1", "3-1 is descending; write 1-3"),
        ("0-9999999999", "model 9999999999 is not in results/a, which has models 0 to 499"),
        ("500", "model 500 is not in results/a"),
        ("9" * 5000, "is not in results/a"),
    ],
)
def test_malformed_lists_of_models(only, said):
    with pytest.raises(InputError, match=said):
        chosen_models(only, None, 500, "results/a")


def test_a_limit_of_zero_is_refused():
    with pytest.raises(InputError, match="limit is 0"):
        chosen_models(None, 0, 5, "results/a")


def test_the_module_does_not_import_torch():
    module = "designspace.runs.training_options"
    script = f"import sys, {module}; print({{'torch', 'sklearn'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_an_index_of_numpy_chooses_a_model(tmp_path):
    run = ds.sample("RegNetX@8", n=3, flops="180K:220K", out=tmp_path / "run")
    options = {"data": "digits", "recipe": "quick", "epochs": 1, "jobs": 1, "progress": False}
    table = run.train(only=np.int64(1), **options)
    assert table["status"].notna().tolist() == [False, True, False]
