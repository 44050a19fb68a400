"""Results of single images: their file, McNemar's test, and the variance of the split."""

import numpy as np
import pytest

from designspace.analysis.compare_images import compare_on_images, mcnemar
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
        gain = rng.normal(0.02, 0.2, images)
        populations = []
        for shift in (0.0, gain):
            skill = rng.normal(0, 0.02, (12, 1))
            chance = np.clip(0.5 + shift + skill, 0, 1)
            populations.append(dict(enumerate(rng.random((12, images)) < chance)))
        found = compare_on_images(*populations)
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
    found = compare_on_images(first, second)
    assert found.images == 400
    assert found.difference.high < 0
    assert found.image_std == pytest.approx(100 * np.sqrt(0.49 / 30 / 400), rel=0.2)
