"""COCO-format data, read and checked: annotations/instances_NAME.json and the images in NAME/."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from designspace.data.decode import to_rgb
from designspace.errors import InputError
from designspace.evaluation.detection.scenes import Pixels, Scenes
from designspace.io.text_files import read_text
from designspace.io.validation import validate

_WHAT = "COCO annotations"
_NAMED = 3


class _Image(TypedDict):
    id: int
    file_name: str
    height: int
    width: int


class _Category(TypedDict):
    id: int
    name: str


class _Annotation(TypedDict):
    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    segmentation: Any


class _Crowd(_Annotation, total=False):
    iscrowd: int


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    images: list[_Image] = Field(min_length=1)
    annotations: list[_Crowd] = Field(min_length=1)
    categories: list[_Category] = Field(min_length=1)


def read_coco(root: Path) -> tuple[Scenes, Scenes]:
    """Read a folder in COCO's layout; return what is trained on and what is measured on.

    Args:
        root: With annotations/instances_train*.json and instances_val*.json, and the images in
            folders of the same names (train2017/, val2017/), or in images/train2017/ and so on.
            Images outside of it, also through links, are refused.

    Raises:
        InputError: Something is missing or wrong; the message names file and annotation.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise InputError(f"data coco:{root}: no such folder")
    train, val = _part(root, "train"), _part(root, "val")
    if train.categories != val.categories:
        strangers = set(train.categories) ^ set(val.categories)
        raise InputError(
            f"data coco:{root}: the categories of {train.name} and {val.name} differ: "
            f"{sorted(strangers)[:_NAMED]}"
        )
    return train, val


def _part(root: Path, kind: str) -> Scenes:
    found = sorted((root / "annotations").glob(f"instances_{kind}*.json"))
    if len(found) != 1:
        raise InputError(
            f"data coco:{root}: {len(found)} files annotations/instances_{kind}*.json; there must "
            "be one"
        )
    path = found[0]
    _inside(path, root, path)
    name = path.stem.removeprefix("instances_")
    folders = [place for place in (root / name, root / "images" / name) if place.is_dir()]
    if not folders:
        raise InputError(f"data coco:{root}: {path.name} is of images in {name}/, which is missing")
    text = read_text(path, _WHAT)
    data = _checked(text, path)
    images = tuple(data["images"])
    files = _files(images, folders[0], root, path)
    annotations: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for one in data["annotations"]:
        annotations[one["image_id"]].append(one)

    def pixels(row: int) -> Pixels:
        return _decoded(files[row], images[row], path)

    return Scenes(
        name=name,
        content=hashlib.sha256(text.encode()).hexdigest()[:20],
        categories=tuple(sorted((one["id"], one["name"]) for one in data["categories"])),
        images=images,
        annotations={key: tuple(value) for key, value in annotations.items()},
        pixels=pixels,
    )


def _checked(text: str, path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{_WHAT}: {path} is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{_WHAT}: {path} must be a map with images, annotations and categories")
    data: dict[str, Any] = validate(_File, raw, path, _WHAT).model_dump()
    for part in ("images", "annotations", "categories"):
        twice = _twice(one["id"] for one in data[part])
        if twice is not None:
            raise InputError(f"{_WHAT}: {path}: {part} has the id {twice} twice")
    sizes = {one["id"]: (one["height"], one["width"]) for one in data["images"]}
    for identifier, size in sizes.items():
        if min(size) < 1 or max(size) > 1 << 15:
            raise InputError(f"{_WHAT}: {path}: image {identifier} is {size[1]} by {size[0]}")
    known = {one["id"] for one in data["categories"]}
    for one in data["annotations"]:
        wrong = _wrong(one, sizes, known)
        if wrong:
            raise InputError(f"{_WHAT}: {path}: annotation {one['id']}: {wrong}")
    return data


def _wrong(one: dict[str, Any], sizes: dict[int, tuple[int, int]], known: set[int]) -> str:
    """What is wrong with an annotation, or nothing."""
    if one["image_id"] not in sizes:
        return f"there is no image {one['image_id']}"
    if one["category_id"] not in known:
        return f"there is no category {one['category_id']}"
    box = one["bbox"]
    if len(box) != 4 or not all(map(math.isfinite, box)) or box[2] < 0 or box[3] < 0:
        return f"bbox is {box}; it must be x, y, width and height in pixels"
    if not (math.isfinite(one["area"]) and one["area"] >= 0):
        return f"area is {one['area']}; it must be a number of pixels"
    if one.get("iscrowd", 0) not in (0, 1):
        return f"iscrowd is {one['iscrowd']}; it must be 0 or 1"
    return _wrong_mask(one["segmentation"], sizes[one["image_id"]])


def _wrong_mask(mask: Any, size: tuple[int, int]) -> str:
    if isinstance(mask, list) and mask:
        for part in mask:
            fits = isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0
            if not fits or not all(_is_number(value) for value in part):
                return "segmentation has an outline that is no list of at least three x, y"
        return ""
    if isinstance(mask, dict) and mask.get("size") == list(size):
        counts = mask.get("counts")
        if isinstance(counts, list):
            whole = all(isinstance(run, int) and run >= 0 for run in counts)
            if whole and sum(counts) == size[0] * size[1]:
                return ""
        elif isinstance(counts, str) and _decodes(counts, size):
            return ""
        return f"segmentation.counts are no runs of {size[0] * size[1]} pixels"
    return f"segmentation must be outlines, or runs with size {list(size)}"


def _decodes(counts: str, size: tuple[int, int]) -> bool:
    """Whether compressed runs make up an image: COCO's variable-length code, read here.

    pycocotools decodes what it is given without looking at the end; this is its rleFrString.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return False
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            if runs[-1] < 0:
                return False
            value = shift = 0
    return shift == 0 and sum(runs) == size[0] * size[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _twice(identifiers: Iterable[int]) -> int | None:
    seen: set[int] = set()
    for identifier in identifiers:
        if identifier in seen:
            return identifier
        seen.add(identifier)
    return None


def _files(
    images: tuple[dict[str, Any], ...], folder: Path, root: Path, path: Path
) -> tuple[Path, ...]:
    files, missing = [], []
    for image in images:
        name = image["file_name"]
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or "\0" in name:
            raise InputError(f"{_WHAT}: {path}: file_name {name!r} leads out of {folder.name}/")
        file = folder / name
        if not file.is_file():
            missing.append(name)
            continue
        _inside(file, root, path)
        files.append(file)
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise InputError(
            f"{_WHAT}: {path}: {len(missing)} of {len(images)} images are not in {folder}: "
            f"{', '.join(missing[:_NAMED])}{more}"
        )
    return tuple(files)


def _inside(file: Path, root: Path, path: Path) -> None:
    if not file.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{_WHAT}: {path}: {file} is a link that leads out of {root}")


def _decoded(file: Path, image: dict[str, Any], path: Path) -> Pixels:
    try:
        with Image.open(file) as opened:
            pixels = np.asarray(to_rgb(opened))
    except UnidentifiedImageError:
        raise InputError(f"{file} is not an image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} can't be read as an image: {error}") from None
    if pixels.shape[:2] != (image["height"], image["width"]):
        raise InputError(
            f"{file} is {pixels.shape[1]} by {pixels.shape[0]} pixels; {path} says "
            f"{image['width']} by {image['height']}"
        )
    return pixels
