"""The page about a pretraining: numbers in words, pictures with words, safe and self-contained."""

import re
from html.parser import HTMLParser
from shlex import quote

import numpy as np
import pytest
from markupsafe import escape

from designspace.analysis.pretraining_findings import summarize_pretraining
from designspace.errors import InputError
from designspace.report import pretraining_figures
from designspace.report.pretraining_page import write_pretraining_page

K, EPOCHS, PER_EPOCH = 64, 10, 11
NAME = "mine <script>alert(1)</script>"


def steps(epochs=EPOCHS):
    return [
        {"iteration": i + 1, "loss": 4.2 - 0.01 * i, "lr": 0.1} for i in range(epochs * PER_EPOCH)
    ]


def epoch(number, **more):
    return {
        "epoch": number, "loss": 4.0 - 0.1 * number, "prototypes_used": 60, "feature_std": 0.8,
        "images_per_second": 500.0, "alarms": {}, **more,
    }  # fmt: skip


def score(task, what, mean, metric="top-1 accuracy", share=1.0, low=None, high=None):
    kind = {"pretrained": "pretrained", "random": "random"}.get(
        what.split()[0].strip(","), "scratch"
    )
    if what.startswith("supervised pretraining"):
        kind = "supervised"
    return {
        "kind": kind,
        "task": task, "metric": metric, "data": "digits", "share": share, "labels": 1438,
        "what": what, "values": [mean] * 3, "mean": mean, "low": low, "high": high, "images": 359,
        "split": "held-out 20% of train, seed 0", "source": "mine, iteration 110",
    }  # fmt: skip


def pictures(n=40, side=16):
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, n, (4, 11))
    prototypes[3, 5:] = -1
    return {
        "iteration": np.array(110), "searched": np.array(1438), "used": np.array(61),
        "pictures": rng.integers(0, 255, (n, side, side, 3)).astype(np.uint8),
        "neighbours": rng.integers(0, n, (10, 11)), "same": rng.random((10, 10)) < 0.5,
        "prototypes": prototypes, "sizes": np.array([90, 40, 30, 5]),
    }  # fmt: skip


SCORES = [
    score("detect", "pretrained, 300 iterations", 31.0, "box AP"),
    score("detect", "random trunk (= supervised from scratch), 300 iterations", 12.0, "box AP"),
    score("detect", "pretrained, 300 iterations", 51.0, "box AP50"),
    score("linear", "pretrained", 93.0, low=92.0, high=94.0),
    score("linear", "random trunk", 70.0, low=68.0, high=72.0),
    score("linear", "supervised pretraining", 94.0, low=93.0, high=95.0),
    score("linear", "supervised from scratch, 20 epochs", 95.0, low=94.5, high=95.5),
    score("lowshot", "pretrained, linear", 60.0, share=0.01),
    score("lowshot", "pretrained, fine-tuned", 50.0, share=0.01),
]


