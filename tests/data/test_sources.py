"""Finding data sets: what is there, and what a person is told when it isn't."""

import os
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from designspace.data.datasets import load_source
from designspace.data.decode import Geometry
from designspace.data.prepare import prepare_images
from designspace.data.splits import split, split_unseen
from designspace.errors import InputError


def test_digits_are_the_handwritten_ones():
    source = load_source("digits")
    theirs = load_digits()
    assert np.array_equal(source.train.labels, theirs.target)
    assert np.array_equal(source.train.pixels[..., 0], np.rint(theirs.images * (255 / 16)))
    assert len(source.train) == 1797
    assert source.train.pixels.shape == (1797, 8, 8, 3)
    assert source.train.pixels.max() == 255
    assert source.test is None


def test_a_folder_lists_classes_and_images_in_order(images):
    source = load_source(f"folder:{images}")
    assert source.classes == ("class0", "class1")
    assert len(source.train) == len(source.test) == 48
    assert source.train.files[0] == "train/class0/000.png"
    assert source.train.labels.tolist() == [0] * 24 + [1] * 24


def _folder_without(images, what):
    if what == "train":
        (images / "train").rename(images / "training")
    elif what == "second class":
        (images / "train" / "class1").rename(images / "elsewhere")
    elif what == "images":
        for file in (images / "train" / "class1").iterdir():
            file.unlink()
    return f"folder:{images}"


@pytest.mark.parametrize(
    ("what", "count", "said"),
    [("train", 96, "has no train folder"), ("second class", 24, "has 1 class folders")],
)
def test_images_without_classes_serve_where_no_label_is_needed(images, what, count, said):
    source = load_source(_folder_without(images, what))
    assert source.classes == ()
    parts = split_unseen(source)
    assert (len(parts.train), len(parts.val)) == (count, 0)
    assert set(parts.train.labels) == {-1}
    with pytest.raises(InputError, match=f"images without labels: .*{said}"):
        split(source, "held-out")


def test_a_class_without_images(images):
    with pytest.raises(InputError, match="no images in"):
        load_source(_folder_without(images, "images"))


def test_a_folder_without_any_image(tmp_path):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "readme.txt").write_text("none")
    with pytest.raises(InputError, match=r"no train folder.*nor has it an image at any depth"):
        load_source(f"folder:{tmp_path}")
    with pytest.raises(InputError, match=r"has no train folder(?!.*depth)"):
        load_source(f"imagenet:{tmp_path}")


def test_a_list_of_files(images):
    names = ["train/class0/000.png", "test/class1/003.png"]
    (images / "list.txt").write_text("\n".join([names[0], "", str(images / names[1]), ""]))
    source = load_source(f"files:{images / 'list.txt'}")
    assert [str(file) for file in source.train.files] == names
    assert (source.train.labels.tolist(), source.classes) == ([-1, -1], ())
    (images / "list.txt").write_text(f"{names[0]}\n\ntrain/class0/none.png\n")
    with pytest.raises(InputError, match=r"line 3: .*none\.png: No such file"):
        load_source(f"files:{images / 'list.txt'}")
    (images / "list.txt").write_text(f"{names[0]}\ntrain\n")
    with pytest.raises(InputError, match=r"line 2: .*train is not a file"):
        load_source(f"files:{images / 'list.txt'}")
    (images / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        load_source(f"files:{images / 'list.txt'}")
    with pytest.raises(InputError, match="there is no file"):
        load_source("files:/nowhere.txt")
    with pytest.raises(InputError, match=f"{images} is a folder; write folder:{images}"):
        load_source(f"files:{images}")


def test_a_list_in_a_linked_folder_names_paths_elsewhere(images, tmp_path):
    (tmp_path / "lists" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "lists" / "deep")
    file = images / "train/class0/000.png"
    (tmp_path / "link" / "list.txt").write_text(str(file))
    train = load_source(f"files:{tmp_path / 'link' / 'list.txt'}").train
    assert os.path.samefile(os.path.join(train.root, train.files[0]), file)


def test_a_list_of_files_may_begin_with_a_byte_order_mark(images):
    name = "train/class0/000.png"
    (images / "list.txt").write_text(f"{name}\r\n", encoding="utf-8-sig")
    assert load_source(f"files:{images / 'list.txt'}").train.files == (name,)


def test_a_list_names_each_file_once(images):
    name = "train/class0/000.png"
    (images / "list.txt").write_text(f"{name}\ntrain/class0/001.png\n./{name}\n")
    with pytest.raises(InputError, match=r"000\.png in line 1 and again in line 3"):
        load_source(f"files:{images / 'list.txt'}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("digit", "did you mean digits"),
        ("cifar", "did you mean cifar10 or cifar100"),
        ("folder:", "add the folder"),
        ("folder:/nowhere", "no folder /nowhere"),
        ("imagenet", "add the folder"),
    ],
)
def test_an_unknown_data_set(spec, said):
    with pytest.raises(InputError, match=said):
        load_source(spec)


