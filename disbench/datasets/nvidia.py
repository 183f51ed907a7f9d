"""falcor3d and isaac3d: NVIDIA's high-resolution sets (Nie et al. 2020) at 64 x 64, from the archives of 128 pixels.

A living room under changing light and cameras (Falcor3D, 233,280 images) and a robot arm with an object in a kitchen
(Isaac3D, 737,280). The archives hold images/000000.png ... and a table of labels: labels.npy, or train-rec.labels,
which is a .npy file, too. Picture k has the index k. The labels are numbers in [0, 1] in columns of no stated order:
for each factor there must be a column that goes with its class numbers one to one, or images and labels do not belong
together.

Known defects: Isaac3D's README puts wrong names next to the right strides; the order here is the one that its sizes,
its demo and its labels agree on. No hashes are published.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from disbench import archives, arrays
from disbench.datasets._prepared import prepared_entry
from disbench.datasets._recipe import Recipe, Slabs, Source
from disbench.datasets._resize import RULES, resize
from disbench.errors import DisbenchError
from disbench.sources import SourceFile
from disbench.types import DatasetSpec, Factor, FactorSpace, Kind

SIDE = 64
SIZE = (128, 128)  # of the pictures in the archives
RULE = "bicubic"

_LICENCE = "CC BY 4.0"
_HOMEPAGE = "https://github.com/NVlabs/High-res-disentanglement-datasets"
_CITATION = (
    "@inproceedings{nie2020semi, title={Semi-Supervised {StyleGAN} for Disentanglement Learning}, author={Nie, Weili "
    "and Karras, Tero and Garg, Animesh and Debnath, Shoubhik and Patney, Anjul and Patel, Ankit and Anandkumar, "
    "Animashree}, booktitle={ICML}, year={2020}}"
)
_NO_HASH = "no hash of its archive is published: its labels, where they are there, have to agree with the order"


def _spec(
    name: str, summary: str, factors: tuple[tuple[str, int, Kind], ...], known_defects: tuple[str, ...]
) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        summary=summary,
        space=FactorSpace(tuple(Factor(*factor) for factor in factors)),
        image_shape=(SIDE, SIDE, 3),
        licence=_LICENCE,
        citation=_CITATION,
        homepage=_HOMEPAGE,
        known_defects=known_defects,
    )


FALCOR3D = _spec(
    "falcor3d",
    "Falcor3D: a living room under changing light and cameras, 233,280 images, 7 factors",
    (
        ("lighting_intensity", 5, "ordinal"),
        ("lighting_x", 6, "ordinal"),
        ("lighting_y", 6, "ordinal"),
        ("lighting_z", 6, "ordinal"),
        ("camera_x", 6, "ordinal"),
        ("camera_y", 6, "ordinal"),
        ("camera_z", 6, "ordinal"),
    ),
    (_NO_HASH,),
)

ISAAC3D = _spec(
    "isaac3d",
    "Isaac3D: a robot arm with an object in a kitchen, 737,280 images, 9 factors",
    (
        ("object_shape", 3, "categorical"),
        ("robot_x", 8, "ordinal"),
        ("robot_y", 5, "ordinal"),
        ("camera_height", 4, "ordinal"),
        ("object_scale", 4, "ordinal"),
        ("lighting_intensity", 4, "ordinal"),
        ("lighting_y", 6, "ordinal"),
        ("object_color", 4, "categorical"),
        ("wall_color", 4, "categorical"),
    ),
    (
        _NO_HASH,
        "its README names the factors in an order that their sizes contradict; results that follow it swap their names",
    ),
)

LABEL_FILES = ("labels.npy", "train-rec.labels")
_LABEL_TYPES = ("float64", "float32", "float16", "int64", "int32", "uint8")
_SAME = 1e-4  # labels nearer to each other than this are the same value
_MAX_COLUMNS = 64  # of labels, by far
_PICTURE = re.compile(r"(?:.*/)?(\d{1,9})\.png")
_MAX_PNG = 1 << 24  # bytes
_SLAB = 500  # images at a time


def _read_zip(path: Path, spec: DatasetSpec) -> Slabs:
    with archives.open_zip(path) as archive:
        tables = [name for name in archive.namelist() if name.rpartition("/")[2] in LABEL_FILES]
        shape = (len(spec.space), None)
        _check_tables(path, [arrays.npy_member(path, archive, name, shape, _LABEL_TYPES) for name in tables], spec)
        names = _in_order(path, archive.namelist(), len(spec.space))
        yield from _slabs(
            ((archives.zip_member(path, archive, name, _MAX_PNG), f"{path}: {name}") for name in names), spec
        )


def _read_folder(folder: Path, spec: DatasetSpec) -> Slabs:
    tables = [folder / name for name in LABEL_FILES if (folder / name).is_file()]
    shape = (len(spec.space), None)
    _check_tables(folder, [arrays.npy_file(table, shape, _LABEL_TYPES) for table in tables], spec)
    images = folder / "images" if (folder / "images").is_dir() else folder
    names = _in_order(images, os.listdir(images), len(spec.space))
    yield from _slabs(((images / name, str(images / name)) for name in names), spec)


def _in_order(path: Path, names: Iterable[str], n_images: int) -> list[str]:
    """The names of pictures 0, 1, ...

    Raises:
        DisbenchError: a number is missing, there twice or too many.
    """
    in_order = [""] * n_images
    n_found = 0
    for name in names:
        match = _PICTURE.fullmatch(name)
        if match is None:
            continue
        number = int(match[1])
        if number >= n_images:
            raise DisbenchError(
                f"{path} holds {name}, and its pictures should end with number {n_images - 1:,}: it is not the set of "
                f"{n_images:,} images that it should be."
            )
        if in_order[number]:
            raise DisbenchError(f"{path} holds picture {number} twice, as {in_order[number]} and {name}; remove one.")
        in_order[number] = name
        n_found += 1
    if n_found != n_images:
        raise DisbenchError(
            f"{path} holds {n_found:,} pictures and should hold {n_images:,}, one for each combination of its factors; "
            f"the first that is missing is {in_order.index(''):06d}.png. Fetch it again or unpack it again."
        )
    return in_order


def _check_tables(path: Path, tables: list[np.ndarray], spec: DatasetSpec) -> None:
    if not tables:
        print(
            f"disbench: {path} holds no {' or '.join(LABEL_FILES)}: the order of its pictures is taken to be the "
            "published one and could not be checked.",
            file=sys.stderr,
        )
    for table in tables:
        _check_labels(path, table, spec)


def _check_labels(path: Path, table: np.ndarray, spec: DatasetSpec) -> None:
    """Check that each factor has a column of labels (n, columns) that goes with its class numbers one to one.

    Raises:
        DisbenchError: one has none.
    """
    if table.shape[1] > _MAX_COLUMNS:
        raise DisbenchError(
            f"{path}: the labels have {table.shape[1]:,} columns; expected {spec.space.n_factors}, one for each factor."
        )
    slower, faster = 1, len(spec.space)
    for factor in spec.space.factors:
        faster //= factor.size
        if not any(_is_one_to_one(column.reshape(slower, factor.size, faster)) for column in table.T):
            counts = ", ".join(str(len(np.unique(column))) for column in table.T)
            raise DisbenchError(
                f"{path}: no column of the labels goes with the {factor.size} values of {factor.name} in the order of "
                f"the index (the columns have {counts} values). Images and labels do not belong together, or are in "
                "another order than the published one."
            )
        slower *= factor.size


def _is_one_to_one(column: np.ndarray) -> bool:
    """Whether labels (slower, size, faster) depend on the middle axis alone and differ along it."""
    column = column.astype(np.float64)
    levels = column[0, :, 0]
    with np.errstate(invalid="ignore"):
        is_constant = np.abs(column - levels[:, None]).max() <= _SAME
        return bool(is_constant and (np.diff(np.sort(levels)) > _SAME).all())


def _slabs(pictures: Iterator[tuple[Path | BinaryIO, str]], spec: DatasetSpec) -> Slabs:
    opened = (_pixels(source, name) for source, name in pictures)
    while some := list(islice(opened, _SLAB)):
        yield resize(np.stack(some), spec.image_shape[0], RULE)


def _pixels(source: Path | BinaryIO, name: str) -> np.ndarray:
    """uint8 (128, 128, 3)."""
    try:
        return np.asarray(archives.open_picture(source, name, SIZE))
    except DisbenchError as error:
        raise DisbenchError(
            f"{error} What is read is the archive whose name ends in _down128; fetch that, or shrink the pictures of a "
            f"larger one to {SIZE[0]} x {SIZE[1]} under the same names."
        ) from error


def _recipe(spec: DatasetSpec, archive: str, drive_id: str) -> Recipe:
    page = f"https://drive.google.com/file/d/{drive_id}/view"
    packed, folder = SourceFile(f"{archive}.zip", page=page), SourceFile(archive, page=page, is_folder=True)

    def reading(
        read: Callable[[Path, DatasetSpec], Slabs], name: str
    ) -> Callable[[Mapping[str, Path], DatasetSpec], Slabs]:
        return lambda paths, spec: read(paths[name], spec)

    return Recipe(
        spec,
        sources=(
            Source((packed,), reading(_read_zip, packed.name)),
            Source((folder,), reading(_read_folder, folder.name)),
        ),
        resize=f"128 x 128 to 64 x 64 with {RULES[RULE]}",
    )


RECIPES = {
    FALCOR3D.name: _recipe(FALCOR3D, "Falcor3D_down128", "1XAQfFK1x6cpN1eiovbP0hVfLTm5SsSoJ"),
    ISAAC3D.name: _recipe(ISAAC3D, "Isaac3D_down128", "1OmQ1G2wnm6eTsSFGTKFZZAh5D3nQTW1B"),
}

DATASETS = {name: prepared_entry(recipe) for name, recipe in RECIPES.items()}
