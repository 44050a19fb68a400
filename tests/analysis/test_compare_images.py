"""Results of single images: their file, McNemar's test, and the variance of the split."""

import numpy as np
import pytest

from designspace.analysis.compare_images import ImageErrors, compare_on_images, mcnemar
from designspace.errors import InputError
from designspace.runs import Trial, TrialState
from designspace.runs.image_results import CORRECT_FILE, append_correct, read_correct


def trial(index, seed=0):
    return Trial(f"m{index}", index, TrialState.COMPLETE, 10.0, (), 1.0, seed)


def test_bits_come_back_as_they_were(tmp_path):
    rng = np.random.default_rng(0)
    bits = {index: rng.random(5001) < 0.6 for index in range(3)}
    assert read_correct(tmp_path) == {}
    append_correct(tmp_path, [(trial(0), bits[0]), (trial(1), bits[1])])
    append_correct(tmp_path, [(trial(2), bits[2]), (trial(0, seed=9), ~bits[0])])
    found = read_correct(tmp_path)
    assert all(np.array_equal(found[index], bits[index]) for index in range(3))
    assert (tmp_path / CORRECT_FILE).stat().st_size < 4 * 1000


def test_damage_is_reported(tmp_path):
    append_correct(tmp_path, [(trial(0), np.ones(16, bool)), (trial(1), np.ones(24, bool))])
    with pytest.raises(InputError, match="different numbers of images"):
        read_correct(tmp_path)
    (tmp_path / CORRECT_FILE).write_text('{"index": 0, "images": 900, "correct": "AA=="}\n')
    with pytest.raises(InputError, match="line 1"):
        read_correct(tmp_path)


def test_mcnemar_is_the_sign_test_on_images_that_differ():
    first = np.array([1] * 90 + [0] * 10, dtype=bool)
    second = np.array([1] * 80 + [0] * 10 + [1] * 2 + [0] * 8, dtype=bool)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (10, 2)
    assert found.difference == pytest.approx(8)
    assert found.p == pytest.approx(2 * sum((1, 12, 66)) / 2**12)
    assert mcnemar(first, first).p == 1


def coverage(repeats, images=200):
    """Of the true difference, 2 points, over draws of models and of images."""
    rng = np.random.default_rng(1)
    covered, by_models = [], []
    for _ in range(repeats):
        # Images differ in how much better the second space is on them.
        gain = 0.02 + rng.uniform(-0.42, 0.42, images)
        populations = []
        for shift in (0.0, gain):
            skill = rng.normal(0, 0.02, (30, 1))
            chance = np.clip(0.5 + shift + skill, 0, 1)
            populations.append(dict(enumerate(rng.random((30, images)) < chance)))
        found = compare_on_images(*map(ImageErrors, populations))
        covered.append(found.difference.low <= -2 <= found.difference.high)
        half = 2 * found.model_std
        by_models.append(abs(found.difference.value + 2) <= half)
    return np.mean(covered), np.mean(by_models)


@pytest.mark.slow
def test_the_interval_covers_over_images_where_that_of_models_does_not():
    both, models = coverage(200)
    assert both >= 0.95 - 3 * 0.0154
    assert models < 0.85


def test_the_variance_of_the_split_is_that_of_images():
    rng = np.random.default_rng(2)
    first = {k: rng.random(400) < 0.5 for k in range(30)}
    second = {k: rng.random(400) < 0.6 for k in range(30)}
    found = compare_on_images(ImageErrors(first), ImageErrors(second))
    assert found.images == 400
    assert found.difference.high < 0
    assert found.image_std == pytest.approx(100 * np.sqrt(0.49 / 30 / 400), rel=0.2)


def populations_on_images(tmp_path, models=24, images=400):
    """Two runs on the same images, which differ in difficulty; the second is 5 points better."""
    from designspace.runs import DataRecord, Recipe
    from designspace.runs.run import Run
    from designspace.space import Budget, load_space, sample, sample_record

    rng = np.random.default_rng(3)
    ease = rng.normal(0, 0.2, images)
    space, budgets = load_space("RegNetX@8"), (Budget.parse("flops", "180K:220K"),)
    runs = []
    for seed, (name, mean) in enumerate((("first", 0.6), ("second", 0.65))):
        drawn = sample(space, models, budgets, seed)
        source = {**space.source, "sample": sample_record(space, drawn, budgets, seed)}
        run = Run.create(tmp_path / name, source, drawn.population)
        data = DataRecord("digits", "held-out", "held-out", 0, 10, 1000, images, "same")
        run.begin_training(Recipe("quick", epochs=1, batch_size=8, lr=0.1, resolution=8), data)
        skill = rng.normal(0, 0.03, (models, 1))
        right = rng.random((models, images)) < np.clip(mean + ease + skill, 0, 1)
        trials = [
            Trial(id_, i, TrialState.COMPLETE, 100 * float((~right[i]).mean()), (), 1.0, 0)
            for i, id_ in enumerate(drawn.population.ids)
        ]
        append_correct(run.path, list(zip(trials, right, strict=True)))
        run.append_trials(trials)
        runs.append(run)
    return runs


def test_findings_use_single_images(tmp_path):
    import designspace as ds

    runs = populations_on_images(tmp_path)
    findings = ds.analyze(runs)
    [pair] = findings.comparisons
    assert pair.on_images.difference.value == pytest.approx(pair.comparison.mean.value)
    assert pair.on_images.n == (24, 24)
    noise = findings.populations[0].noise
    # All models err on the hard images, so that less of the spread is noise than binomially.
    assert noise.paired.difference_std < 0.96 * np.sqrt(2) * noise.std
    assert noise.paired.mean_std > noise.std / 3
    assert 0 < noise.paired.like_best < 24
    page = findings.save(tmp_path / "report")
    text = page.read_text()
    assert "Image by image" in text
    assert (
        "With the draw of the 400 validation images as well"
        in (tmp_path / "report" / "summary.json").read_text()
    )
    (runs[1].path / CORRECT_FILE).unlink()
    [without] = ds.analyze(runs).comparisons
    assert without.on_images is None
    assert without.p == pair.p


def test_the_noise_of_differences_is_the_mean_over_pairs():
    from itertools import combinations

    from designspace.analysis.image_noise import _paired_noise

    rng = np.random.default_rng(4)
    correct = {k: rng.random(50) < 0.3 + 0.1 * k for k in range(5)}
    errors = 100.0 * np.stack(list(correct.values()))
    squares = [np.var(a - b, ddof=1) / 50 for a, b in combinations(errors, 2)]
    _, paired = _paired_noise(correct)
    assert paired.difference_std == pytest.approx(np.sqrt(np.mean(squares)))
    assert paired.mean_std == pytest.approx(errors.mean(axis=0).std(ddof=1) / np.sqrt(50))
