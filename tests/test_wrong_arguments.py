"""Wrong arguments of public functions: each gets a message that says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import designspace as ds

POPULATION = ds.sample("RegNetX@8", n=3, flops="180K:220K")
MODEL = POPULATION[0]

EMPTY: list[Callable[[], Any]] = [
    lambda: ds.analyze([]),
    lambda: ds.plot_edf([]),
    lambda: ds.plot_best_of_k([]),
    lambda: ds.plot_edf({}),
    lambda: ds.rank_agreement([]),
    lambda: ds.train([], "digits", "quick"),
    lambda: ds.status([]),
    lambda: ds.measure([]),
    lambda: ds.merge([], "out"),
    lambda: ds.gather([], "out"),
    lambda: ds.edf([]),
    lambda: ds.compare([], []),
    lambda: ds.bootstrap([], []),
    lambda: ds.fit_quantized_linear([]),
]
UNSAVED: list[Callable[[Any], Any]] = [
    lambda p: ds.analyze(p),
    lambda p: ds.analyze([p]),
    lambda p: ds.plot_edf(p),
    lambda p: ds.plot_edf([p]),
    lambda p: ds.plot_edf({"mine": p}),
    lambda p: ds.plot_best_of_k([p]),
    lambda p: ds.rank_agreement([p, p]),
    lambda p: ds.refine(p),
    lambda p: ds.train(p, "digits", "quick"),
    lambda p: ds.load_run(p),
    lambda p: ds.status(p),
    lambda p: ds.merge([p], "out"),
    lambda p: ds.derive("regnetx", source=p, flops="1G"),
    lambda p: ds.export_best(p, 1, "pycls", "out"),
    lambda p: ds.export_pareto(p, "pycls", "out"),
]
NUMBERS: list[tuple[str, Callable[[Any], Any]]] = [
    ("n", lambda v: ds.sample("RegNetX@8", n=v)),
    ("seed", lambda v: ds.sample("RegNetX@8", seed=v)),
    ("margin", lambda v: ds.analyze("run", margin=v)),
    ("first", lambda v: ds.analyze("run", first=v)),
    ("alpha", lambda v: ds.refine("run", alpha=v)),
    ("level", lambda v: ds.rank_agreement(["a", "b"], v)),
    ("epochs", lambda v: ds.train("run", epochs=v)),
    ("jobs", lambda v: ds.train("run", jobs=v)),
    ("limit", lambda v: ds.measure(MODEL, limit=v)),
    ("scale", lambda v: ds.derive("regnetx", scale=v)),
    ("epochs", lambda v: ds.pretrain(MODEL, "digits", "out", epochs=v)),
    ("gpus", lambda v: ds.plan_pretraining(MODEL, gpus=v)),
    ("threads", lambda v: ds.cluster("run", "out", threads=v)),
    ("count", lambda v: ds.export_best("run", v, "pycls", "out")),
    ("classes", lambda v: ds.export_pareto("run", "pycls", "out", classes=v)),
    ("classes", lambda v: ds.import_results("file", "out", classes=v)),
    ("share", lambda v: ds.bootstrap([1], [2], share=v)),
    ("level", lambda v: ds.compare([1, 2], [2, 3], level=v)),
    ("resolution", lambda v: MODEL.at(resolution=v)),
]


@pytest.mark.parametrize("call", EMPTY)
def test_an_empty_list_is_an_input_error(call: Callable[[], Any]) -> None:
    with pytest.raises(ds.InputError):
        call()


@pytest.mark.parametrize("call", UNSAVED)
def test_an_unsaved_population_is_to_be_saved_first(call: Callable[[Any], Any]) -> None:
    with pytest.raises(ds.InputError, match="save it first"):
        call(POPULATION)


@pytest.mark.parametrize(("name", "call"), NUMBERS)
@pytest.mark.parametrize("value", ["5", [5]])
def test_a_number_of_the_wrong_type(name: str, call: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(ds.InputError, match=rf"^{name} is .*; it must be a") as caught:
        call(value)
    assert caught.value.argument == name


@pytest.mark.parametrize("value", [5, [POPULATION], POPULATION])
def test_a_model_that_is_none(value: Any) -> None:
    with pytest.raises(ds.InputError, match="must be a name, a path or a model"):
        ds.load_model(value)


def test_how_a_training_without_a_result_is_recorded(tmp_path: Path) -> None:
    run = POPULATION.save(tmp_path / "run")
    with pytest.raises(ds.InputError, match="state='diverged' and chance error"):
        run.record(0, error=float("nan"))
    with pytest.raises(ds.InputError, match="index is '0'; it must be a whole number"):
        run.record("0", error=50.0)  # type: ignore[arg-type]
    run.record(0, error=None, state="failed", reason="out of memory")
    run.record(0, error=90, state="diverged")
    with pytest.raises(ds.InputError, match=r"recorded by Run\.record"):
        ds.train(run, "digits", "quick", progress=False)


def test_a_mapping_of_runs_can_be_plotted(tmp_path: Path) -> None:
    run = POPULATION.save(tmp_path / "run")
    for i in range(3):
        run.record(i, error=10.0 + i)
    axes = ds.plot_edf({"A": run, "B": str(run.path), "C": [12.0, 13.0]})
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["[10.0 | 11.0] A", "[10.0 | 11.0] B", "[12.0 | 12.5] C"]


def test_reprs_and_tables_are_short_and_honest(tmp_path: Path) -> None:
    run = POPULATION.save(tmp_path / "run")
    run.record(0, error=10.0)
    findings = ds.analyze(run)
    assert repr(findings) == ("Findings of 1 population:\n  run: n = 1, mean 10.00 %, best 10.00 %")
    assert findings.to_frame()["std"].isna().tolist() == [True]
    assert findings.to_frame().index.tolist() == ["run"]
    assert repr(run).endswith("3 models: 1 complete, 2 waiting)")
    assert repr(MODEL).startswith("Model('RegNetX-8-0', depths=(")
    assert repr(POPULATION.space).startswith("Space('RegNetX@8', regnet, 6 dimensions")
    for frame in (POPULATION.to_frame(), run.to_frame()):
        assert (frame[["d", "w_0", "g"]].dtypes == "int64").all()


def test_the_command_line_names_its_options() -> None:
    from typer.main import get_command

    from designspace.cli.main import app, with_flags

    verb = get_command(app).commands["import"]  # type: ignore[attr-defined]
    error = ds.InputError("no column of errors; name it with error= or accuracy=; found a")
    assert "name it with --error or --accuracy; found" in with_flags(error, verb)
