"""Evaluation without labels: measures on planted features, and the task on unlabelled images."""

import json
import math

import pytest
import torch

from designspace.evaluation.label_free import (
    label_free_measures,
    prototype_measures,
    rank_note,
    retrieval_accuracy,
)
from designspace.pretraining.spectrum import lidar, rankme


def planted(images=200, width=32, rank=8, noise=0.01, views=2):
    """Features that fill `rank` dimensions evenly, and views that differ from them by noise."""
    g = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(images, rank, generator=g, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(width, rank, generator=g, dtype=torch.float64))[0]
    features = left @ right.T * math.sqrt(images)
    shape = (images, views, width)
    return features, features[:, None] + noise * torch.randn(shape, generator=g)


def test_measures_of_planted_features():
    features, views = planted()
    measures = label_free_measures(features, views)
    assert measures["RankMe"] == pytest.approx(8, rel=1e-3) == rankme(features)
    assert measures["LiDAR"] == lidar(views) == pytest.approx(8, rel=0.05)
    assert measures["same image retrieved"] == 100
    assert measures["α-ReQ"] == pytest.approx(0, abs=0.2)  # an even spectrum doesn't decay
    # Views that have nothing in common with their image retrieve it by chance.
    strangers = planted(noise=1000.0)[1]
    assert label_free_measures(features, strangers)["same image retrieved"] < 3


def test_a_rank_that_the_images_limit_is_named():
    assert rank_note(10_000, 888) is None
    assert rank_note(10_000, 3024).startswith("LiDAR can't exceed 999, by the number of images")
    both = rank_note(300, 888)
    assert both.startswith("RankMe can't exceed 270 and LiDAR can't exceed 269, by the number")
    assert "the features have 888 dimensions" in both


def test_collapse_scores_lowest():
    constant = torch.ones(100, 16)
    measures = label_free_measures(constant, torch.ones(50, 4, 16))
    assert measures["RankMe"] == pytest.approx(1, abs=1e-3)
    assert measures["LiDAR"] == pytest.approx(1, abs=1e-3)
    assert measures["same image retrieved"] == 0
    assert "α-ReQ" not in measures  # no spectrum to fit


def test_retrieval_is_the_share_of_nearest_views_of_the_same_image():
    """A slow twin, pair by pair; half of the images lose their second view."""
    _, views = planted(images=60)
    bank = views[:, 1].clone()
    bank[30:] = bank[30:].flip(0)
    mean = torch.cat([views[:, 0], bank]).mean(0)
    own, other = views[:, 0] - mean, bank - mean
    hits = 0
    for i in range(60):
        similar = [float(torch.cosine_similarity(own[i], other[j], dim=0)) for j in range(60)]
        hits += max(range(60), key=similar.__getitem__) == i
    assert retrieval_accuracy(views[:, 0], bank) == pytest.approx(100 * hits / 60) == 50


def test_prototypes_in_use():
    even = torch.arange(40) % 4
    measures = prototype_measures(even, even[:10], even[:10], 8)
    assert measures["prototypes in use"] == 50
    assert measures["prototype perplexity"] == pytest.approx(4)
    assert measures["same prototype of two views"] == 100
    one = prototype_measures(torch.zeros(40, dtype=torch.int64), even[:10], even[:10] + 1, 8)
    assert one["prototype perplexity"] == pytest.approx(1)
    assert one["same prototype of two views"] == 0
    shares = [0.5, 0.25, 0.25]
    uneven = prototype_measures(torch.tensor([0, 0, 1, 2]), even[:1], even[:1], 3)
    entropy = -sum(p * math.log(p) for p in shares)
    assert uneven["prototype perplexity"] == pytest.approx(math.exp(entropy))


@pytest.mark.slow
def test_the_task_on_a_pretraining_and_its_trunk(tmp_path, cli):
    from small import SMALL

    from designspace.arch.model_file import write_model

    write_model(SMALL, tmp_path / "model.yaml")
    home, run = ("--cache", tmp_path / "cache", "--threads", "1"), tmp_path / "run"
    done = cli(
        "pretrain", tmp_path / "model.yaml", "--data", "digits", "--epochs", "1", "--out", run,
        *home,
    )  # fmt: skip
    assert done.code == 0, done.err
    done = cli("evaluate", run, "--task", "labelfree", "--seeds", "2", "--json", *home)
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    by_kind = {k: [s for s in scores if s["kind"] == k] for k in ("pretrained", "random")}
    assert len(by_kind["pretrained"]) == 7
    assert [s["metric"] for s in by_kind["random"]] == [
        *("RankMe", "α-ReQ", "LiDAR", "same image retrieved")
    ]
    for score in scores:
        assert (len(score["values"]), score["labels"], score["images"]) == (2, 0, 1438)
        assert score["unit"] in ("", "%")
        if score["unit"]:
            assert 0 <= score["low"] <= score["mean"] <= score["high"] <= 100
    assert 1 < by_kind["pretrained"][0]["mean"] < 16  # the trunk is 16 wide
    # The journal spares repeated work; the page shows the numbers.
    again = cli("evaluate", run, "--task", "labelfree", "--seeds", "2", *home)
    assert "labelfree: " not in again.err
    assert "same prototype of two views, %" in again.out
    assert "Without labels, RankMe" in (run / "report" / "index.html").read_text()
    # Weights alone have no prototypes, but their features are the same.
    done = cli(
        "evaluate", run / "trunk.pt", "--task", "labelfree", "--data", "digits", "--seeds", "2",
        "--out", tmp_path / "scores", "--json", *home,
    )  # fmt: skip
    alone = {s["metric"]: s["mean"] for s in json.loads(done.out) if s["kind"] == "pretrained"}
    assert set(alone) == {"RankMe", "α-ReQ", "LiDAR", "same image retrieved"}
    assert alone["RankMe"] == pytest.approx(by_kind["pretrained"][0]["mean"], rel=1e-4)
