"""A user's own data: arrays, a folder of pictures with a table of labels, or an npz or HDF5 file.

Rows that hold every combination of their factors exactly once are a grid, whatever their order; any others are labelled
data. The labels of a factor (numbers, texts, dates) are numbered 0 ... size-1 in ascending order.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar, get_args

import numpy as np
import torch

from disbench.datasets import _archives as archives
from disbench.datasets import _arrays as arrays
from disbench.errors import DisbenchError, UsageError, first_line
from disbench.types import Dataset, DatasetSpec, Factor, Factors, FactorSpace, Indices, Kind, Pixels

T = TypeVar("T")

MAX_CHANNELS = 4  # by which the last axis of signals, and a channel that does not come last, are told
MAX_ROW = 256 << 20  # bytes of one observation
RANGES = {"whole numbers": (0, 255), "floats": (0, 1), "signals": (-3e38, 3e38)}  # of values
IN_MEMORY = 512 << 20  # bytes of a file's array that are read at once

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # no others: some start programs
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}

IMAGE_KEYS = ("images", "imgs")
FACTOR_KEYS = ("factors", "labels", "latents_classes", "latents/classes")
NUMBERS = tuple(np.dtype(code).name for code in "?bBhHiIqQefd")


def from_arrays(
    images: Any,
    factors: Any,
    *,
    names: Sequence[str] | None = None,
    kinds: Sequence[Kind] | None = None,
    name: str = "own data",
) -> Dataset:
    """A data set of arrays (numpy, torch, lists); nothing is copied, and a memory map stays one.

    Args:
        images: whole numbers 0 ... 255 or floats in [0, 1], (n, h, w, c) or (n, h, w). Floats (n, length) or
            (n, length, c) with at most 4 channels are signals, which reach the model as they are.
        factors: (n, k), or (n,) if there is one: labels that can be sorted. A pandas table brings its names.
        names: of the factors.
        kinds: of the factors: categorical (the default), ordinal, circular.
        name: of the data set, in records.

    Raises:
        DisbenchError: a wrong shape or type, values out of range, labels that are missing, or parts that do not fit
            each other.
    """
    return _own(name, _images_of(_as_numpy(images)), factors, names, kinds)


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
    shape = _open_picture(files[0]).shape

    def read(rows: np.ndarray) -> np.ndarray:
        pixels = np.empty((len(rows), *shape), np.uint8)
        for pixel, row in zip(pixels, rows.tolist(), strict=True):
            pixel[:] = _open_picture(files[row], shape)
        return pixels

    def pieces() -> Iterator[bytes]:
        return (hashlib.sha256(file.read_bytes()).digest() for file in files)

    images = _Images(len(files), shape, "uint8", read, pieces)
    return _own(name or folder.resolve().name, images, factors, None, kinds)


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
    return _own(name or path.name, found, table, names, None)


@dataclass(frozen=True)
class _Images:
    """Images of any origin.

    Args:
        n: how many.
        shape: of one, the channel last.
        dtype: as they are served.
        read: rows int64 (m,) in any order -> array (m, *shape).
        pieces: what the content hash is over, in order.
    """

    n: int
    shape: tuple[int, ...]
    dtype: Any
    read: Callable[[np.ndarray], np.ndarray]
    pieces: Callable[[], Iterable[Any]]


class Own:
    """Images and the numbers of their labels: a grid, in which image i is that of combination i, or labelled data."""

    def __init__(self, name: str, images: _Images, table: np.ndarray, space: FactorSpace) -> None:
        self._images = images
        self._table = torch.from_numpy(table)
        order = _rows_by_index(self._table, space)
        spec = DatasetSpec(
            name=name,
            summary=f"own data: {images.n:,} observations, {space.n_factors} factors",
            space=space,
            image_shape=images.shape,
            licence="unknown (own data)",
            citation="@misc{own, title={own data}}",
            homepage="none (own data)",
            kind="labelled" if order is None else "grid",
            dtype=images.dtype,
        )
        self.spec = spec
        self._rows = torch.arange(images.n) if order is None else order

    def __len__(self) -> int:
        return self._images.n

    def factors(self, index: Indices) -> Factors:
        """Factor values (n, k) of images (n,)."""
        return self._table[self._rows[index]]

    def images(self, index: Indices) -> Pixels:
        """Images (n,), each of the shape and type that the specification names."""
        return torch.from_numpy(self._images.read(self._rows[index].numpy()))

    @cached_property
    def content_hash(self) -> str:
        """sha256 over factor names and sizes, the shape and type of the images, the images and factors as given."""
        space = self.spec.space
        head = [*zip(space.names, space.sizes, strict=True), self._images.shape, self._images.dtype]
        digest = hashlib.sha256(repr(head).encode())
        for piece in self._images.pieces():
            digest.update(piece)
        digest.update(self._table.numpy().data)
        return digest.hexdigest()


def _own(name: str, images: _Images, factors: Any, names: Any, kinds: Any) -> Own:
    table, space = _number(factors, names, kinds)
    if len(table) != images.n:
        raise DisbenchError(f"there are {images.n:,} images and {len(table):,} rows of factors; each needs one row.")
    return Own(name, images, table, space)


def _rows_by_index(table: Factors, space: FactorSpace) -> Indices | None:
    """The row of each combination, in index order; None unless the rows hold each exactly once."""
    if math.prod(space.sizes) != len(table):  # not len(), which has a limit
        return None
    index, rows = space.index(table).sort()
    return rows if torch.equal(index, torch.arange(len(table))) else None


def _number(factors: Any, names: Any, kinds: Any) -> tuple[np.ndarray, FactorSpace]:
    """The labels' numbers int64 (n, k), and the factors."""
    import pandas as pd

    if isinstance(factors, torch.Tensor):
        factors = factors.detach().cpu().numpy()
    try:
        frame = pd.DataFrame(factors)
    except (ValueError, TypeError) as error:
        raise DisbenchError(f"factors must be (n, k), a row for each image: {first_line(error)}") from None
    if 0 in frame.shape:
        raise DisbenchError(f"factors must be (n, k) with at least one row and one factor; got {frame.shape}.")
    if names is None:
        has_names = not isinstance(frame.columns, pd.RangeIndex)
        names = frame.columns if has_names else [f"factor_{k}" for k in range(frame.shape[1])]
    names = [str(name) for name in ([names] if isinstance(names, str) else names)]
    if len(names) != frame.shape[1]:
        raise DisbenchError(f"there are {frame.shape[1]} factors and {len(names)} names.")
    kinds = ["categorical"] * len(names) if kinds is None else list(kinds)
    if len(kinds) != len(names) or not {*kinds} <= {*get_args(Kind)}:
        raise DisbenchError(f"kinds must be {', '.join(get_args(Kind))}, one for each factor; got {kinds}.")
    table = np.stack([_number_labels(name, frame.iloc[:, k]) for k, name in enumerate(names)], axis=1)
    return table, FactorSpace(tuple(map(Factor, names, (table.max(0) + 1).tolist(), kinds)))


