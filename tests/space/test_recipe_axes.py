"""Recipe axes: settings of the training that a space draws for each model beside its body."""

import json

import numpy as np
import pytest
import yaml

import designspace as ds
from designspace.space.recipe_axis import RecipeChoice, RecipeRange, draw_recipes

RECIPE = {
    "lr": {"distribution": "log_uniform", "low": 0.01, "high": 1.0},
    "weight_decay": {"distribution": "log_uniform", "low": 1e-6, "high": 1e-3},
    "epochs": {"distribution": "choice", "values": [1, 2]},
}


def space(recipe=RECIPE):
    return ds.load_space("RegNetX@8").narrow(name="swept", reason="A test.", recipe=recipe)


def test_a_log_uniform_setting_has_its_distribution():
    axis = RecipeRange(distribution="log_uniform", low=0.01, high=1.0)
    values = axis.draw(np.random.default_rng(0).random(20_000), whole=False)
    assert values.min() >= 0.01
    assert values.max() <= 1.0
    shares = np.histogram(np.log10(values), bins=4, range=(-2, 0))[0] / len(values)
    assert np.allclose(shares, 0.25, atol=0.015)


def test_whole_settings_and_steps_are_rounded():
    uniforms = np.linspace(0, 0.999, 101)
    epochs = RecipeRange(distribution="uniform", low=2, high=5).draw(uniforms, whole=True)
    assert set(epochs) == {2.0, 3.0, 4.0, 5.0}
    stepped = RecipeRange(distribution="log_uniform", low=0.1, high=1, step=0.05)
    multiples = stepped.draw(uniforms, False) / 0.05
    assert np.allclose(multiples, np.rint(multiples))
    assert set(RecipeChoice(distribution="choice", values=[4, 8]).draw(uniforms, True)) == {4, 8}


@pytest.mark.parametrize(
    ("axis", "shares"),
    [
        ({"distribution": "uniform", "low": 2, "high": 5}, [1 / 4] * 4),
        # Of the continuous variable: (1 / 2, 1], (1, 2], (2, 3] and (3, 4].
        (
            {"distribution": "log_uniform", "low": 1, "high": 4},
            np.log([2, 2, 3 / 2, 4 / 3]) / np.log(8),
        ),
        ({"distribution": "choice", "values": [8, 4], "weights": [3, 1]}, [1 / 4, 3 / 4]),
    ],
    ids=["uniform", "log-uniform", "weighted"],
)
def test_whole_settings_are_drawn_as_pycls_does(axis, shares):
    kind = RecipeChoice if axis["distribution"] == "choice" else RecipeRange
    drawn = kind.model_validate(axis).draw((np.arange(12_000) + 0.5) / 12_000, whole=True)
    counts = np.unique(drawn, return_counts=True)[1]
    assert counts / 12_000 == pytest.approx(shares, abs=2e-4)


def test_bodies_stay_those_of_the_space_without_it_and_draws_do_not_depend_on_n():
    plain, swept = (ds.sample(s, n=6, flops="180K:220K") for s in ("RegNetX@8", space()))
    assert plain.ids == swept.ids
    assert plain.record()["hash"] != swept.record()["hash"]
    frame = swept.to_frame()
    assert set(RECIPE) <= set(frame.columns)
    assert frame["lr"].is_unique
    longer = ds.sample(space(), n=9, flops="180K:220K").to_frame()
    assert longer["lr"].tolist()[:6] == frame["lr"].tolist()
    assert ds.sample(space(), n=6, flops="180K:220K", seed=1).to_frame()["lr"].tolist() != (
        frame["lr"].tolist()
    )


def test_each_trial_trains_by_its_settings_and_records_them(tmp_path):
    run = ds.sample(space(), n=4, flops="180K:220K", out=tmp_path / "run")
    table = run.train(data="digits", recipe="quick", jobs=1, progress=False)
    assert table["status"].tolist() == ["complete"] * 4
    lines = (tmp_path / "run" / "trials.jsonl").read_text().splitlines()
    for record in map(json.loads, lines):
        assert record["recipe"].keys() == RECIPE.keys()
        assert len(record["curve"]) == record["recipe"]["epochs"]
    findings = ds.analyze(run)
    columns = findings.populations[0].results.parameters
    assert columns["lr"].tolist() == [trial.recipe["lr"] for trial in run.trials()]
    assert draw_recipes(run.space(), 4)["lr"].tolist() == columns["lr"].tolist()


