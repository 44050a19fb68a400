"""Commands that a file states as its data are run only once the user has passed them."""

import io
import shutil
import tarfile

import numpy as np
import pytest
import yaml
from PIL import Image
from small import SMALL

pytest.importorskip("webdataset")

import designspace as ds
from designspace.data.stored_source import check_stored_source, choose_source, remember_source

REFUSED = "which runs a command; pass it as data to run it"


@pytest.fixture
def piped(tmp_path):
    """Ten images of each of two classes, behind a command that leaves a sign of itself."""
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        for i in range(20):
            file = io.BytesIO()
            pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(file, "png")
            for name, data in (
                (f"{i:03d}.png", file.getvalue()),
                (f"{i:03d}.cls", b"%d" % (i % 2)),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return f"webdataset:pipe:touch {tmp_path}/sign; cat {tmp_path}/images.tar"


@pytest.mark.parametrize(
    "source",
    [
        "webdataset:pipe:cat a.tar",
        "webdataset:scp://host/a.tar",
        "webdataset:https://host/';touch a;'.tar",
        "webdataset:https://host/$(touch a).tar",
    ],
)
def test_a_command_is_run_once_it_was_passed(source, tmp_path):
    with pytest.raises(ds.InputError, match=REFUSED):
        choose_source(None, source, "recipe.yaml", tmp_path)
    assert choose_source(source, "digits", "recipe.yaml", tmp_path) == source
    assert choose_source(None, source, "recipe.yaml", tmp_path) == source
    with pytest.raises(ds.InputError, match=REFUSED):
        check_stored_source(source + "x", "recipe.yaml", tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "digits",
        "folder:pipe:x",
        "webdataset:missing/{000..003}.tar",
        "webdataset:https://host/{000..003}.tar?key=a%20b&sign=1",
    ],
)
def test_files_and_addresses_of_the_web_are_no_commands(source, tmp_path):
    assert choose_source(None, source, "recipe.yaml", tmp_path / "cache") == source
    remember_source(source, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_run_resumes_with_a_command_that_was_passed_and_not_with_anothers(piped, tmp_path):
    run = ds.sample("RegNetX@8", n=2, flops="180K:220K", out=tmp_path / "run")
    options = {"jobs": 1, "device": "cpu", "progress": False}
    run.train(piped, "quick", epochs=1, limit=1, cache=tmp_path / "cache", **options)
    other = tmp_path / "other"  # as from somebody else
    shutil.copytree(run.path, other)
    assert run.train(cache=tmp_path / "cache", **options)["status"].tolist() == ["complete"] * 2
    (tmp_path / "sign").unlink()
    with pytest.raises(ds.InputError, match=REFUSED):
        ds.train(other, cache=tmp_path / "another cache", **options)
    assert not (tmp_path / "sign").exists()


def test_a_study_does_not_run_a_command_that_its_file_states(piped, tmp_path):
    file = tmp_path / "study.yaml"
    content = {
        **{"name": "s", "data": piped, "recipe": "quick", "epochs": 1, "n": 2},
        **{"budget": {"flops": "180K:220K"}, "populations": {"a": {"space": "RegNetX@8"}}},
    }
    file.write_text(yaml.safe_dump(content))
    study = ds.Study.load(file)
    options = {"jobs": 1, "device": "cpu", "progress": False}
    with pytest.raises(ds.InputError, match=REFUSED):
        study.run(cache=tmp_path / "cache", **options)
    assert not (tmp_path / "sign").exists()
    study.run(data=piped, cache=tmp_path / "cache", **options)
    assert (tmp_path / "sign").exists()
    study.run(cache=tmp_path / "cache", **options)


def test_a_trunk_is_evaluated_without_the_command_of_its_pretraining(piped, tmp_path):
    recipe = {"parent": "quick", "name": "tiny", "batch_size": 8}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    options = {"device": "cpu", "cache": tmp_path / "cache", "progress": False}
    trunk = tmp_path / "trunk"
    ds.pretrain(SMALL, data=piped, out=trunk, recipe=tmp_path / "tiny.yaml", epochs=1, **options)
    assert ds.evaluate(trunk, task="labelfree", **options).scores
    (tmp_path / "sign").unlink()
    others = {**options, "cache": tmp_path / "another cache"}
    with pytest.raises(ds.InputError, match=REFUSED):
        ds.evaluate(trunk, task="labelfree", **others)
    with pytest.raises(ds.InputError, match=REFUSED):
        ds.cluster(trunk, tmp_path / "clusters", **others)
    assert not (tmp_path / "sign").exists()
    for checkpoint in trunk.glob("checkpoint*"):
        checkpoint.unlink()
    with pytest.raises(ds.InputError, match="hold the prototypes, were removed"):
        ds.cluster(trunk, tmp_path / "clusters", **options)
