"""A user's own data, as arrays.

Rows that hold every combination of their factors exactly once are a grid, whatever their order; any others are labelled
data. The labels of a factor (numbers, texts, dates) are numbered 0 ... size-1 in ascending order.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch

from disbench import arrays
from disbench.errors import DisbenchError, first_line
from disbench.types import Dataset, DatasetSpec, Factor, Factors, FactorSpace, Indices, Kind, Pixels

MAX_CHANNELS = 4  # by which the last axis of signals, and a channel that does not come last, are told
MAX_ROW = 256 << 20  # bytes of one observation
RANGES = {"whole numbers": (0, 255), "floats": (0, 1), "signals": (-3e38, 3e38)}  # of values


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
    return own_data(name, images_of(_as_numpy(images)), factors, names, kinds)


@dataclass(frozen=True)
class Images:
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

    def __init__(self, name: str, images: Images, table: np.ndarray, space: FactorSpace) -> None:
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


def own_data(name: str, images: Images, factors: Any, names: Any, kinds: Any) -> Own:
    """The data set of some images and their factors: a grid, if the rows are one."""
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


def images_of(array: np.ndarray) -> Images:
    """Images that are read from an array, or a memory map, row by row."""

    def slabs() -> Iterator[np.ndarray]:
        n_rows = max(1, arrays.SLAB // array[0].nbytes)
        return (array[start : start + n_rows] for start in range(0, len(array), n_rows))

    return checked_images(array.shape, array.dtype, array.__getitem__, slabs)


def checked_images(
    shape: tuple[int, ...],
    dtype: np.dtype,
    read: Callable[[np.ndarray], np.ndarray],
    slabs: Callable[[], Iterable[np.ndarray]],
) -> Images:
    """Images of an array that is read by rows and, from the first to the last, in slabs; values are tried here."""
    image_shape, served = form_of(shape, dtype)

    def as_served(rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(rows.reshape(len(rows), *image_shape), served)

    if dtype != np.uint8:
        what = "whole numbers" if served == "uint8" else "floats" if len(image_shape) == 3 else "signals"
        for slab in slabs():
            _check_values(slab, what)
    if served == "uint8" and as_served(read(np.arange(min(shape[0], 64)))).max() == 1:
        print("disbench: images hold 0 and 1 where 255 is full brightness; multiply masks by 255.", file=sys.stderr)
    return Images(shape[0], image_shape, served, lambda rows: as_served(read(rows)), lambda: map(as_served, slabs()))


def form_of(shape: tuple[int, ...], dtype: np.dtype) -> tuple[tuple[int, ...], str]:
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