def _number_labels(name: str, labels: Any) -> np.ndarray:
    import pandas as pd

    if labels.isna().any():
        row = int(labels.isna().to_numpy().argmax())
        raise DisbenchError(f"row {row} has no label of the factor {name!r} (NaN, empty or NA); every image needs one.")
    if (found := pd.api.types.infer_dtype(labels)) in ("mixed", "mixed-integer", "complex"):
        raise DisbenchError(f"the labels of the factor {name!r} are {found}; expected all numbers or all texts.")
    return pd.factorize(labels, sort=True)[0].astype(np.int64)


def _as_numpy(images: Any) -> np.ndarray:
    try:
        if isinstance(images, torch.Tensor):
            images = images.detach().cpu()
            return (images.float() if images.dtype == torch.bfloat16 else images).numpy()
        return np.asarray(images)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DisbenchError(f"images are no array of numbers, all of one shape: {first_line(error)}") from None


def _images_of(array: np.ndarray) -> _Images:
    def slabs() -> Iterator[np.ndarray]:
        n_rows = max(1, arrays.SLAB // array[0].nbytes)
        return (array[start : start + n_rows] for start in range(0, len(array), n_rows))

    return _checked(array.shape, array.dtype, array.__getitem__, slabs)


def _checked(
    shape: tuple[int, ...],
    dtype: np.dtype,
    read: Callable[[np.ndarray], np.ndarray],
    slabs: Callable[[], Iterable[np.ndarray]],
) -> _Images:
    """Images of an array that is read by rows and, from the first to the last, in slabs; values are tried here."""
    image_shape, served = _form(shape, dtype)

    def as_served(rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(rows.reshape(len(rows), *image_shape), served)

    if dtype != np.uint8:
        what = "whole numbers" if served == "uint8" else "floats" if len(image_shape) == 3 else "signals"
        for slab in slabs():
            _check_values(slab, what)
    if served == "uint8" and as_served(read(np.arange(min(shape[0], 64)))).max() == 1:
        print("disbench: images hold 0 and 1 where 255 is full brightness; multiply masks by 255.", file=sys.stderr)
    return _Images(shape[0], image_shape, served, lambda rows: as_served(read(rows)), lambda: map(as_served, slabs()))


def _form(shape: tuple[int, ...], dtype: np.dtype) -> tuple[tuple[int, ...], str]:
    """Shape of one observation, the channel last, and the type that is served."""
    if dtype.kind not in "uif":
        advice = "; multiply by 255: images * np.uint8(255)" if dtype.kind == "b" else ""
        raise DisbenchError(f"images are of type {dtype.name}; expected whole numbers 0 ... 255 or floats{advice}.")
    n_axes, is_float = len(shape), dtype.kind == "f"
    if not (2 if is_float else 3) <= n_axes <= 4 or 0 in shape:
        wanted = "(n, h, w, c) or (n, h, w), or floats (n, length) or (n, length, c) of signals"
        raise DisbenchError(f"images have shape {shape}; expected {wanted}.")
    if (n_axes == 4 or (n_axes == 3 and is_float)) and shape[1] <= MAX_CHANNELS < shape[-1]:
        raise DisbenchError(f"images have shape {shape}; the channel comes last: np.moveaxis(images, 1, -1).")
    if shape[0] < 2:
        raise DisbenchError("there is one image; expected at least two.")
    if (n_bytes := math.prod(shape[1:]) * dtype.itemsize) > MAX_ROW:
        raise DisbenchError(f"each of the images has {n_bytes:,} bytes; expected at most {MAX_ROW:,}.")
    has_channel = n_axes == 4 or (n_axes == 3 and is_float and shape[2] <= MAX_CHANNELS)
    return shape[1:] if has_channel else (*shape[1:], 1), "float32" if is_float else "uint8"


def _check_values(slab: np.ndarray, what: str) -> None:
    low, high = float(slab.min()), float(slab.max())
    if not math.isfinite(low + high):
        raise DisbenchError("images hold NaN or infinity; expected finite numbers.")
    if not RANGES[what][0] <= low <= high <= RANGES[what][1]:
        is_scaled = what == "floats" and 0 <= low <= high <= 255
        advice = "divide by 255 or give uint8" if is_scaled else "shift and scale them"
        if what == "floats" and slab.ndim == 3:
            advice += f", or, of signals with more than {MAX_CHANNELS} channels, write a class"
        wanted = " ... ".join(f"{limit:g}" for limit in RANGES[what])
        raise DisbenchError(f"images reach from {low:g} to {high:g}; {what} must lie in {wanted}: {advice}.")


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


def _open_picture(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Pixels uint8 (h, w, c) of a picture; `shape` is that of the first one, which the others must have."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as picture:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if picture.mode not in MODES or "transparency" in picture.info or ";16" in str(picture.tile):
                mode = f"{picture.mode} with transparency" if "transparency" in picture.info else picture.mode
                raise DisbenchError(
                    f"{path} has the colour mode {mode}; save it as grey or RGB, 8 bits, no transparency."
                )
            mode = MODES[picture.mode]
            found = (picture.height, picture.width, 3 if mode == "RGB" else 1)
            if shape not in (None, found):
                raise DisbenchError(f"{path} has {found} rows, columns and channels; the first picture has {shape}.")
            return np.array(picture.convert(mode)).reshape(found)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DisbenchError(f"{path} cannot be read as a picture: {first_line(error)}.") from error


def _read_npz(path: Path, images: str | None, factors: str | None) -> tuple[_Images, np.ndarray]:
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
        return _images_of(_whole(array, array.slabs())), _whole(table, table.slabs())


def _read_hdf5(path: Path, images: str | None, factors: str | None) -> tuple[_Images, np.ndarray]:
    with arrays.open_hdf5(path) as file:
        image_key, factor_key = _keys(path, [*file], images, factors)
        table = _of_any_rank(lambda shape: arrays.hdf5_array(path, file, factor_key, shape, NUMBERS), 1, 2)
        array = _of_any_rank(lambda shape: arrays.hdf5_array(path, file, image_key, shape, NUMBERS), 2, 3, 4)
        _check_sizes(path, array, table)
        labels = table[:]
        if _n_bytes(array) <= IN_MEMORY:
            return _images_of(_whole(array, arrays.hdf5_slabs(array))), labels
        shape, dtype = array.shape, array.dtype

    def read(rows: np.ndarray) -> np.ndarray:
        with arrays.open_hdf5(path) as file:
            return _hdf5_rows(file[image_key], rows)

    def slabs() -> Iterator[np.ndarray]:
        with arrays.open_hdf5(path) as file:
            yield from arrays.hdf5_slabs(file[image_key])

    return _checked(shape, dtype, read, slabs), labels


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
    _form(array.shape, array.dtype)
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
