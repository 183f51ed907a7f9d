"""Draws -> the set of images to encode, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Generator

from disbench.types import Draw, Factor, Factors, FactorSpace, Indices

K = TypeVar("K", bound=Hashable)


def generator_for(eval_seed: int, name: str, version: int) -> Generator:
    """A CPU generator that depends on these three alone: what else runs moves no number."""
    digest = hashlib.sha256(f"{eval_seed} {name} {version}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@dataclass(frozen=True)
class Plan(Generic[K]):
    """Which images to encode for some draws.

    Args:
        draws: by key, into the data set.
        images: int64 (m,), the distinct images of all draws, ascending.
        n_asked: how many the draws ask for, repetitions counted.
    """

    draws: Mapping[K, Draw]
    images: Indices
    n_asked: int

    def rows(self, index: Indices) -> Indices:
        """Positions in `images` (and so in the table of codes) of images of the data set."""
        return torch.searchsorted(self.images, index)

    def draw(self, key: K) -> Draw:
        """A draw that points into the table of codes."""
        return self.draws[key].mapped(self.rows)


def hash_of_draws(draws: Mapping[K, Draw | str]) -> str:
    """sha256 of every index of every draw, in order; a text in place of a draw (why there is none) enters as it is."""
    digest = hashlib.sha256()
    for draw in draws.values():
        if isinstance(draw, str):
            digest.update(draw.encode())
            continue
        for part, index in draw.indices.items():
            digest.update(f"{part} {tuple(index.shape)}".encode())
            digest.update(index.contiguous().numpy().data)
    return digest.hexdigest()


def make_plan(draws: Mapping[K, Draw], also: Iterable[Indices] = ()) -> Plan[K]:
    """The plan of these draws and of further images (those that a reducer is fitted on)."""
    asked = [index.reshape(-1) for draw in draws.values() for index in draw.indices.values()]
    asked += [index.reshape(-1) for index in also]
    images = torch.unique(torch.cat(asked))
    return Plan(draws, images, sum(len(index) for index in asked))


@dataclass(frozen=True)
class Grid:
    """Given rows that hold every combination of their factors: the space, and the row of each index."""

    space: FactorSpace
    rows: Indices


def grid_of_rows(factors: Factors, names: tuple[str, ...]) -> Grid | str:
    """The grid that rows (n, k) cover, or, where they cover none, the reason.

    The values of a factor are those that occur. Of several rows with one combination the first stands for it.
    """
    columns = [torch.unique(column, return_inverse=True) for column in factors.T]
    space = FactorSpace(tuple(Factor(n, len(values)) for n, (values, _) in zip(names, columns, strict=True)))
    index, first_rows = np.unique(space.index(torch.stack([c for _, c in columns], dim=1)).numpy(), return_index=True)
    if len(index) < len(space):
        return f"it needs every combination of the factors, and the rows hold {len(index):,} of {len(space):,}"
    return Grid(space, torch.from_numpy(first_rows))
