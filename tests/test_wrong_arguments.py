"""Wrong arguments of public functions: each gets a message that says what to do."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import designspace as ds
from designspace.evaluation.evaluate_trunk import evaluate_trunk

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

STRINGS: list[tuple[str, Callable[[Any], Any]]] = [
    ("data", lambda v: ds.train(data=v)),  # type: ignore[call-arg]
    ("device", lambda v: ds.measure(MODEL, device=v)),
    ("out", lambda v: ds.sample("RegNetX@8", n=1, out=v)),
    ("family", lambda v: ds.derive(v, flops="1G")),
    ("recipe", lambda v: ds.pretrain(MODEL, data="digits", out="out", recipe=v)),
    ("out", lambda v: ds.gather([MODEL], v)),
    ("task", lambda v: ds.evaluate("trunk", v)),
    ("out", lambda v: ds.cluster("trunk", v)),
    ("file", lambda v: ds.import_results(v, "out")),
    ("path", lambda v: ds.convert_sweep(v, "out")),
    ("recipe", lambda v: ds.load_pretrain_recipe(v)),
]


@pytest.mark.parametrize("call", EMPTY)
def test_an_empty_list_is_an_input_error(call: Callable[[], Any]) -> None:
    with pytest.raises(ds.InputError):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ds.plot_edf(None), "data is None; it must be runs, findings or errors"),
        (lambda: ds.plot_best_of_k(3), "data is 3; it must be runs, findings or errors"),
        (lambda: ds.save_figure("x", "a.png"), "figure is 'x'; it must be Axes or a Figure"),
        (
            lambda: evaluate_trunk("trunk", "knn", seeds="a"),
            "seeds is 'a'; it must be a whole number",
        ),
        (lambda: evaluate_trunk("trunk", "linear", lr="a"), "lr is 'a'; it must be a number"),
    ],
)
def test_another_kind_of_argument_is_an_input_error(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ds.InputError, match=re.escape(message)):
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


@pytest.mark.parametrize(("name", "call"), STRINGS)
@pytest.mark.parametrize("value", [5, MODEL])
def test_a_string_of_the_wrong_type(name: str, call: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(ds.InputError, match=rf"^{name} is .*; it must be a (str|name)") as caught:
        call(value)
    assert caught.value.argument == name


@pytest.mark.parametrize("as_path", [True, False])
def test_the_run_of_a_population_has_no_weights(tmp_path: Path, as_path: bool) -> None:
    run = POPULATION.save(tmp_path / "my run")
    source: Any = run.path if as_path else run
    with pytest.raises(ds.InputError, match=r"^checkpoint is .*keeps no weights; .*my run:best'`"):
        ds.evaluate(source)
    with pytest.raises(ds.InputError, match=r"^run is .*which keeps no weights"):
        ds.cluster(source, tmp_path / "clusters")
    for wrong in (POPULATION, MODEL, 5):
        with pytest.raises(ds.InputError, match="must be the folder of a pretraining or a file"):
            ds.evaluate(wrong)  # type: ignore[arg-type]
        with pytest.raises(ds.InputError, match="must be the folder of a pretraining or a file"):
            ds.cluster(wrong, tmp_path / "clusters")  # type: ignore[arg-type]


def test_models_are_indexed_by_whole_numbers(tmp_path: Path) -> None:
    run = POPULATION.save(tmp_path / "run")
    for models in (run, POPULATION):
        assert models[-1].body == models[2].body
        with pytest.raises(TypeError, match=r"^index is 'a'; it must be a whole number"):
            models["a"]  # type: ignore[call-overload,index]
        with pytest.raises(IndexError, match=r"^model 3 of a .* of 3"):
            models[3]


def test_one_number_in_place_of_a_range() -> None:
    for value in (400, "400"):
        with pytest.raises(ds.InputError, match=f"^flops is {value!r}; .* did you mean '400K±1%'"):
            ds.sample("RegNetX@8", flops=value)  # type: ignore[arg-type]
    with pytest.raises(ds.InputError, match=r"models of RegNetX@8 have [0-9.]+K to [0-9.]+M$"):
        ds.sample("RegNetX@8", flops="4T")


def test_nothing_heavy_is_imported_before_arguments_are_checked() -> None:
    code = """
import sys
import designspace as ds
calls = [
    lambda: ds.pretrain("RegNetY-400MG", data="digits", out="out"),
    lambda: ds.pretrain("RegNetX-200MF", data="digit", out="out"),
    lambda: ds.pretrain("RegNetX-200MF", data="digits", out="out", recipe="quik"),
    lambda: ds.pretrain("RegNetX-200MF", data="digits", out="out", device="gpu"),
    lambda: ds.plan_pretraining("RegNetY-400MG"),
    lambda: ds.evaluate(".", model="RegNetY-400MG"),
    lambda: ds.evaluate("nowhere"),
    lambda: ds.evaluate(".", "kn"),
    lambda: ds.cluster("nowhere", "out"),
    lambda: ds.measure("RegNetY-400MG"),
    lambda: ds.export_best("nowhere", 1, "timm", "out"),
    lambda: ds.load_model("RegNetX-200MF").export("tim", "out"),
]
for i, call in enumerate(calls):
    try:
        call()
    except ds.InputError:
        heavy = {"torch", "torchvision", "matplotlib"} & set(sys.modules)
        assert not heavy, (i, heavy)
    else:
        raise AssertionError(i)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
    assert repr(findings) == (
        "Findings of 1 population:\n"
        "  run: n = 1 of 3 (2 without a trial), mean 10.00 %, best 10.00 %"
    )
    run.record(2, error=12.0)
    assert "n = 1 of 3 (1 without a trial, 1 set aside), mean 10.00 %" in repr(ds.analyze(run))
    run.record(1, error=11.0)
    assert "run: n = 3, mean 11.00 %" in repr(ds.analyze(run))
    assert findings.to_frame()["std"].isna().tolist() == [True]
    assert findings.to_frame().index.tolist() == ["run"]
    assert repr(run).endswith("3 models: 3 complete)")
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
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for verb, message, flagged in (
        ("sample", "n is 0; it must be more", "-n is 0"),
        ("sample", "search longer with max_candidates=9", "with --max-candidates 9"),
        ("pretrain", "batch_size is 7; it must be even", "--batch-size is 7"),
        ("pretrain", "weights is 'x'; no such file", "--from is 'x'"),
        ("derive", "batch is 0; it must be 1", "--batch is 0"),
        ("export", "count is 0; it must be 1", "--best is 0"),
        ("evaluate", "lr has no effect on task knn", "--lr has no effect"),
    ):
        assert flagged in with_flags(ds.InputError(message), commands[verb])
