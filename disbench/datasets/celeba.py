"""celeba: CelebA (Liu et al. 2015), aligned and cropped faces with 40 attributes, at 64 x 64 by one of four crops.

202,599 JPEG of 178 x 218 pixels and a text file with a row of -1 and 1 for each, its columns one or two blanks apart;
-1 becomes 0. Four crops are in use, and numbers measured on one say nothing about another:

    celeba               the 128 x 128 pixels of rows 57 ... 184 and columns 25 ... 152, then resized (D2C, DisDiff)
    celeba@short_side    the short side resized to 64, then the 64 x 64 pixels in the middle
    celeba@center148     the 148 x 148 pixels in the middle, then resized
    celeba@resize        all of it resized, whatever becomes of its proportions

Known defects: the attributes depend on each other, so no labelled factor varies alone; several images show the same
person (10,177 people). When its quota is spent, Google Drive delivers a web page under the name of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from disbench import archives
from disbench.datasets._prepared import prepared_entry
from disbench.datasets._recipe import Recipe, Slabs, Source
from disbench.datasets._resize import RULES, resize_picture
from disbench.errors import DisbenchError
from disbench.sources import SourceFile
from disbench.types import DatasetSpec, Factor, FactorSpace

SIDE = 64
SIZE = (178, 218)  # of the published pictures, width and height
N_IMAGES = 202_599
RULE = "bilinear"  # of every crop: what torchvision does to PIL pictures

ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose"),
    *("Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses"),
    *("Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache"),
    *("Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks"),
    *("Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick"),
    *("Wearing_Necklace", "Wearing_Necktie", "Young"),
)

Crop = Callable[[Any, int], Any]  # (a PIL picture, side) -> a PIL picture of side x side


def _d2c(picture: Any, side: int) -> Any:
    return resize_picture(picture.crop((25, 57, 153, 185)), (side, side), RULE)


def _short_side(picture: Any, side: int) -> Any:
    width, height = picture.size
    short = min(width, height)
    return _centre(resize_picture(picture, (side * width // short, side * height // short), RULE), side)


def _center148(picture: Any, side: int) -> Any:
    return resize_picture(_centre(picture, 148), (side, side), RULE)


def _resize(picture: Any, side: int) -> Any:
    return resize_picture(picture, (side, side), RULE)


def _centre(picture: Any, side: int) -> Any:
    left, top = (round((length - side) / 2) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


# Name, crop, what it is called, what it does.
CROPS: tuple[tuple[str, Crop, str, str], ...] = (
    ("celeba", _d2c, "D2C's crop", f"rows 57 ... 184 and columns 25 ... 152, then to 64 x 64 with {RULES[RULE]}"),
    (
        "celeba@short_side",
        _short_side,
        "short side to 64, middle",
        f"short side to 64 with {RULES[RULE]}, then the middle",
    ),
    (
        "celeba@center148",
        _center148,
        "middle 148, resized",
        f"the middle 148 x 148, then to 64 x 64 with {RULES[RULE]}",
    ),
    ("celeba@resize", _resize, "resized whole", f"to 64 x 64, proportions not kept, with {RULES[RULE]}"),
)

IMAGES_ZIP = SourceFile(
    "img_align_celeba.zip",
    size=1_443_490_838,
    sha256="46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
    md5="00d2c5bc6d35e252742224ab0c1e8fcb",
    page="https://drive.google.com/file/d/0B7EVK8r0v71pZjFTYXZWM3FlRnM/view",
)
IMAGES_FOLDER = SourceFile("img_align_celeba", page=IMAGES_ZIP.page, is_folder=True)
LABELS = SourceFile(
    "list_attr_celeba.txt",
    size=26_721_026,
    sha256="f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0",
    md5="75e246fa4810816ffd6ee81facbd244c",
    page="https://drive.google.com/file/d/0B7EVK8r0v71pblRyaVFSWGxPY0U/view",
)

_SLAB = 1000  # images at a time
_MAX_JPEG = 1 << 20  # bytes; the published ones have about 7,000


def _read_factors(paths: Mapping[str, Path], spec: DatasetSpec) -> np.ndarray:
    """uint8 (n, 40): row i is that of the picture number i + 1."""
    path = paths[LABELS.name]
    with archives.reading(path, "a text of attributes"), open(path, encoding="ascii") as file:
        n_rows = _row_count(path, file.readline())
        _check_names(path, file.readline().split(), spec.space.names)
        rows = [_row(path, line, number, spec.space.n_factors) for number, line in enumerate(file, start=1)]
    if len(rows) != n_rows:
        raise DisbenchError(f"{path} has {len(rows):,} rows and says that it has {n_rows:,}; fetch it again.")
    return np.frombuffer(b"".join(rows), np.uint8).reshape(n_rows, spec.space.n_factors)


def _row_count(path: Path, line: str) -> int:
    if not line.strip().isdecimal():
        raise DisbenchError(
            f"{path} begins with {line[:40].strip()!r}; expected the number of its rows. Fetch it again."
        )
    return int(line)


def _check_names(path: Path, found: list[str], expected: tuple[str, ...]) -> None:
    if len(found) != len(expected):
        raise DisbenchError(f"{path} names {len(found)} attributes in line 2; expected {len(expected)}.")
    for k, (name, wanted) in enumerate(zip(found, expected, strict=True), start=1):
        if name != wanted:
            raise DisbenchError(
                f"{path}: attribute {k} is {name[:40]}; expected {wanted}. The columns are in another order than "
                "in the published file; fetch that."
            )


_BITS = {"-1": 0, "1": 1}


def _row(path: Path, line: str, number: int, n_factors: int) -> bytes:
    name, *values = line.split() or [""]
    wanted = _file_name(number)
    if name != wanted:
        raise DisbenchError(
            f"{path}: row {number} is of {name[:40] or 'nothing'}; expected {wanted}. Images and labels do not belong "
            "together."
        )
    if len(values) != n_factors or not _BITS.keys() >= set(values):
        raise DisbenchError(f"{path}: the row of {name} is not {n_factors} times -1 or 1; fetch the file again.")
    return bytes(_BITS[value] for value in values)


def _file_name(number: int) -> str:
    return f"{number:06d}.jpg"


def _n_rows(paths: Mapping[str, Path]) -> int:
    """What the attribute file says of its length, which was compared with its rows when the labels were read."""
    with open(paths[LABELS.name], encoding="ascii") as file:
        return _row_count(paths[LABELS.name], file.readline())


def _read_zip(crop: Crop, paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    path, folder = paths[IMAGES_ZIP.name], f"{IMAGES_FOLDER.name}/"
    with archives.open_zip(path) as archive:
        there = {name.removeprefix(folder) for name in archive.namelist() if name.startswith(folder)}
        opened = (
            archives.open_picture(archives.zip_member(path, archive, folder + name, _MAX_JPEG), f"{path}: {name}", SIZE)
            for name in _names(path, there, _n_rows(paths))
        )
        yield from _slabs(crop(picture, spec.image_shape[0]) for picture in opened)


def _read_folder(crop: Crop, paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    folder = paths[IMAGES_FOLDER.name]
    if (folder / folder.name).is_dir():  # as one of the copies in use unpacks
        folder = folder / folder.name
    there = {path.name for path in folder.iterdir()}
    opened = (
        archives.open_picture(folder / name, str(folder / name), SIZE) for name in _names(folder, there, _n_rows(paths))
    )
    yield from _slabs(crop(picture, spec.image_shape[0]) for picture in opened)


def _names(path: Path, there: Iterable[str], n_images: int) -> list[str]:
    """The names of the pictures in the order of the labels.

    Raises:
        DisbenchError: not all are there, or more than have labels.
    """
    found = {name for name in there if name.endswith(".jpg") and not name.startswith(".")}
    names = [_file_name(number) for number in range(1, n_images + 1)]
    missing = [name for name in names if name not in found]
    if missing or len(found) != n_images:
        detail = f"{missing[0]} is not there" if missing else f"{min(found.difference(names))} has none"
        raise DisbenchError(
            f"{path} holds {len(found):,} pictures and there are labels of {n_images:,}: {detail}. Images and labels "
            "do not belong together, or unpacking was cut off."
        )
    return names


def _slabs(pictures: Iterator[Any]) -> Slabs:
    while some := [np.asarray(picture) for picture in islice(pictures, _SLAB)]:
        yield np.stack(some)


def _recipe(name: str, crop: Crop, called: str, in_full: str) -> Recipe:
    spec = DatasetSpec(
        name=name,
        summary=f"CelebA: 202,599 faces with 40 attributes, {called}",
        space=FactorSpace(tuple(Factor(attribute, 2) for attribute in ATTRIBUTES)),
        image_shape=(SIDE, SIDE, 3),
        licence="non-commercial research only, no redistribution",
        citation=(
            "@inproceedings{liu2015celeba, title={Deep Learning Face Attributes in the Wild}, author={Liu, Ziwei and "
            "Luo, Ping and Wang, Xiaogang and Tang, Xiaoou}, booktitle={ICCV}, year={2015}}"
        ),
        homepage="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        kind="labelled",
        known_defects=(
            "the attributes depend on each other (Heavy_Makeup and Male), and no image shows one of them changed alone",
            "several images show the same person: 10,177 people in all",
            "four crops are in use, here under names of their own; numbers measured on two of them cannot be compared",
        ),
    )
    return Recipe(
        spec,
        sources=(
            Source((IMAGES_ZIP, LABELS), partial(_read_zip, crop), _read_factors),
            Source((IMAGES_FOLDER, LABELS), partial(_read_folder, crop), _read_factors),
        ),
        n_images=N_IMAGES,
        resize=in_full,
    )


RECIPES = {name: _recipe(name, crop, called, in_full) for name, crop, called, in_full in CROPS}

DATASETS = {name: prepared_entry(recipe) for name, recipe in RECIPES.items()}
