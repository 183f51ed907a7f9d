"""The glossary: the arrays, data classes and protocols that the rest of disbench is written in.

Arrays are torch tensors unless said otherwise:

    Images    float32 (n, c, h, w) in [0, 1]    what a representation receives
    Codes     float32 (n, d)                    what it returns
    Tokens    float32 (n, t, e)                 ... or this: t concept tokens of width e; a reducer makes Codes of it
    Pixels    uint8   (n, h, w, c)              what a data set serves
    Factors   int64   (n, k)                    ground-truth values, 0 ... size-1 per factor
    Indices   int64   any shape                 positions in a data set, 0 ... len-1

An observation need not be a picture. What a data set serves is an array whose last axis is the channel, of the shape
and type that its specification names; a representation receives the same with the channel first. Bytes become floats in
[0, 1]; floats stay as they are. So a set of signals (BeamSynthesis) serves float32 (n, length, 1), and a representation
of it receives float32 (n, 1, length). `Pixels` and `Images` stand for these, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import torch
from torch import Generator, Tensor

from disbench.errors import DisbenchError

if TYPE_CHECKING:
    from disbench.features import Features

Images: TypeAlias = Tensor
Codes: TypeAlias = Tensor
Tokens: TypeAlias = Tensor
Pixels: TypeAlias = Tensor
Factors: TypeAlias = Tensor
Indices: TypeAlias = Tensor

T = TypeVar("T")

MAX_CODE = 1e18  # largest absolute value of a code: squares and sums of squares stay within float64, ranges in float32

Kind = Literal["categorical", "ordinal", "circular"]


@dataclass(frozen=True)
class Factor:
    """One ground-truth factor of variation: its name, how many values it takes, and how they are ordered."""

    name: str
    size: int
    kind: Kind = "categorical"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise DisbenchError(f"factor {self.name!r} has size {self.size}; a factor takes at least one value.")


@dataclass(frozen=True)
class FactorSpace:
    """Every combination of some factors, numbered in mixed radix with the last factor fastest.

    `index` and `values` are inverse to each other; `draw` and `draw_fixed` pick combinations uniformly, with
    replacement, from a CPU generator.
    """

    factors: tuple[Factor, ...]

    def __post_init__(self) -> None:
        if not self.factors:
            raise DisbenchError("a factor space needs at least one factor.")
        if len(set(self.names)) != len(self.names):
            raise DisbenchError(f"factor names must differ from each other; got {', '.join(self.names)}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the factors, slowest first."""
        return tuple(f.name for f in self.factors)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each factor."""
        return tuple(f.size for f in self.factors)

    @property
    def n_factors(self) -> int:
        """Number of factors, k."""
        return len(self.factors)

    @property
    def varying(self) -> Tensor:
        """int64: positions of the factors that take more than one value."""
        return torch.tensor([k for k, size in enumerate(self.sizes) if size > 1], dtype=torch.int64)

    def __len__(self) -> int:
        return math.prod(self.sizes)

    @cached_property
    def strides(self) -> Tensor:
        """int64 (k,): how far the index moves when a factor's value grows by one."""
        sizes = torch.tensor((*self.sizes[1:], 1), device="cpu")
        return sizes.flip(0).cumprod(0).flip(0)

    def index(self, values: Factors) -> Indices:
        """Indices (...) of factor values (..., k).

        Raises:
            DisbenchError: a value is outside its factor's range.
        """
        if values.shape[-1] != self.n_factors:
            raise DisbenchError(f"expected {self.n_factors} factor values in the last axis, got {values.shape[-1]}.")
        index = torch.zeros(values.shape[:-1], dtype=torch.int64, device=values.device)
        for column, size, stride in zip(values.unbind(-1), self.sizes, self.strides.tolist(), strict=True):
            if column.numel() and not 0 <= int(column.min()) <= int(column.max()) < size:
                raise DisbenchError(f"factor values must lie in 0 ... size-1; the sizes are {self.sizes}.")
            index.add_(column.long(), alpha=stride)
        return index

    def values(self, index: Indices) -> Factors:
        """Factor values (..., k) of indices (...).

        Raises:
            DisbenchError: an index is outside 0 ... len-1.
        """
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise DisbenchError(f"indices must lie in 0 ... {len(self) - 1}.")
        sizes = torch.tensor(self.sizes, device=index.device)
        return index.unsqueeze(-1) // self.strides.to(index.device) % sizes

    def draw(self, shape: int | tuple[int, ...], generator: Generator) -> Factors:
        """Factor values (*shape, k), each factor uniform and independent."""
        shape = (shape,) if isinstance(shape, int) else shape
        columns = torch.empty((self.n_factors, *shape), dtype=torch.int64, device="cpu")
        for column, size in zip(columns, self.sizes, strict=True):
            torch.randint(size, shape, generator=generator, out=column)
        return columns.movedim(0, -1)

    def sample(self, n: int, generator: Generator) -> tuple[Indices, Factors]:
        """Images (n,), uniform and independent, and their factors (n, k)."""
        values = self.draw(n, generator)
        return self.index(values), values

    def draw_fixed(self, n_groups: int, group_size: int, generator: Generator) -> tuple[Factors, Tensor]:
        """Groups that share the value of one factor, every other factor uniform.

        The shared factor is drawn anew for each group from the factors that take more than one value (the first factor
        where none does).

        Returns:
            values (n_groups, group_size, k), and the position (n_groups,) of the factor that each group shares.
        """
        varying = self.varying if len(self.varying) else torch.tensor([0])
        fixed = varying[torch.randint(len(varying), (n_groups,), generator=generator)]
        values = self.draw((n_groups, group_size), generator)
        groups = torch.arange(n_groups)
        values[groups, :, fixed] = values[groups, :1, fixed]
        return values, fixed


