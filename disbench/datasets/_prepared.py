"""Data sets that are read from their prepared file, a memory-mapped array."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disbench.datasets._preparing import prepare
from disbench.datasets._recipe import Recipe, here, read_notes
from disbench.errors import DisbenchError
from disbench.registry import Check, DatasetEntry
from disbench.types import Dataset, DatasetSpec, Factors, Indices, Pixels


def prepared_entry(recipe: Recipe, checks: Callable[[Dataset], Iterable[Check]] = lambda _: ()) -> DatasetEntry:
    """The registry's entry of a data set that is read from its prepared file."""
    return DatasetEntry(
        recipe.spec,
        open=lambda data_dir: open_prepared(recipe, data_dir),
        recipe=recipe,
        here=lambda data_dir: here(recipe, data_dir),
        checks=checks,
    )


def open_prepared(recipe: Recipe, data_dir: Path | None = None) -> Prepared:
    """The data set from its prepared file, which is made first if it is not there."""
    notes = read_notes(recipe)
    if notes is None:
        prepare(recipe, data_dir=data_dir)
        notes = read_notes(recipe)
    if notes is None:
        raise DisbenchError(f"{recipe.folder} was prepared and cannot be read; delete it and try again.")
    return Prepared(recipe.spec, recipe.folder, notes)


class Prepared:
    """A data set read from its prepared file.

    Args:
        spec: what it is.
        folder: with the arrays.
        notes: of prepared.json.
    """

    def __init__(self, spec: DatasetSpec, folder: Path, notes: Mapping[str, Any]) -> None:
        self.folder, self.notes = folder, notes
        self._rows = MappedRows(folder / "images.npy")
        self._factors: Tensor | None = None
        if spec.kind == "labelled":
            self._factors = torch.from_numpy(np.load(folder / "factors.npy", allow_pickle=False))
        self.spec = spec

    def __len__(self) -> int:
        return len(self._rows)

    def factors(self, index: Indices) -> Factors:
        """Factor values (n, k) of images (n,)."""
        return self.spec.values(index) if self._factors is None else self._factors[index].long()

    def images(self, index: Indices) -> Pixels:
        """Images (n,), each of the shape and type that the specification names."""
        return self._rows(index)

    def in_order(self, n_images: int) -> Iterator[np.ndarray]:
        """All images in index order, so many at a time."""
        return self._rows.in_order(n_images)

    @cached_property
    def content_hash(self) -> str:
        """sha256 over factor names and sizes and the arrays."""
        space = self.spec.space
        digest = hashlib.sha256(repr(list(zip(space.names, space.sizes, strict=True))).encode())
        for name in sorted(self.notes["arrays"]):
            digest.update(self.notes["arrays"][name]["sha256"].encode())
        return digest.hexdigest()


class MappedRows:
    """Rows of a memory-mapped .npy file, as tensors.

    The pages of the file that are touched stay in the system's cache, which takes them back when memory is short. A
    pass in ascending order, as an evaluation makes, gives them back behind itself: not even the count of what is
    mapped grows with the file.
    """

    _HELD = 256 << 20  # bytes of the file behind a pass that may stay mapped

    def __init__(self, path: Path) -> None:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._map: mmap.mmap = array._mmap
        self._rows = np.asarray(array)  # without the subclass, which is slow to index
        self._n_held = max(1, self._HELD // max(1, self._rows[:1].nbytes))
        self._oldest = self._latest = 0  # rows at which the present pass began, and ended so far

    def __len__(self) -> int:
        return len(self._rows)

    def __call__(self, index: Indices) -> Tensor:
        """The rows (n, ...) at an index (n,) on the CPU."""
        wanted = index.numpy()
        if len(wanted):
            self._follow(wanted)
        return torch.from_numpy(self._rows[wanted])

    def _follow(self, wanted: np.ndarray) -> None:
        """Give back what lies behind, if this continues a pass in ascending order and much lies there."""
        first = int(wanted[0])
        if first < self._latest or (np.diff(wanted) < 0).any():
            self._oldest = first
        elif first - self._oldest > self._n_held:
            self._give_back()
            self._oldest = first
        self._latest = int(wanted[-1])

    def _give_back(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def in_order(self, n_rows: int) -> Iterator[np.ndarray]:
        """All rows, some at a time."""
        for start in range(0, len(self), n_rows):
            yield self._rows[start : start + n_rows]
            self._give_back()
