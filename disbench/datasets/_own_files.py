"""A user's own data, as a folder of pictures with a table of labels, or as an npz or HDF5 file."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

import numpy as np

from disbench import archives, arrays
from disbench.datasets._own import Images, checked_images, form_of, images_of, own_data
from disbench.errors import DisbenchError, UsageError, first_line
from disbench.types import Dataset, Kind

T = TypeVar("T")
IN_MEMORY = 512 << 20  # bytes of a file's array that are read at once
IMAGE_KEYS = ("images", "imgs")
FACTOR_KEYS = ("factors", "labels", "latents_classes", "latents/classes")
NUMBERS = tuple(np.dtype(code).name for code in "?bBhHiIqQefd")


def from_folder(
    folder: str | Path, labels: str = "labels.csv", *, name: str | None = None, kinds: Sequence[Kind] | None = None
) -> Dataset:
    """A data set of pictures in a folder, opened when they are asked for.

    Args:
        folder: with the pictures: all grey or all in colour, 8 bits, no transparency, of one size.
        labels: CSV file in it, with a head and one row per picture: the file's name relative to the folder, then the
            factors.
        name: of the data set, in records; by default the folder's.
        kinds: of the factors, in order.

    Raises:
        UsageError: there is no such folder or CSV file.
        DisbenchError: the CSV cannot be read, names a picture that is missing, twice there or outside the folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no folder at {folder}.")
    files, factors = _read_labels(folder, folder / labels)
    shape = archives.picture_as_it_is(files[0]).shape

    def read(rows: np.ndarray) -> np.ndarray:
        pixels = np.empty((len(rows), *shape), np.uint8)
        for pixel, row in zip(pixels, rows.tolist(), strict=True):
            pixel[:] = archives.picture_as_it_is(files[row], shape)
        return pixels

    def pieces() -> Iterator[bytes]:
        return (hashlib.sha256(file.read_bytes()).digest() for file in files)

    images = Images(len(files), shape, "uint8", read, pieces)
    return own_data(name or folder.resolve().name, images, factors, None, kinds)


def from_file(
    path: str | Path,
    *,
    images: str | None = None,
    factors: str | None = None,
    names: Sequence[str] | None = None,
    name: str | None = None,
) -> Dataset:
    """A data set of two arrays in an npz or HDF5 file, which hold what `from_arrays` takes; nothing is unpickled.

    Of an HDF5 file, images of more than 1 GB stay where they are and are read from there by index.

    Args:
        path: of the file: .npz, .h5 or .hdf5.
        images: the array of the images; by default `images` or `imgs`.
        factors: that of the factors; by default `factors`, `labels`, `latents_classes` or `latents/classes`.
        names: of the factors.
        name: of the data set, in records; by default the file's.

    Raises:
        UsageError: there is no such file, or it is of another kind.
        DisbenchError: it is damaged, lacks an array, is too large to be read, or its arrays are not as they should be.
    """
    path = Path(path)
    readers = {".npz": _read_npz, ".h5": _read_hdf5, ".hdf5": _read_hdf5}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path} is none of the files that can be read: {', '.join(readers)}. For .npy files call "
            'disbench.datasets.from_arrays(np.load(path, mmap_mode="r"), factors); for pictures, from_folder.'
        )
    if not path.is_file():
        raise UsageError(f"there is no file at {path}.")
    found, table = readers[path.suffix.lower()](path, images, factors)
    return own_data(name or path.name, found, table, names, None)


def _read_labels(folder: Path, path: Path) -> tuple[list[Path], Any]:
    """The pictures that a CSV file names, and the columns behind."""
    import pandas as pd

    if not path.is_file():
        raise UsageError(f"there is no file at {path}; expected a CSV file: the pictures' names, then the factors.")
    try:
        table = pd.read_csv(path, converters={0: str})
    except (ValueError, OSError) as error:  # pandas' own are ValueErrors
        raise DisbenchError(f"{path} cannot be read as a CSV file: {first_line(error)}") from error
    if table.shape[1] < 2 or not len(table) or not isinstance(table.index, pd.RangeIndex):
        raise DisbenchError(f"{path} must have a head and, in each row, a picture's name, a comma and its factors.")
    if (folder / str(table.columns[0])).is_file():
        raise DisbenchError(f"{path} begins with the picture {table.columns[0]}; its first row must name the columns.")
    names = [PurePosixPath(name.strip().replace("\\", "/")) for name in table.iloc[:, 0].fillna("")]
    for row, name in enumerate(names):
        if ".." in name.parts or PureWindowsPath(name).anchor:  # C: is one, and so is /
            raise DisbenchError(f"{path}: row {row} names {str(name)!r}, which lies outside the folder; refused.")
        if not (folder / name).is_file():
            raise DisbenchError(f"{path}: row {row} names {str(name)!r}, and {folder} holds no such file.")
    if len(names) < 2:
        raise DisbenchError(f"{path} names one picture; expected at least two.")
    (name, count), *_ = Counter(names).most_common(1)
    if count > 1:
        raise DisbenchError(f"{path} names {str(name)!r} {count} times; expected one row for each picture.")
    return [folder / name for name in names], table.iloc[:, 1:]