@dataclass(frozen=True)
class Labels(FactorSpace):
    """The labels of given images in place of every combination: what can be drawn is the images that there are."""

    table: Factors  # int64 (n, k)

    def sample(self, n: int, generator: Generator) -> tuple[Indices, Factors]:
        """Images (n,), uniform and independent, and their labels (n, k)."""
        index = torch.randint(len(self.table), (n,), generator=generator)
        return index, self.table[index]

    def draw(self, shape: int | tuple[int, ...], generator: Generator) -> Factors:  # noqa: ARG002
        """Refused: not every combination has an image."""
        raise DisbenchError(
            "labelled data has no image for every combination of its factors; only samples can be drawn."
        )


@dataclass(frozen=True)
class DatasetSpec:
    """What a data set is, apart from its images.

    A grid holds every combination of its factors exactly once, in index order; labelled data only has labels.

    Some grids hide factors: the instance of a SmallNORB toy, the colour of a coloured dSprites. Then `n_hidden` images
    share each combination: image i has the factors of number i % len(space), and i // len(space) says which it is.

    Args:
        name: in the registry and in records.
        summary: one line.
        space: the factors; of labelled data, the labels.
        image_shape: of one observation, the channel last: (h, w, c) of images, (length, c) of signals.
        licence: of the images.
        citation: BibTeX.
        homepage: of its authors.
        kind: grid or labelled.
        known_defects: what a user should know before trusting a number measured on it, a sentence each.
        n_hidden: how many images share each combination of a grid's factors.
        dtype: of what it serves: bytes, or floats that reach the model as they are.
        made_on: `any` if images(index) are made on the device of the index; else they, and the index, are on the CPU.
    """

    name: str
    summary: str
    space: FactorSpace
    image_shape: tuple[int, ...]
    licence: str
    citation: str
    homepage: str
    kind: Literal["grid", "labelled"] = "grid"
    known_defects: tuple[str, ...] = ()
    n_hidden: int = 1
    dtype: Literal["uint8", "float32"] = "uint8"
    made_on: Literal["cpu", "any"] = "cpu"

    @property
    def n_images(self) -> int:
        """Number of images of a grid."""
        return len(self.space) * self.n_hidden

    def values(self, index: Indices) -> Factors:
        """Factor values (..., k) of a grid's images (...).

        Raises:
            DisbenchError: an index is outside 0 ... n_images-1.
        """
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < self.n_images:
            raise DisbenchError(f"indices of {self.name} must lie in 0 ... {self.n_images - 1}.")
        return self.space.values(index % len(self.space))

    def with_hidden(self, index: Indices, generator: Generator) -> Indices:
        """Images whose factors are those of combinations (...), what the grid hides drawn anew for each."""
        if self.n_hidden == 1:
            return index
        return index + len(self.space) * torch.randint(self.n_hidden, index.shape, generator=generator)


class Dataset(Protocol):
    """Images (or other observations) with ground-truth factors."""

    @property
    def spec(self) -> DatasetSpec:
        """Name, factors, image shape, licence and so on."""

    @property
    def content_hash(self) -> str:
        """sha256 that tells this data from any other; of generated images, over a fixed sample of them."""

    def __len__(self) -> int: ...

    def factors(self, index: Indices) -> Factors:
        """Factor values (n, k) of images (n,)."""

    def images(self, index: Indices) -> Pixels:
        """Images (n,), each of the shape and type that the specification names."""