def test_a_recipe_that_a_drawn_setting_contradicts_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "mine.yaml").write_text("{name: mine, parent: quick, epochs: 9, warmup_epochs: 4}")
    run = ds.sample(space(), n=4, flops="180K:220K", out=tmp_path / "run")
    with pytest.raises(ds.InputError, match=r"model 0 drew lr .*, epochs .*: warmup_epochs is 4"):
        run.train(data="digits", recipe=str(tmp_path / "mine.yaml"), jobs=1, progress=False)
    assert not run.begun


def test_training_says_which_settings_are_drawn(tmp_path, cli):
    ds.sample(space(), n=1, flops="180K:220K", out=tmp_path / "run")
    outcome = cli("train", tmp_path / "run", "--data", "digits", "--recipe", "quick", "--lr", 9)
    assert "each model trains with the lr, weight_decay" in outcome.err + outcome.out


def test_a_folder_of_other_settings_is_refused(tmp_path):
    ds.sample(space(), n=2, flops="180K:220K", out=tmp_path / "run")
    with pytest.raises(ds.InputError, match="another population"):
        ds.sample("RegNetX@8", n=2, flops="180K:220K", out=tmp_path / "run")


def test_a_space_file_and_a_study_state_it(tmp_path):
    (tmp_path / "swept.yaml").write_text(
        yaml.safe_dump(
            {"name": "swept", "parent": "RegNetX", "reason": "A test.", "recipe": RECIPE}
        )
    )
    assert set(ds.load_space(f"{tmp_path}/swept.yaml@8").recipe) == set(RECIPE)
    study = {
        "name": "s",
        "n": 2,
        "data": "digits",
        "budget": {"flops": "180K:220K"},
        "recipe_axes": {"lr": RECIPE["lr"], "epochs": {"distribution": "choice", "values": [1]}},
        "populations": {
            "x": {"space": "RegNetX@8"},
            "se": {"same_as": "x", "toggle": {"se_ratio": 0.25}},
        },
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    ds.Study.load(tmp_path / "study.yaml").run(jobs=1, progress=False)
    rates = [
        [t.recipe["lr"] for t in ds.load_run(tmp_path / name).trials()] for name in ("x", "se")
    ]
    assert rates[0] == rates[1]  # paired models share their recipe
    assert len(set(rates[0])) == 2


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"lr": {"distribution": "log_uniform", "low": 0, "high": 1}}, "above 0 for log_uniform"),
        ({"lr": {"distribution": "uniform", "low": 2, "high": 1}}, "must not be above high"),
        ({"momentum": {"distribution": "choice", "values": [0.9]}}, "recipe"),
        ({"label_smoothing": {"distribution": "choice", "values": [0.1, 1.5]}}, "less than 1.*1.5"),
        ({"epochs": {"distribution": "choice", "values": [1.5]}}, "epochs: must be a whole number"),
        ({"epochs": {"distribution": "uniform", "low": 0, "high": 3}}, "epochs: must be .* to 1"),
        ({"batch_size": {"distribution": "uniform", "low": 8, "high": 16, "step": 0.5}}, "step"),
        ({"lr": {"distribution": "uniform", "low": 0, "high": 1}}, "lr: must be greater than 0"),
        ({"weight_decay": {"distribution": "uniform", "low": 0, "high": 2}}, "equal to 1; found 2"),
    ],
)
def test_wrong_axes_are_refused(recipe, message):
    with pytest.raises(ds.InputError, match=message):
        space(recipe)


def test_an_endless_step_is_refused():
    lr = {"distribution": "uniform", "low": 0.1, "high": 0.2, "step": float("inf")}
    with pytest.raises(ds.InputError, match="step"):
        space({"lr": lr})