def _read_npz(path: Path, images: str | None, factors: str | None) -> tuple[Images, np.ndarray]:
    with archives.open_zip(path) as archive:
        keys = [name.removesuffix(".npy") for name in archive.namelist()]
    image_key, factor_key = _keys(path, keys, images, factors)
    array = _of_any_rank(lambda shape: arrays.npz_array(path, image_key, shape, NUMBERS), 2, 3, 4)
    table = _of_any_rank(lambda shape: arrays.npz_array(path, factor_key, shape, NUMBERS), 1, 2)
    _check_sizes(path, array, table)
    if _n_bytes(array) > IN_MEMORY:
        raise DisbenchError(
            f"{path}: {image_key} has {_n_bytes(array):,} bytes, too many to be read at once. Write them as a .npy "
            'file and call disbench.datasets.from_arrays(np.load(path, mmap_mode="r"), factors).'
        )
    with archives.reading(path, "an npz file"):
        return images_of(_whole(array, array.slabs())), _whole(table, table.slabs())


def _read_hdf5(path: Path, images: str | None, factors: str | None) -> tuple[Images, np.ndarray]:
    with arrays.open_hdf5(path) as file:
        image_key, factor_key = _keys(path, [*file], images, factors)
        table = _of_any_rank(lambda shape: arrays.hdf5_array(path, file, factor_key, shape, NUMBERS), 1, 2)
        array = _of_any_rank(lambda shape: arrays.hdf5_array(path, file, image_key, shape, NUMBERS), 2, 3, 4)
        _check_sizes(path, array, table)
        labels = table[:]
        if _n_bytes(array) <= IN_MEMORY:
            return images_of(_whole(array, arrays.hdf5_slabs(array))), labels
        shape, dtype = array.shape, array.dtype

    def read(rows: np.ndarray) -> np.ndarray:
        with arrays.open_hdf5(path) as file:
            return _hdf5_rows(file[image_key], rows)

    def slabs() -> Iterator[np.ndarray]:
        with arrays.open_hdf5(path) as file:
            yield from arrays.hdf5_slabs(file[image_key])

    return checked_images(shape, dtype, read, slabs), labels


def _hdf5_rows(array: Any, rows: np.ndarray) -> np.ndarray:
    """Rows of an HDF5 array in the order asked for, each chunk unpacked once."""
    row_bytes = array.dtype.itemsize * math.prod(array.shape[1:])
    per_block = max(1, min(array.chunks[0] if array.chunks else 1, arrays.SLAB // row_bytes))
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    blocks = rows // per_block
    for block in np.unique(blocks):
        here = np.flatnonzero(blocks == block)
        start = int(block) * per_block
        found[here] = array[start : start + per_block][rows[here] - start]
    return found


def _keys(path: Path, keys: Sequence[str], images: str | None, factors: str | None) -> tuple[str, str]:
    """Names of the two arrays: those given, or the first usual ones that a file's `keys` begin with."""
    picked = []
    for what, given, usual in (("images", images, IMAGE_KEYS), ("factors", factors, FACTOR_KEYS)):
        key = given or next((key for key in usual if key in keys or key.split("/")[0] in keys), None)
        if key is None:
            there = ", ".join(sorted(keys)[:5]) or "nothing"
            raise DisbenchError(f"{path} holds no {' or '.join(usual)} but {there}. Name the array: {what}=...")
        picked.append(key)
    return picked[0], picked[1]


def _of_any_rank(find: Callable[[tuple[None, ...]], T], *ranks: int) -> T:
    """What `find` makes of the first number of axes that it accepts."""
    for rank in ranks[:-1]:
        with contextlib.suppress(DisbenchError):
            return find((None,) * rank)
    return find((None,) * ranks[-1])


def _check_sizes(path: Path, array: Any, table: Any) -> None:
    """What can be told of a file's arrays before they are read."""
    form_of(array.shape, array.dtype)
    if array.shape[0] != table.shape[0]:
        raise DisbenchError(f"{path} holds {array.shape[0]:,} images and {table.shape[0]:,} rows of factors.")
    if _n_bytes(table) > IN_MEMORY:
        raise DisbenchError(f"{path}: the factors have {_n_bytes(table):,} bytes; expected at most {IN_MEMORY:,}.")


def _n_bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize


def _whole(array: Any, slabs: Iterable[np.ndarray]) -> np.ndarray:
    """All rows, in memory once."""
    found = np.empty(array.shape, array.dtype)
    start = 0
    for slab in slabs:
        found[start : start + len(slab)] = slab
        start += len(slab)
    return found
