"""What a data set that comes as files is made of, and where its prepared file is kept.

A prepared data set is a folder in the cache, `prepared/NAME`, with images.npy (rows in index order), factors.npy where
there is no grid, and prepared.json, which says what it was made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from disbench import sources
from disbench.cache import cache_dir
from disbench.sources import SourceFile
from disbench.types import DatasetSpec

FORMAT = "disbench.prepared/1"
Slabs = Iterator[np.ndarray]  # of rows, in index order


@dataclass(frozen=True)
class Source:
    """One form in which a data set is published.

    Args:
        files: all that it consists of.
        read: (paths by file name, spec) -> images in index order, some at a time.
        read_factors: (paths by file name, spec) -> uint8 (n, k); for labelled data.
    """

    files: tuple[SourceFile, ...]
    read: Callable[[Mapping[str, Path], DatasetSpec], Slabs]
    read_factors: Callable[[Mapping[str, Path], DatasetSpec], np.ndarray] | None = None


@dataclass(frozen=True)
class Recipe:
    """How a prepared file is made.

    Args:
        spec: of the data set.
        sources: the forms it comes in; the first is the one that is downloaded.
        n_images: rows of the prepared file; of a grid, what the specification says.
        resize: how images were brought to their size, in words; kept beside the prepared file.
        mean: published mean of each channel, of images in [0, 1].
        std: published mean over images of the (unbiased) standard deviation within each, by channel.
        version: raised when the same files would give another prepared file.
    """

    spec: DatasetSpec
    sources: tuple[Source, ...]
    n_images: int | None = None
    resize: str = "none"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    version: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the prepared array."""
        return (self.n_images or self.spec.n_images, *self.spec.image_shape)

    @property
    def size(self) -> int:
        """Bytes of the prepared array."""
        return int(np.prod(self.shape, dtype=object)) * np.dtype(self.spec.dtype).itemsize

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return cache_dir() / "prepared" / self.spec.name


def here(recipe: Recipe, data_dir: Path | None) -> str:
    """What of the data set is on this machine, in a few words."""
    if read_notes(recipe) is not None:
        return "prepared"
    if recipe.folder.exists():
        return "prepared by another version, or damaged"
    folders = sources.data_folders(data_dir)
    if any(len(sources.find(source.files, folders)) == len(source.files) for source in recipe.sources):
        return "files found, not prepared"
    files = recipe.sources[0].files
    if all(file.urls for file in files):
        return f"to be downloaded ({sources.sizes(files)[1]})"
    return "to be fetched by hand"


def read_notes(recipe: Recipe) -> dict[str, Any] | None:
    """prepared.json, if what lies beside it is whole and made by this version of the recipe."""
    try:
        notes = json.loads((recipe.folder / "prepared.json").read_text())
        is_ours = notes["format"] == FORMAT and notes["recipe"] == describe(recipe)
        sizes = {name: (recipe.folder / name).stat().st_size for name in notes["arrays"]}
        is_whole = all(size == notes["arrays"][name]["bytes"] for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return notes if is_ours and is_whole else None


def describe(recipe: Recipe) -> dict[str, Any]:
    """What tells one prepared file from another that the same source files could give."""
    space = recipe.spec.space
    return {
        "name": recipe.spec.name,
        "version": recipe.version,
        "factors": [[factor.name, factor.size] for factor in space.factors],
        "shape": list(recipe.shape),
        "dtype": recipe.spec.dtype,
        "resize": recipe.resize,
    }
