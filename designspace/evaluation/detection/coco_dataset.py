"""Read and validate data in COCO format: annotations/instances_NAME.json and images in NAME/."""

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

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
_MAX_LISTED = 3

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Pixels = Annotated[int, Field(ge=1, le=1 << 15)]


class _Image(TypedDict):
    id: int
    file_name: str
    height: _Pixels
    width: _Pixels


class _Category(TypedDict):
    id: int
    name: str


class _Annotation(TypedDict):
    id: int
    image_id: int
    category_id: int
    bbox: Annotated[list[_Finite], Field(min_length=4, max_length=4)]
    area: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    segmentation: Any


class _OptionalCrowd(_Annotation, total=False):
    iscrowd: Literal[0, 1]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    images: list[_Image] = Field(min_length=1)
    annotations: list[_OptionalCrowd] = Field(min_length=1)
    categories: list[_Category] = Field(min_length=1)


def read_coco(root: Path) -> tuple[Scenes, Scenes]:
    """Read a folder in COCO's layout; return its training and its validation images.

    Args:
        root: With annotations/instances_train*.json and instances_val*.json, and the images in
            folders of the same names (train2017/, val2017/) or in images/train2017/ and so on.

    Raises:
        InputError: Something is missing or wrong; the message names the file and the annotation.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise InputError(f"data coco:{root}: no such folder")
    train, val = _read_split(root, "train"), _read_split(root, "val")
    if train.categories != val.categories:
        different = sorted(set(train.categories) ^ set(val.categories))
        raise InputError(
            f"data coco:{root}: the categories of {train.name} and {val.name} differ: "
            f"{different[:_MAX_LISTED]}"
        )
    return train, val


def _read_split(root: Path, kind: str) -> Scenes:
    paths = sorted((root / "annotations").glob(f"instances_{kind}*.json"))
    if len(paths) != 1:
        raise InputError(
            f"data coco:{root}: {len(paths)} files annotations/instances_{kind}*.json; there must "
            "be one"
        )
    path = paths[0]
    name = path.stem.removeprefix("instances_")
    folders = [place for place in (root / name, root / "images" / name) if place.is_dir()]
    if not folders:
        raise InputError(
            f"data coco:{root}: {path.name} describes images in {name}/, which is missing"
        )
    text = read_text(path, _WHAT)
    data = _validated(text, path)
    images = tuple(data["images"])
    files = _image_files(images, folders[0], path)
    annotations: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in data["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    return Scenes(
        name=name,
        content=hashlib.sha256(text.encode()).hexdigest()[:20],
        categories=tuple(sorted((one["id"], one["name"]) for one in data["categories"])),
        images=images,
        annotations={key: tuple(value) for key, value in annotations.items()},
        pixels=lambda row: _decode(files[row], images[row], path),
    )


def _validated(text: str, path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{_WHAT}: {path} is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{_WHAT}: {path} must be a map with images, annotations and categories")
    data: dict[str, Any] = validate(_File, raw, path, _WHAT).model_dump()
    for part in ("images", "annotations", "categories"):
        ((identifier, count),) = Counter(one["id"] for one in data[part]).most_common(1)
        if count > 1:
            raise InputError(f"{_WHAT}: {path}: {part} has the id {identifier} twice")
    sizes = {one["id"]: (one["height"], one["width"]) for one in data["images"]}
    categories = {one["id"] for one in data["categories"]}
    for annotation in data["annotations"]:
        problem = _problem(annotation, sizes, categories)
        if problem:
            raise InputError(f"{_WHAT}: {path}: annotation {annotation['id']}: {problem}")
    return data


def _problem(
    annotation: dict[str, Any], sizes: dict[int, tuple[int, int]], categories: set[int]
) -> str:
    """What is wrong with an annotation beyond its types; empty if nothing is."""
    if annotation["image_id"] not in sizes:
        return f"there is no image {annotation['image_id']}"
    if annotation["category_id"] not in categories:
        return f"there is no category {annotation['category_id']}"
    if min(annotation["bbox"][2:]) < 0:
        return f"bbox is {annotation['bbox']}; it must be x, y, width and height in pixels"
    mask, (height, width) = annotation["segmentation"], sizes[annotation["image_id"]]
    if isinstance(mask, list) and mask:
        return "" if all(map(_is_polygon, mask)) else "segmentation has an invalid polygon"
    if not isinstance(mask, dict) or mask.get("size") != [height, width]:
        return f"segmentation must be polygons, or runs with size {[height, width]}"
    counts = mask.get("counts")
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    numbers = isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
    if runs is None or not numbers or sum(runs) != height * width:
        return f"segmentation.counts are not runs of {height * width} pixels"
    return ""


def _is_polygon(part: Any) -> bool:
    """Whether a part of a segmentation is a list of at least three x, y."""
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        return False
    numbers = all(type(value) in (int, float) for value in part)
    return numbers and bool(np.isfinite(np.array(part, float)).all())


def _decompressed(counts: str) -> list[int] | None:
    """Decode COCO's variable-length run lengths; None if they are malformed.

    pycocotools' rleFrString reads past the end of malformed text.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs


def _image_files(images: tuple[dict[str, Any], ...], folder: Path, path: Path) -> tuple[Path, ...]:
    for image in images:
        name = PurePosixPath(image["file_name"])
        if name.is_absolute() or ".." in name.parts or "\0" in image["file_name"]:
            raise InputError(
                f"{_WHAT}: {path}: file_name {image['file_name']!r} is not in {folder}"
            )
    files = tuple(folder / image["file_name"] for image in images)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - _MAX_LISTED} more" if len(missing) > _MAX_LISTED else ""
        raise InputError(
            f"{_WHAT}: {path}: {len(missing)} of {len(images)} images are not in {folder}: "
            f"{', '.join(missing[:_MAX_LISTED])}{more}"
        )
    return files


def _decode(file: Path, image: dict[str, Any], path: Path) -> Pixels:
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