@dataclass(frozen=True)
class Draw:
    """The images that a metric asks for, in named parts, with the labels it needs.

    As `Metric.draw` returns it, indices point into a data set; as `Metric.score` receives it, into the rows of the
    table of codes.

    Args:
        indices: part name -> int64 of any shape.
        labels: part name -> int64: factor values (n, k) or whatever the metric wrote there.
        factor_names: names of the k factors, for messages.
        seed: for whatever `score` fits.
    """

    indices: Mapping[str, Indices]
    labels: Mapping[str, Tensor]
    factor_names: tuple[str, ...]
    seed: int = 0

    def mapped(self, rows: Callable[[Indices], Indices]) -> Draw:
        """The same draw with indices of the data set turned into rows of a table."""
        return replace(self, indices={part: rows(index) for part, index in self.indices.items()})

    def to(self, device: torch.device) -> Draw:
        """The same draw with its tensors on a device."""
        labels = {part: values.to(device) for part, values in self.labels.items()}
        return replace(self.mapped(lambda index: index.to(device)), labels=labels)

    @staticmethod
    def of_samples(space: FactorSpace, sizes: Mapping[str, int], generator: Generator) -> Draw:
        """Parts of independent uniform samples, `sizes` giving the number in each; labels are factor values."""
        drawn = {part: space.sample(n, generator) for part, n in sizes.items()}
        indices, labels = ({part: pair[i] for part, pair in drawn.items()} for i in (0, 1))
        return Draw(indices, labels, space.names, draw_seed(generator))

    @staticmethod
    def of_rows(
        factors: Factors, test_factors: Factors | None = None, *, names: tuple[str, ...] = (), seed: int = 0
    ) -> Draw:
        """Every given row once, in order: the part `train`, then, behind it in the table of codes, `test`."""
        labels = {"train": factors} | ({} if test_factors is None else {"test": test_factors})
        indices = {"train": torch.arange(len(factors))}
        if test_factors is not None:
            indices["test"] = torch.arange(len(factors), len(factors) + len(test_factors))
        return Draw(indices, labels, names or tuple(str(k) for k in range(factors.shape[1])), seed)


def draw_seed(generator: Generator) -> int:
    """A seed in 0 ... 2**31-1 for a library that wants an integer."""
    return int(torch.randint(2**31, (), generator=generator))


def single_valued(factors: Factors, names: tuple[str, ...]) -> str:
    """Names of the factors that take one value only in (n, k), for a message; empty if there are none."""
    constant = (factors == factors[0]).all(0).tolist()
    return ", ".join(f"factor {name!r}" for name, is_constant in zip(names, constant, strict=True) if is_constant)


@dataclass(frozen=True)
class Score:
    """What a metric found: its values by name, the reason for each that is undefined, and the matrices behind them.

    `values` and `undefined` together name every value of the metric, each exactly once; both are empty where
    `not_applicable` says why the metric could not run at all.
    """

    values: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)
    not_applicable: str = ""


# What should not move a score; `disbench.testing.check_metric` tries each.
INVARIANCES = frozenset({"permuting samples", "permuting codes", "scaling codes", "adding a dead code"})


@dataclass(frozen=True)
class ValueSpec:
    """One number a metric reports: METRIC or METRIC.VALUE, its range and direction, and what must not move it."""

    name: str
    meaning: str
    low: float = 0.0
    high: float = 1.0
    direction: Literal["higher", "lower"] = "higher"
    invariant_to: frozenset[str] = INVARIANCES


@dataclass(frozen=True, kw_only=True)
class AnyMetric:
    """What the registry knows of every metric.

    Args:
        name: file name, function name and registry name.
        version: raised whenever the same input would give another number.
        values: the numbers it reports.
        settings: a frozen dataclass, all fields with defaults.
        needs: what there must be for it to be computed; see the classes below.
        citation: BibTeX of the paper that defines it.
        draw_settings: names of the settings that only `draw` reads: they mean nothing where rows are given.
    """

    name: str
    version: int
    values: tuple[ValueSpec, ...]
    settings: type
    needs: str
    citation: str
    draw_settings: frozenset[str] = frozenset()

    def check_score(self, score: Score) -> None:
        """Check that every value is there or undefined with a reason, and that numbers lie in their range.

        Raises:
            DisbenchError: the metric breaks its own promise.
        """
        for spec in self.values:
            value = score.values.get(spec.name)
            if (value is None) != (spec.name in score.undefined):
                raise DisbenchError(f"the metric {self.name} gave no number and no reason, or both, for {spec.name}.")
            if value is not None and not spec.low - 1e-9 <= value <= spec.high + 1e-9:  # NaN fails this, too
                raise DisbenchError(
                    f"the metric {self.name} gave {value} for {spec.name}, outside {spec.low:g} ... {spec.high:g}."
                )


