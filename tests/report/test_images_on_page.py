"""A report names the images that its models were trained on."""

import re

import pytest
from report.test_report_page import run

from designspace.runs import DataRecord, load_recipe
from designspace.runs.data_record import source_name
from designspace.runs.run import Run

CIFAR = DataRecord("folder:/data/cifar10", "test", "test", 0, 10, 50_000, 10_000, "a1")


def test_the_page_says_which_images_and_how_many(tmp_path):
    import designspace as ds

    path = run(tmp_path / "a", n=12)
    Run(path).begin_training(load_recipe("quick").at(8), CIFAR)
    ds.analyze([path]).save(tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Errors are top-1 on cifar10, in percent" in page
    assert re.search(r"<dt>images</dt><dd>cifar10: 50,000 to train on, 10,000 others", page)
    assert "/data/cifar10" not in page


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("digits", "digits"),
        ("folder:/data/cifar10/", "cifar10"),
        ("hf:owner/pictures", "pictures"),
        ("shards:s3:train", "train"),
        ("folder:/", "folder:/"),
    ],
)
def test_the_short_name_of_a_source(source, name):
    assert source_name(source) == name
