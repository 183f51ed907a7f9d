"""Draws -> the set of images to encode, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Generator

from disbench.errors import DisbenchError, NotApplicable
from disbench.types import Dataset, DatasetSpec, Draw, Factor, Factors, FactorSpace, Indices, Labels, Metric

K = TypeVar("K", bound=Hashable)
At: TypeAlias = tuple[int, str]  # eval seed and metric

_MAX_PERMUTED = 2**26  # images that are drawn from by permuting them all


def generator_for(eval_seed: int, name: str, version: int) -> Generator:
    """A CPU generator that depends on these three alone: what else runs moves no number.

    Variants, NAME@VARIANT, share that of NAME: they differ by what they compute, not by chance.
    """
    digest = hashlib.sha256(f"{eval_seed} {name.partition('@')[0]} {version}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@dataclass(frozen=True)
class Plan(Generic[K]):
    """Which images to encode for some draws.

    Args:
        draws: by key, into the data set.
        images: int64 (m,), the distinct images of all draws, ascending.
        n_asked: how many the draws ask for, repetitions counted.
    """

    draws: Mapping[K, Draw | str]
    images: Indices
    n_asked: int

    def rows(self, index: Indices) -> Indices:
        """Positions in `images` (and so in the table of codes) of images of the data set."""
        return torch.searchsorted(self.images, index)

    def draw(self, key: K) -> Draw | str:
        """A draw that points into the table of codes; or the text in its place."""
        draw = self.draws[key]
        return draw if isinstance(draw, str) else draw.mapped(self.rows)


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


def make_plan(draws: Mapping[K, Draw | str], also: Iterable[Indices] = ()) -> Plan[K]:
    """The plan of these draws and of further images (those that a reducer is fitted on); texts ask for none."""
    drawn = [draw for draw in draws.values() if not isinstance(draw, str)]
    asked = [index.reshape(-1) for draw in drawn for index in draw.indices.values()]
    asked += [index.reshape(-1) for index in also]
    images = torch.unique(torch.cat([torch.empty(0, dtype=torch.int64), *asked]))
    return Plan(draws, images, sum(len(index) for index in asked))


def distinct(n_images: int, n: int, generator: Generator) -> Indices:
    """n different images of a data set, in an order drawn at random; more of them begin with the same ones."""
    if n_images <= _MAX_PERMUTED:
        return torch.randperm(n_images, generator=generator)[:n]
    n_drawn = 2 * n  # of so many, few are drawn twice
    while True:
        state = generator.get_state()
        drawn = torch.randint(n_images, (n_drawn,), generator=generator)
        first = torch.from_numpy(np.unique(drawn.numpy(), return_index=True)[1]).sort().values
        if len(first) >= n:
            return drawn[first][:n]
        generator.set_state(state)
        n_drawn *= 2


def space_of(dataset: Dataset) -> FactorSpace:
    """What a data set's images can be drawn from: the grid of its factors, or its labels.

    Raises:
        DisbenchError: the number of images is not that of the combinations of a grid's factors.
    """
    spec = dataset.spec
    if spec.kind == "labelled":
        return Labels(spec.space.factors, dataset.factors(torch.arange(len(dataset))))
    if len(dataset) != spec.n_images:
        raise DisbenchError(
            f"{spec.name} has {len(dataset):,} images for {spec.n_images:,} combinations of its factors; a grid holds "
            "each once, so images and labels do not belong together."
        )
    return spec.space


def draw_images(
    spec: DatasetSpec, space: FactorSpace, metric: Metric, settings: Any, generator: Generator
) -> Draw | str:
    """The metric's draw, what the data set hides drawn anew for each image; or why it cannot be made."""
    if metric.needs == "interventions" and spec.kind != "grid":
        return f"it needs every combination of the factors exactly once, and {spec.name} has labels only"
    if metric.needs == "attributes" and (reason := not_attributes(space.names, space.sizes)):
        return reason
    try:
        draw = metric.draw(space, settings, generator)
    except NotApplicable as error:
        return str(error)
    return draw.mapped(lambda index: spec.with_hidden(index, generator))


def not_attributes(names: Iterable[str], sizes: Iterable[int]) -> str:
    """Why factors are not attributes, labels of two values; empty if they are."""
    for name, size in zip(names, sizes, strict=True):
        if size > 2:
            return f"it needs attributes, labels of two values, and {name} has {size:,}"
    return ""


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