def findings(epochs=EPOCHS, **more):
    options = {"scores": SCORES, "pictures": pictures(), **more}
    plain = [epoch(i, **({"knn": 50.0 + i} if i % 5 == 0 else {})) for i in range(1, epochs + 1)]
    journal = options.pop("journal", plain)
    return summarize_pretraining(
        NAME,
        {"trunk": "small & fine", "depths": [1, 2]},
        {"name": "quick", "prototypes": K, "epochs": EPOCHS, "batch_size": 128, "queue": None},
        {"source": "digits", "images": 1438, "seed": 0},
        steps(epochs),
        journal,
        **options,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    index = write_pretraining_page(findings(), folder)
    assert (folder / "figures" / "curves.svg").is_file()
    assert (folder / "figures" / "scores.png").is_file()
    return index.read_text()


def test_the_page_shows_the_findings(page):
    text = re.sub(r"\s+", " ", page)
    assert "Loss 3.000 after 10 of 10 epochs" in text
    assert "It stays at ln 64 = 4.159" in text
    assert "k-NN accuracy 60.0 % on training images" in text
    assert "It was 55.0 % after epoch 5." in text
    assert "<strong>Linear probe: 93.0 %</strong>" in text
    assert (
        "Top-1 accuracy on digits, against 70.0 % from random weights and 95.0 % supervised."
        in text
    )
    # The better of two ways to use a trunk is its result.
    assert "<strong>1 % of the labels: 60.0 %</strong>" in text
    assert "<td>92.0 to 94.0</td>" in text
    assert "nearest to 90 images" in text
    assert "61 of 64 are nearest to any of the 1438 images" in text
    # Tasks stand in the order of the help, whatever the order they were measured in.
    rows = text[text.index("<tbody>") :]
    tasks = ["Linear probe, top-1", "1 % of the labels, ", "Object detection, box AP"]
    assert [rows.index(task) for task in tasks] == sorted(rows.index(task) for task in tasks)
    assert not re.search(r"\bknn\b|lowshot|0\.01 of", text)


def test_the_page_loads_nothing_and_escapes_names(page):
    assert "<script>alert(1)" not in page
    assert "mine &lt;script&gt;" in page
    assert "small &amp; fine" in page
    assert "default-src 'none'" in page
    for attribute in re.findall(r"(?:src|href)=\"([^\"]*)\"", page):
        assert not attribute.startswith(("http", "//")), attribute
    assert len(page) < 2_000_000


def test_the_page_is_well_formed_and_pictures_have_alt_text(page):
    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open_tags, self.words = [], []

        def handle_starttag(self, tag, attrs):
            given = dict(attrs)
            if tag not in {"meta", "link", "input", "br", "img"}:
                self.open_tags.append(tag)
            if tag == "img":
                self.words.append(given["alt"])
            if tag == "svg":
                self.words.append(given["aria-label"])

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    reader = Reader()
    reader.feed(page)
    assert reader.open_tags == []
    assert all(reader.words)
    assert len(reader.words) == 2 + 5 + 3 + 10 + 4
    assert any(
        re.match(r"Image 3 and its 10 nearest neighbours, \d of 10", w) for w in reader.words
    )
    assert "The 5 images nearest to prototype 4, nearest to 5 images" in reader.words


def test_without_scores_or_pictures_it_says_so(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "scores.svg").write_text("old")
    page = write_pretraining_page(findings(scores=[], pictures=None), tmp_path).read_text()
    assert "Nothing was evaluated yet" in page
    assert f"designspace evaluate {escape(quote(findings().name))} --task linear" in page
    assert "There are no pictures" in page
    assert not (tmp_path / "figures" / "scores.svg").exists()
    damaged = pictures() | {"neighbours": np.full((2, 3), 999)}
    assert findings(pictures=damaged).pictures is None


def test_unfinished_runs_and_alarms_come_first():
    made = findings(epochs=4)
    assert made.warnings[0].startswith("This pretraining is not finished: 4 of 10 epochs")
    collapsing = [
        epoch(1), epoch(2, alarms={"spread": "nearly all the same"}), epoch(3),
        epoch(4, alarms={"spread": "nearly all the same"}),
        epoch(5, alarms={"spread": "nearly all the same"}),
    ]  # fmt: skip
    assert "Alarm since epoch 4: nearly all the same." in findings(journal=collapsing).warnings
    with pytest.raises(InputError, match="no epoch of pretraining is finished"):
        summarize_pretraining(NAME, {}, {}, {}, [], [])


def test_curves_keep_all_epochs_and_average_iterations():
    curves = findings().curves
    assert curves.at[0] == pytest.approx(1 / PER_EPOCH)
    assert curves.at[-1] == pytest.approx(EPOCHS)
    assert len(curves.loss) == EPOCHS * PER_EPOCH
    many = [{"iteration": i + 1, "loss": float(i % 7), "lr": 0.1} for i in range(5000)]
    binned = summarize_pretraining(
        "x", {}, {"prototypes": 8, "epochs": 5, "batch_size": 1}, {"images": 1000}, many, [epoch(1)]
    ).curves
    assert len(binned.loss) == 400
    assert np.average(binned.loss, weights=np.full(400, 12.5)) == pytest.approx(
        np.mean([s["loss"] for s in many]), abs=0.1
    )
    assert (binned.loss_low == 0).all()
    assert (binned.loss_high == 6).all()
    assert list(curves.knn_epoch) == [5, 10]


def test_tuned_rates_are_named_on_the_axis():
    rows = [
        score("lowshot", what, 50.0, share=0.01)
        for what in ("pretrained, fine-tuned", "pretrained, fine-tuned, tuned rates")
    ]
    (group,) = findings(scores=rows).scores
    names = [pretraining_figures._short_name(row) for row in group.rows]
    assert names == ["pretrained, fine-tuned", "pretrained, tuned"]
