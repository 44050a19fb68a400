"""The public API: every name is documented by an example that runs; the tutorial runs."""

import doctest
import inspect
import pathlib
import runpy
from pathlib import Path

import pytest
import torch
import yaml

import designspace as ds

# Smaller than a reader would choose, so that the test takes seconds.
SMALLER = {"n=8": "n=4", "epochs=4": "epochs=1", "range(4)": "range(1)"}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty working folder, and few threads: other tests run beside these."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def run_examples(thing, name):
    docstring = inspect.getdoc(thing)
    names = {"torch": torch, "pathlib": pathlib}
    test = doctest.DocTestParser().get_doctest(docstring, names, name, None, 0)
    assert test.examples, f"{name} has no example"
    results = doctest.DocTestRunner(optionflags=FLAGS).run(test)
    assert results.failed == 0


@pytest.mark.parametrize("name", sorted(ds.__all__))
def test_the_example_of_each_public_name_runs(name):
    run_examples(getattr(ds, name), name)


def test_the_example_of_the_package_runs():
    run_examples(ds, "designspace")


def test_dir_lists_the_public_names_only():
    assert dir(ds) == sorted(ds.__all__)
    for name in ds.__all__:
        assert name in ds.__doc__, f"{name} is not on the package's page"


def test_functions_and_packages_have_different_names():
    folders = {path.name for path in Path(ds.__file__).parent.iterdir() if path.is_dir()}
    assert not folders & set(ds.__all__)


def test_the_tutorial_runs(capsys, tmp_path):
    text = Path(__file__).with_name("tutorial.py").read_text()
    for long, short in SMALLER.items():
        assert long in text
        text = text.replace(long, short)
    (tmp_path / "tutorial.py").write_text(text)
    runpy.run_path(str(tmp_path / "tutorial.py"))
    printed = capsys.readouterr().out
    figure = Path(printed.rpartition("figure: ")[2].strip())
    assert figure.stat().st_size > 10_000
    assert "report: " in printed


@pytest.mark.parametrize(
    "make",
    [
        lambda: ds.load_space("RegNetX@8"),
        lambda: ds.load_model("RegNetX-200MF"),
        lambda: ds.sample("RegNetX@8", n=3, flops="180K:220K"),
    ],
)
def test_objects_show_as_html_in_a_notebook(make):
    page = make()._repr_html_()
    assert page.startswith("<p>")
    assert "<table" in page


def test_the_version_is_that_of_the_citation():
    citation = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text())
    assert citation["version"] == ds.__version__
