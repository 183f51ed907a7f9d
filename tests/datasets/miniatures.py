"""Small files in the true formats of the published data sets, with known content, and recipes that expect them.

A miniature has the layout of its original, byte for byte, and smaller factors. Every image is told by its number:
`picture(i)` is what image i of a grid looks like.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from disbench.datasets._recipe import Recipe, Source
from disbench.sources import SourceFile
from disbench.types import DatasetSpec, Factor, FactorSpace


def picture(number: int, shape: Sequence[int]) -> np.ndarray:
    """uint8: noise that no other number has."""
    return np.random.default_rng(number).integers(0, 256, tuple(shape), dtype=np.uint8)


def pictures(n: int, shape: Sequence[int]) -> np.ndarray:
    """uint8 (n, ...): `picture` of 0 ... n-1."""
    return np.stack([picture(i, shape) for i in range(n)])


def smaller(spec: DatasetSpec, sizes: Sequence[int]) -> DatasetSpec:
    """The specification with other factor sizes."""
    factors = zip(spec.space.factors, sizes, strict=True)
    return dataclasses.replace(spec, space=FactorSpace(tuple(Factor(f.name, n, f.kind) for f, n in factors)))


def recipe_for(recipe: Recipe, spec: DatasetSpec, folder: Path | None = None) -> Recipe:
    """The recipe for miniatures: of the smaller data set, with the hashes of the files in `folder` that it names.

    Published statistics are left out: they are those of the originals.
    """
    sources = tuple(
        Source(tuple(_hashed(file, folder) for file in source.files), source.read, source.read_factors)
        for source in recipe.sources
    )
    return dataclasses.replace(recipe, spec=spec, sources=sources, mean=(), std=())


def _hashed(file: SourceFile, folder: Path | None) -> SourceFile:
    path = None if folder is None or file.is_folder else folder / file.name
    if path is None or not path.is_file() or not (file.sha256 or file.md5):
        return dataclasses.replace(file, size=None, sha256=None, md5=None)
    content = path.read_bytes()
    return dataclasses.replace(file, size=len(content), sha256=hashlib.sha256(content).hexdigest(), md5=None)
