"""Compare two sets of images through the features that a network finds in them: FID and its kin."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from disbench import records, registry
from disbench.errors import DisbenchError, UsageError, did_you_mean
from disbench.extractors import (
    DEFAULT,
    Extractor,
    find_features,
    index_digest,
    load_extractor,
    missing,
    reference_features,
    variant_of,
)
from disbench.features import Features, Statistics
from disbench.files import replacing
from disbench.image_report import ComparedSet, ImageComparison
from disbench.image_sets import ImageSet, ImageSource, StatisticsFile, open_images
from disbench.settings import override
from disbench.types import AnyMetric, FeatureMetric, Indices, Score

OTHERWISE = (
    "Or name the file, --weights FILE, or its folder, --data-dir; or another network, --features FILE.py:CALLABLE."
)
_NOT_SET = {"num_images": "--num-images N", "features": "--features NAME"}  # settings that are said once for all


def compare_images(
    real: ImageSource,
    fake: ImageSource,
    *,
    metrics: Iterable[str] | str = "fid",
    settings: Mapping[str, Any] | None = None,
    features: Any = None,
    weights: str | Path | None = None,
    num_images: int | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    trust: bool = False,
    save_statistics: str | Path | None = None,
    command: str = "",
    progress: bool = False,
) -> ImageComparison:
    """Compare two sets of images through the features that a network finds in them.

    Args:
        real: the reference: a folder of pictures, an npz file, an array uint8 (n, h, w, c), the name of a data set or a
            Dataset, or, where only statistics are needed (FID), an npz file of statistics; see
            `disbench.image_sets.open_images`.
        fake: what is judged; likewise. Images of both sets have the same size.
        metrics: metrics on features, a list or separated by commas: fid, kid, precision_recall, density_coverage.
        settings: changes to their settings, as `{"kid.subset_size": 500}`.
        features: the extractor, see `disbench.extractors.load_extractor`; by default what the metrics name: Inception.
            Through `inception@disdiff`, fid is reported as fid@disdiff.
        weights: file of Inception's weights other than the published one.
        num_images: compare so many different images of each set, drawn at random; by default all. Of two sets of the
            same size, those at the same places are drawn.
        seed: of that draw, and of what the metrics draw.
        data_dir: folder with files of data sets and weights.
        device: where features are found; by default where a module is, a GPU for Inception if there is one.
        batch_size: images a call; by default 32 on a CPU, 256 on a GPU.
        trust: load archives that can run code.
        save_statistics: file for the statistics of the reference (npz: mu, sigma, n, features).
        command: recorded.
        progress: show bars on stderr.

    Returns:
        An ImageComparison; `comparison.scores["fid"]`.

    Raises:
        UsageError: an unknown name or setting, a missing file, fewer images than asked for.
        DisbenchError: images, features or statistics are not usable, or do not belong together.
    """
    tasks = _tasks(metrics, settings or {})
    source = _source(tasks, features)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"the batch size must be at least 1; got {batch_size}.")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise UsageError(f"there is no folder {data_dir}, in which files of data sets or weights should be.")
    if save_statistics is not None:
        _check_is_no_input(Path(save_statistics), (real, fake, weights, str(features).partition(":")[0]))
    real, fake = open_images(real, data_dir), open_images(fake, data_dir)
    sides = {"real": real, "fake": fake}
    _check_sets(sides, [metric.name for metric, _ in tasks if metric.keeps_rows], save_statistics)
    indices = {side: s.draw(num_images, seed) if isinstance(s, ImageSet) else None for side, s in sides.items()}
    clock: dict[str, float] = {}
    with _file(save_statistics) as file:
        extractor = None
        if isinstance(real, ImageSet) or isinstance(fake, ImageSet):
            if weights is None and (lack := missing(source, data_dir)):
                raise UsageError(f"{lack} {OTHERWISE}")
            extractor = load_extractor(source, weights=weights, device=device, data_dir=data_dir, trust=trust)
        found = {}
        for side, images in sides.items():
            find = partial(
                reference_features if side == "real" else find_features,
                keep_rows=any(metric.keeps_rows for metric, _ in tasks),
                batch_size=batch_size,
                progress=progress,
            )
            with _timed(clock, side):
                found[side] = _features_of(images, indices[side], extractor, find)
        _check_comparable(sides, found)
        if file is not None:
            found["real"].statistics.save(file)
    if progress and save_statistics is not None:
        print(f"disbench: the statistics of {real.name} are in {save_statistics}.", file=sys.stderr)
    name = extractor.name if extractor is not None else found["real"].statistics.extractor or "not known"
    tasks = [(_under_its_name(metric, variant_of(name)), chosen) for metric, chosen in tasks]
    with _timed(clock, "score"):
        scores = {metric.name: _score(metric, found["real"], found["fake"], chosen, seed) for metric, chosen in tasks}
    return ImageComparison(
        _described(real, indices["real"], found["real"]),
        _described(fake, indices["fake"], found["fake"]),
        features=name,
        features_hash=extractor.content_hash if extractor is not None else None,
        seed=seed,
        metrics={m.name: {"version": m.version, "settings": _without_images(asdict(s))} for m, s in tasks},
        specs={spec.name: spec for metric, _ in tasks for spec in metric.values},
        found=scores,
        run=records.run_info(str(extractor.device) if extractor is not None else "cpu", clock, command),
    )


def _features_of(
    images: ImageSet | StatisticsFile, index: Indices | None, extractor: Extractor | None, find: Callable[..., Features]
) -> Features:
    """What is found in images, or in their file of statistics.

    Statistics that do not say which features they are of are taken for the extractor's, which is said on stderr.
    """
    if isinstance(images, ImageSet):
        return find(images, index, extractor)
    found = Statistics.load(images.path)
    if extractor is not None and not found.extractor:
        print(
            f"disbench: {images.name} does not say which features its statistics are of; they are taken for those of "
            f"{extractor.name}.",
            file=sys.stderr,
        )
    return Features(found)


def _tasks(metrics: Iterable[str] | str, changes: Mapping[str, Any]) -> list[tuple[FeatureMetric, Any]]:
    """The metrics asked for and their settings."""
    names = [name.strip() for name in (metrics.split(",") if isinstance(metrics, str) else metrics) if name.strip()]
    everything: Mapping[str, AnyMetric] = registry.metrics()
    known = {name: metric for name, metric in everything.items() if isinstance(metric, FeatureMetric)}
    if not names:
        raise UsageError(f"no metric was asked for; {did_you_mean('', known)}")
    chosen = {name: registry.pick("metric on features", name, known) for name in dict.fromkeys(names)}
    own: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    for path, value in changes.items():
        owner, dot, setting = path.partition(".")
        if not dot:
            raise UsageError(f"{path!r} names no setting; expected METRIC.SETTING, as in kid.subset_size.")
        if owner not in own:
            raise UsageError(f"{path!r} sets a metric that does not run here; name it in --metrics, too.")
        if setting in _NOT_SET:
            raise UsageError(f"{path} is the same for all metrics here; say {_NOT_SET[setting]}.")
        own[owner][setting] = value
    return [(metric, override(metric.settings(), own[name], prefix=name + ".")) for name, metric in chosen.items()]


def _source(tasks: list[tuple[FeatureMetric, Any]], features: Any) -> Any:
    """What the metrics look through: what is given, or what they name themselves."""
    named = {metric.name: settings.features for metric, settings in tasks}
    if len({*named.values()}) > 1:
        each = ", ".join(f"{name} through {source}" for name, source in named.items())
        raise UsageError(f"one run looks through one extractor, and these differ: {each}. Run them one by one.")
    name, own = next(iter(named.items()))
    if features not in (None, own) and own != DEFAULT:
        raise UsageError(f"{name} looks through {own}; leave the features {features!s} out, or ask for another metric.")
    return own if features is None else features


def _under_its_name(metric: FeatureMetric, variant: str) -> FeatureMetric:
    """The metric as it is called where images reach the extractor in another way than is usual."""
    bound = metric.name.partition("@")[2]
    if bound and bound != variant:
        raise UsageError(
            f"{metric.name} is not computed from such statistics; ask for {metric.name.partition('@')[0]}."
        )
    if bound or not variant:
        return metric
    known: AnyMetric | None = registry.metrics().get(f"{metric.name}@{variant}")
    return known if isinstance(known, FeatureMetric) else metric.variant(variant, metric.settings)


def _score(metric: FeatureMetric, real: Features, fake: Features, settings: Any, seed: int) -> Score:
    score = metric.score(real, fake, settings, seed)
    if score.not_applicable:
        score = Score({}, score.details, {spec.name: score.not_applicable for spec in metric.values})
    metric.check_score(score)
    return score


def _check_sets(
    sides: Mapping[str, ImageSet | StatisticsFile], row_metrics: list[str], save_statistics: str | Path | None
) -> None:
    """Check what can be known of two sets before any work."""
    for images in sides.values():
        if isinstance(images, StatisticsFile) and row_metrics:
            raise UsageError(
                f"{row_metrics[0]} looks at the features of every image, and {images.name} holds their statistics "
                "only; give the images."
            )
    real, fake = sides["real"], sides["fake"]
    if isinstance(real, StatisticsFile) and save_statistics is not None:
        raise UsageError(f"{real.name} holds statistics already; there are none to be saved.")
    if isinstance(real, StatisticsFile) or isinstance(fake, StatisticsFile):
        return
    if real.shape[:2] != fake.shape[:2]:
        sizes = [f"{s.shape[1]} x {s.shape[0]}" for s in (real, fake)]
        raise DisbenchError(
            f"images of {real.name} are {sizes[0]} pixels and those of {fake.name} {sizes[1]}: they are compared as "
            "they are. Resize one set to the size of the other first, both by the same rule."
        )
    if real.shape[2] != fake.shape[2]:
        kinds = ["grey" if s.shape[2] == 1 else "in colour" for s in (real, fake)]
        raise DisbenchError(
            f"images of {real.name} are {kinds[0]} and those of {fake.name} {kinds[1]}; compare sets of one kind."
        )


def _check_comparable(sides: Mapping[str, ImageSet | StatisticsFile], found: Mapping[str, Features]) -> None:
    """Check that both sets have the same features; only files of statistics can make a difference."""
    (real, fake), (one, other) = sides.values(), (features.statistics for features in found.values())
    if one.extractor and other.extractor and one.extractor != other.extractor:
        raise DisbenchError(
            f"the features of {real.name} are {one.extractor}, and those of {fake.name} {other.extractor}; they cannot "
            "be compared. Use one extractor for both; --save-statistics makes a file of statistics again."
        )
    if len(one.mean) != len(other.mean):
        raise DisbenchError(
            f"{real.name} has {len(one.mean):,} features per image and {fake.name} {len(other.mean):,}; they cannot be "
            "compared. Use one extractor for both."
        )


def _check_is_no_input(path: Path, inputs: Iterable[Any]) -> None:
    """Check that a file to be written takes the place of nothing but statistics, and not of those that are read.

    Raises:
        UsageError: it does.
    """
    for given in inputs:
        if isinstance(given, str | Path) and Path(given).is_file() and Path(given).resolve() == path.resolve():
            raise UsageError(f"{path} is read; the statistics go to another file.")
    if path.is_file():
        try:
            Statistics.load(path)
        except DisbenchError:
            raise UsageError(f"{path} is there already and holds no statistics; name another file.") from None


def _described(images: ImageSet | StatisticsFile, index: Indices | None, found: Features) -> ComparedSet:
    n = found.statistics.n
    if isinstance(images, StatisticsFile) or index is None:
        return ComparedSet(images.name, n, n, (), images.content_hash, "")
    return ComparedSet(images.name, n, len(images), images.shape, images.content_hash, index_digest(index))


def _without_images(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without what is recorded for both sets together."""
    return {name: value for name, value in settings.items() if name not in _NOT_SET}


@contextlib.contextmanager
def _file(path: str | Path | None) -> Iterator[BinaryIO | None]:
    with contextlib.ExitStack() as stack:
        yield None if path is None else stack.enter_context(replacing(path))


@contextlib.contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - start
