"""What our own tests run on every metric, data set and representation, for third parties to run on theirs.

    from disbench.testing import check_metric
    def test_my_metric():
        check_metric(my_metric.METRIC, settings={"num_train": 200})

Each check raises AssertionError with a sentence that says what is missing or wrong.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from disbench.encode import Encoder
from disbench.features import Collector, Features
from disbench.images import check_pixels
from disbench.models import load_model, pick_device
from disbench.settings import override
from disbench.types import (
    INVARIANCES,
    AnyMetric,
    Codes,
    Dataset,
    DatasetSpec,
    Draw,
    Factor,
    FactorSpace,
    FeatureMetric,
    Labels,
    Metric,
    PairMetric,
    Score,
)

NEEDS = ("samples", "attributes", "interventions", "models", "reconstructions", "generation")
SECTIONS = ("Args:", "Returns:", "Undefined when:", "Source:", "Matches:", "Differs from:")
SPACE = FactorSpace((Factor("a", 6), Factor("b", 5), Factor("c", 8)))


def _attributes() -> Labels:
    """Labels of 240 images: two attributes that know much of each other, two that are alone, one of them rare."""
    generator = Generator().manual_seed(0)
    a, b, c = (torch.rand(3, 240, generator=generator) < torch.tensor([[0.5], [0.4], [0.1]])).long()
    almost_a = a ^ (torch.rand(240, generator=generator) < 0.1).long()
    factors = tuple(Factor(name, 2) for name in "abcd")
    return Labels(factors, torch.stack([a, b, c, almost_a], dim=1))


ATTRIBUTES = _attributes()

Transform = Callable[[Codes, Draw, Generator], tuple[Codes, Draw]]


def _permute_samples(codes: Codes, draw: Draw, generator: Generator) -> tuple[Codes, Draw]:
    order = {part: torch.randperm(len(index), generator=generator) for part, index in draw.indices.items()}
    indices = {part: index[order[part]] for part, index in draw.indices.items()}
    labels = {part: values[order[part]] if part in order else values for part, values in draw.labels.items()}
    return codes, dataclasses.replace(draw, indices=indices, labels=labels)


def _permute_codes(codes: Codes, draw: Draw, generator: Generator) -> tuple[Codes, Draw]:
    return codes[:, torch.randperm(codes.shape[1], generator=generator)], draw


def _scale_codes(codes: Codes, draw: Draw, generator: Generator) -> tuple[Codes, Draw]:
    """By powers of two, so that rounding has no part in it."""
    return codes * 2.0 ** torch.randint(-8, 9, (codes.shape[1],), generator=generator), draw


def _add_dead_code(codes: Codes, draw: Draw, generator: Generator) -> tuple[Codes, Draw]:
    at = int(torch.randint(codes.shape[1] + 1, (), generator=generator))
    return torch.cat([codes[:, :at], torch.zeros(len(codes), 1).to(codes), codes[:, at:]], dim=1), draw


TRANSFORMS: Mapping[str, Transform] = {
    "permuting samples": _permute_samples,
    "permuting codes": _permute_codes,
    "scaling codes": _scale_codes,
    "adding a dead code": _add_dead_code,
}


def check_metric(metric: AnyMetric, settings: Mapping[str, Any] | None = None, seed: int = 0) -> None:
    """Check a metric's specification, its docstring, and that its functions keep their promises.

    Args:
        metric: the module's METRIC.
        settings: changes that make it small enough for a test.
        seed: of what it is tried on.
    """
    _check_metric_spec(metric)
    sizes = override(metric.settings(), settings or {})
    if isinstance(metric, PairMetric):
        _check_pairs(metric, sizes, seed)
    elif isinstance(metric, FeatureMetric):
        _check_features(metric, sizes, seed)
    elif isinstance(metric, Metric) and metric.needs != "models":
        _check_on_codes(metric, sizes, seed)


def _check_on_codes(metric: Metric, sizes: Any, seed: int) -> None:
    space = space_for(metric)
    draws = [metric.draw(space, sizes, Generator().manual_seed(seed)) for _ in range(2)]
    codes = codes_of_space(seed, space)
    for part, index in draws[0].indices.items():
        assert index.dtype == torch.int64, f"{metric.name}: indices of part {part!r} are {index.dtype}, not int64"
        assert 0 <= int(index.min()) <= int(index.max()) < len(codes), f"{metric.name}: part {part!r} leaves the space"
        assert torch.equal(index, draws[1].indices[part]), f"{metric.name}: the same generator gave another draw"
    check_score(metric, codes, draws[0], sizes, seed)


def _check_pairs(metric: PairMetric, settings: Any, seed: int) -> None:
    assert len(metric.values) == 1, f"{metric.name} has {len(metric.values)} values; the mean over pairs is one"
    assert hasattr(settings, "num_images"), f"{metric.name}: the settings lack num_images"
    if metric.missing():
        return
    images, made = torch.rand(2, 6, 3, 32, 32, generator=Generator().manual_seed(seed))
    observed = metric.observe(images, made, settings)
    assert observed.dtype == torch.float64, f"{metric.name} observes {observed.dtype}, not float64"
    assert observed.shape == (6,), f"{metric.name} observes {tuple(observed.shape)} of 6 pairs, not a number a pair"
    parts = [metric.observe(*pair, settings) for pair in zip(images.split(4), made.split(4), strict=True)]
    assert torch.allclose(torch.cat(parts), observed), f"{metric.name}: a pair's number depends on those beside it"
    metric.check_score(Score({metric.name: observed.mean().item()}))


def _check_features(metric: FeatureMetric, settings: Any, seed: int) -> None:
    for name in ("num_images", "features"):
        assert hasattr(settings, name), f"{metric.name}: the settings lack {name}"
    generator = Generator().manual_seed(seed)
    real, made = torch.randn(80, 6, generator=generator), 1 + torch.randn(90, 6, generator=generator)
    found = metric.score(_features(real, metric), _features(made, metric), settings, seed)
    metric.check_score(found)
    shuffled = made[torch.randperm(90, generator=generator)]
    other = metric.score(_features(real, metric), _features(shuffled, metric), settings, seed)
    for value in metric.values:
        if value.name in found.values and "permuting samples" in value.invariant_to:
            moved = abs(other.values[value.name] - found.values[value.name])
            assert moved <= 1e-9, f"permuting the images moves {value.name} by {moved}"


def _features(rows: Tensor, metric: FeatureMetric) -> Features:
    collector = Collector(keep_rows=metric.keeps_rows)
    collector.add(rows)
    return collector.features()


def space_for(metric: Metric) -> FactorSpace:
    """What `check_metric` tries a metric on: SPACE, or labels of two values if it needs them."""
    return ATTRIBUTES if metric.needs == "attributes" else SPACE


def codes_of_space(seed: int, space: FactorSpace = SPACE) -> Codes:
    """A table of codes for a space: two factors in one code each, mixed and noisy ones beside them."""
    generator = Generator().manual_seed(seed)
    table = space.table if isinstance(space, Labels) else space.values(torch.arange(len(space)))
    values = table.float()
    mix = torch.randn(space.n_factors, 3, generator=generator)
    codes = torch.cat([values[:, :2], values @ mix], dim=1)
    return 2 * codes + torch.randn(codes.shape, generator=generator)


def check_score(metric: Metric, codes: Codes, draw: Draw, settings: Any, seed: int = 0) -> None:
    """Check that every value is there, within its range or undefined with a reason, and not moved by what may not."""
    found = metric.score(codes, draw, settings)
    metric.check_score(found)
    assert all(found.undefined.values()), f"{metric.name}: a value is undefined without a reason"
    for value in metric.values:
        if value.name not in found.values:
            continue
        number = found.values[value.name]
        assert isinstance(number, float), f"{value.name} is of type {type(number).__name__}, not float"
        for change in sorted(value.invariant_to):
            other = metric.score(*TRANSFORMS[change](codes, draw, Generator().manual_seed(seed)), settings)
            moved = other.values.get(value.name, float("nan"))
            assert abs(moved - number) <= metric.tolerance, f"{change} moves {value.name} from {number} to {moved}"


def _check_metric_spec(metric: AnyMetric) -> None:
    name, function = metric.name, metric.name.partition("@")[0]
    assert function.isidentifier(), f"{function!r} cannot be a function's name"
    assert metric.version >= 1, f"{name}: versions start at 1"
    assert metric.citation.startswith("@"), f"{name}: the citation is not BibTeX"
    assert metric.needs in NEEDS, f"{name}: needs {metric.needs!r} is none of {', '.join(NEEDS)}"
    assert metric.values, f"{name} has no values"
    for value in metric.values:
        assert value.name == name or value.name.startswith(f"{name}."), f"{value.name} is not METRIC or METRIC.VALUE"
        assert value.meaning, f"{value.name} does not say what it means"
        assert value.low < value.high, f"{value.name} has an empty range"
        assert value.invariant_to <= INVARIANCES, f"{value.name} names an unknown invariance"
    assert dataclasses.is_dataclass(metric.settings), f"{name}: settings are not a dataclass"
    metric.settings()  # every field has a default
    module = sys.modules[metric.settings.__module__]
    plain = getattr(module, function, None)
    assert callable(plain), f"{module.__name__} lacks the plain function {function}()"
    text = inspect.getdoc(plain) or ""
    missing = [section for section in SECTIONS if section not in text]
    assert not missing, f"the docstring of {function}() lacks {', '.join(missing)}"


def check_dataset(dataset: Dataset, n_images: int = 64) -> None:
    """Check a data set's specification, the shape and type of what it serves, and that an index is one image."""
    spec = dataset.spec
    check_dataset_spec(spec)
    if spec.kind == "grid":
        assert len(dataset) == spec.n_images, f"{spec.name} has {len(dataset)} images; its factors make {spec.n_images}"
    index = torch.randint(len(dataset), (n_images,), generator=Generator().manual_seed(0))
    factors, images = dataset.factors(index), dataset.images(index)
    assert factors.dtype == torch.int64, f"{spec.name}: factors are {factors.dtype}, not int64"
    assert factors.shape == (n_images, spec.space.n_factors), f"{spec.name}: factors have shape {tuple(factors.shape)}"
    if spec.kind == "grid":
        combination = index % len(spec.space)
        assert torch.equal(spec.space.index(factors), combination), (
            f"{spec.name}: factors do not lead back to the index"
        )
    check_pixels(images, index, spec)
    singles = [dataset.images(index[i : i + 1]) for i in range(n_images)]
    for i, single in enumerate(singles):
        check_pixels(single, index[i : i + 1], spec)
    one_by_one = torch.cat(singles)
    assert torch.equal(one_by_one, images), f"{spec.name}: an image depends on the others asked for with it"
    assert len(dataset.content_hash) == 64, f"{spec.name}: the content hash is not a sha256"


def check_dataset_spec(spec: DatasetSpec) -> None:
    """Check that a specification says all that it should, files or no files."""
    for field in ("name", "summary", "licence", "citation", "homepage"):
        assert getattr(spec, field), f"{spec.name}: the specification lacks {field}"
    assert spec.citation.startswith("@"), f"{spec.name}: the citation is not BibTeX"


def check_representation(model: Any, dataset: Dataset, n_images: int = 64, **options: Any) -> None:
    """Check that a model can be scored: codes, or tokens, of the right shape, finite, and independent of the batch.

    Args:
        model: whatever `disbench.evaluate` takes.
        dataset: serves the images.
        n_images: how many to try.
        options: of `disbench.load_model`.

    Raises:
        DisbenchError: what `evaluate` would raise, too.
    """
    loaded = load_model(model, **options)
    index = torch.randint(len(dataset), (n_images,), generator=Generator().manual_seed(0)).unique()
    loaded = loaded.fitted(dataset)
    encoder = Encoder(loaded, dataset, pick_device(loaded, None))
    codes = encoder.tokens(index.sort().values) if encoder.returns_tokens() else encoder.table(index)
    assert codes.shape[0] == len(index), "a row of codes is missing"