def test_a_bare_folder_gets_a_hint(images):
    with pytest.raises(InputError, match=f"write folder:{images}"):
        load_source(str(images))


def test_imagenet_has_a_thousand_classes(images):
    with pytest.raises(InputError, match="2 classes, ImageNet has 1000"):
        load_source(f"imagenet:{images}")


def test_cifar_is_downloaded_only_on_request(tmp_path):
    with pytest.raises(InputError, match="download=True"):
        load_source("cifar10", home=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cifar_that_is_there_is_not_downloaded(tmp_path, monkeypatch):
    there, downloads = tmp_path / "data" / "there", []

    class Cifar:
        def __init__(self, root, train, download):
            if download:
                downloads.append(train)
                there.touch()
            if not there.exists():
                raise RuntimeError("Dataset not found or corrupted.")
            self.classes, self.targets = ["a", "b"], [0, 1]
            self.data = np.zeros((2, 32, 32, 3), np.uint8)

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Cifar)
    for _ in range(2):
        assert len(load_source("cifar10", True, there.parent).train) == 2
    assert downloads == [True, False]  # the two parts, once


def test_the_held_out_part_is_stratified_fixed_and_disjoint(images):
    source = load_source(f"folder:{images}")
    parts, again = split(source, "held-out"), split(source, "held-out")
    assert parts.val.files == again.val.files
    assert parts.train.files == again.train.files
    assert set(parts.train.files) | set(parts.val.files) == set(source.train.files)
    assert not set(parts.train.files) & set(parts.val.files)
    assert np.bincount(parts.val.labels).tolist() == [2, 2]
    assert parts.words == "held-out 10% of train, seed 0"


def test_the_digits_hold_out_a_fifth():
    parts = split(load_source("digits"), "held-out")
    assert abs(len(parts.val) / 1797 - 0.2) < 0.002


def test_the_test_set_is_used_on_request(images):
    parts = split(load_source(f"folder:{images}"), "test")
    assert len(parts.train) == 48
    assert all(file.startswith("test/") for file in parts.val.files)
    assert parts.words == "test"


def test_choices_that_cannot_be(tmp_path, write_images):
    with pytest.raises(InputError, match="no test images"):
        split(load_source("digits"), "test")
    with pytest.raises(InputError, match="held-out or test"):
        split(load_source("digits"), "validation")
    few = write_images(tmp_path / "few", each=1, parts=("train",))
    with pytest.raises(InputError, match="no class has two images"):
        split(load_source(f"folder:{few}"), "held-out")


def test_training_images_are_shuffled(images):
    labels = split(load_source(f"folder:{images}"), "test").train.labels
    assert 0 < labels[:24].sum() < 24