@dataclass(frozen=True, kw_only=True)
class Metric(AnyMetric):
    """A metric on codes.

    Args:
        needs: `samples` (any labelled rows do), `attributes` (every label has two values at most), `interventions` (a
            factor must be held fixed: grids only) or `models` (several models are compared, so there is a plain
            function only: neither draw nor score is ever called).
        draw: (space, settings, generator) -> Draw into the data set.
        score: (codes (m, d), Draw into codes, settings) -> Score.
        tolerance: how far a value may move under what it is invariant to (ties in fitted models).
        takes_tokens: whether `score` makes codes of tokens itself, by its settings: where a model returns tokens and
            the user names no reducer, it receives them as they are, float32 (m, t, e).
    """

    needs: Literal["samples", "attributes", "interventions", "models"]
    draw: Callable[[FactorSpace, Any, Generator], Draw]
    score: Callable[[Codes | Tokens, Draw, Any], Score]
    tolerance: float = 1e-9
    takes_tokens: bool = False

    def variant(self, name: str, settings: type, without: frozenset[str] = frozenset()) -> Metric:
        """The same procedure with other settings, under the name METRIC@NAME; its values are renamed alike.

        `without` names the invariances that are lost with these settings.
        """
        full = f"{self.name}@{name}"

        def score(codes: Codes, draw: Draw, settings: Any) -> Score:
            return _renamed(self.score(codes, draw, settings), self.name, full)

        values = tuple(replace(v, invariant_to=v.invariant_to - without) for v in _values_of(self, name))
        return replace(self, name=full, values=values, settings=settings, score=score)


@dataclass(frozen=True, kw_only=True)
class PairMetric(AnyMetric):
    """A metric on images and what a model's `decode` makes of their codes, pair by pair.

    It has one value, the mean over pairs, and its settings have `num_images`.

    Args:
        needs: `reconstructions`.
        observe: (images (n, c, h, w), reconstructions likewise, settings) -> float64 (n,), a number a pair. Called
            batch by batch. Raises NotApplicable where such images cannot be compared.
        missing: what this machine lacks to compute it, a sentence that says what to do; empty if nothing.
    """

    needs: Literal["reconstructions"] = "reconstructions"
    observe: Callable[[Images, Images, Any], Tensor]
    missing: Callable[[], str] = lambda: ""

    def score(self, observed: Tensor) -> Score:
        """The mean of a number per pair (n,); undefined where one of them is infinite."""
        if n_infinite := int((~torch.isfinite(observed)).sum()):
            reason = f"it is infinite for {n_infinite:,} of {len(observed):,} pairs, which are equal"
            return Score({}, undefined={self.name: reason})
        details = {"std_over_images": observed.std(correction=0).item(), "num_images": len(observed)}
        return Score({self.name: observed.mean().item()}, details)


@dataclass(frozen=True, kw_only=True)
class FeatureMetric(AnyMetric):
    """A metric on two sets of images, real and made, seen through the features that a network finds in them.

    Its settings have `num_images`, of each set, and `features`, the extractor (`disbench.features`).

    Args:
        needs: `reconstructions` (of the very images that they are compared with) or `generation`.
        score: (Features of real images, of made ones, settings, seed) -> Score.
        keeps_rows: whether `score` reads every image's features, not only their statistics.
    """

    needs: Literal["reconstructions", "generation"]
    score: Callable[[Features, Features, Any, int], Score]
    keeps_rows: bool = False

    def variant(self, name: str, settings: type) -> FeatureMetric:
        """The same procedure with other settings, under the name METRIC@NAME; its values are renamed alike."""
        full = f"{self.name}@{name}"

        def score(real: Features, made: Features, settings: Any, seed: int) -> Score:
            return _renamed(self.score(real, made, settings, seed), self.name, full)

        return replace(self, name=full, values=_values_of(self, name), settings=settings, score=score)


def _values_of(metric: AnyMetric, variant: str) -> tuple[ValueSpec, ...]:
    """A variant's values: the metric's under other names."""
    full = f"{metric.name}@{variant}"
    return tuple(
        replace(v, name=full + v.name.removeprefix(metric.name), meaning=f"{v.meaning} (as {variant} has it)")
        for v in metric.values
    )


def _renamed(score: Score, name: str, full: str) -> Score:
    def renamed(found: Mapping[str, T]) -> dict[str, T]:
        return {full + key.removeprefix(name): value for key, value in found.items()}

    return replace(score, values=renamed(score.values), undefined=renamed(score.undefined))


class Representation(Protocol):
    """Anything that turns images into codes or tokens."""

    def __call__(self, images: Images) -> Codes | Tokens:
        """Codes (n, d) or tokens (n, t, e) of images (n, c, h, w)."""
