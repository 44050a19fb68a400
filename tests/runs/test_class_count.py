"""The number of classes is the data's, not the space's default."""

import pytest

from designspace.analysis.load_results import load_results


def test_the_datas_classes_are_used_everywhere(make_run, request_of, train_one, observer, inline):
    run = make_run()
    assert run.model(0).skeleton.classes == 10
    train_one(run, request_of(), observer, make_workers=lambda *_: inline())
    assert run.data().classes == 2
    assert run.model("best").skeleton.classes == run.model(0).skeleton.classes == 2
    assert load_results(run.path).chance == pytest.approx(50.0)
    assert run.population().skeleton.classes == 10


def test_large_photographs_at_a_small_resolution_are_announced(
    make_run, request_of, train_one, observer, inline, write_images, tmp_path
):
    photographs = write_images(tmp_path / "photographs", each=6, side=32)
    options = request_of(data=f"folder:{photographs}", indices=(0,))
    train_one(make_run(), options, observer, make_workers=lambda *_: inline())
    assert any("training at 8 pixels on images of about 32 pixels" in n for n in observer.notes)