def test_hidden_and_system_files_are_skipped_and_counted(images):
    clean = load_source(f"folder:{images}")
    copy = (images / "train" / "class0" / "000.png").read_bytes()
    for folder in (".ipynb_checkpoints", "__MACOSX"):
        for part in (images / "train", images / "train" / "class0", images / "test" / "class1"):
            (part / folder).mkdir()
            (part / folder / "copy.png").write_bytes(copy)
    (images / "train" / "class0" / "._000.png").write_bytes(b"resource fork")
    source = load_source(f"folder:{images}")
    assert (source.classes, source.train.files) == (clean.classes, clean.train.files)
    assert source.test.files == clean.test.files
    assert source.notes[0].startswith("7 hidden or system files and folders skipped, such as ")
    assert split(source, "held-out").notes == source.notes
    assert clean.notes == ()


def test_every_class_of_two_images_is_validated(tmp_path, write_images):
    folder = write_images(tmp_path / "small", classes=2, each=2, parts=("train",))
    (folder / "train" / "alone").mkdir()
    image = folder / "train" / "class0" / "000.png"
    (folder / "train" / "alone" / "a.png").write_bytes(image.read_bytes())
    parts = split(load_source(f"folder:{folder}"), "held-out")
    assert parts.val.labels.tolist() == [1, 2]
    assert sorted(parts.train.labels) == [0, 1, 2]
    assert parts.notes == (
        "2 of 5 images (40%) are held out, to have at least one per class",
        "1 class has a single image, which is trained on, not validated",
    )


@pytest.mark.parametrize("choice", ["held-out", "test"])
def test_validation_with_one_class_is_refused(images, choice):
    part = "train" if choice == "held-out" else "test"
    for file in sorted((images / part / "class0").iterdir())[choice == "held-out" :]:
        file.unlink()
    with pytest.raises(InputError, match=r"validation images are of one class"):
        split(load_source(f"folder:{images}"), choice)


def test_labels_that_leave_no_validation_are_not_used_where_none_is_needed(images, tmp_path):
    for file in sorted((images / "train" / "class0").iterdir())[1:]:
        file.unlink()
    shutil.rmtree(images / "test")
    sizes = (Geometry(8, 8), Geometry(8, 8))
    done = prepare_images(f"folder:{images}", sizes, tmp_path / "home")
    reason = "its 2 validation images are of one class, so that every model would be right"
    assert done.source.no_labels == reason
    assert done.split.notes[-1] == f"the labels of folder:{images} are not used: {reason}"
    assert (len(done.split.train), len(done.split.val)) == (25, 0)
    assert set(done.split.train.labels) == {-1}
    with pytest.raises(InputError, match=reason):
        prepare_images(f"folder:{images}", sizes, tmp_path / "home", labeled=True)


@pytest.mark.parametrize(
    ("layout", "message"),
    [("flat", "no images in class folders of .*/test"), ("stranger", "the class 'stranger'")],
)
def test_unusable_test_images_block_only_their_own_use(images, layout, message):
    """ImageNet as downloaded has all validation images in one folder."""
    if layout == "flat":
        for file in (images / "test").glob("*/*.png"):
            file.rename(images / "test" / f"{file.parent.name}-{file.name}")
        for folder in (images / "test").glob("class*"):
            if folder.is_dir():
                folder.rmdir()
    else:
        (images / "test" / "class1").rename(images / "test" / "stranger")
    source = load_source(f"folder:{images}")
    assert len(split(source, "held-out").val) == 4
    with pytest.raises(InputError, match=message):
        split(source, "test")
    assert "held-out images are used" in split_unseen(source).notes[0]


def test_images_of_types_that_are_not_read_are_counted(images):
    for i in range(3):
        (images / "train" / "class0" / f"{i}.HEIC").write_bytes(b"")
    (images / "train" / "class0" / "about.txt").write_bytes(b"")
    note = load_source(f"folder:{images}").notes[0]
    assert note.startswith("3 .heic files can't be read; convert them to one of .jpg")
