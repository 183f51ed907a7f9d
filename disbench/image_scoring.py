"""Score the images that a model makes, reconstructions and samples: pair by pair, or by their features."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from disbench import extractors
from disbench.errors import DisbenchError, UsageError
from disbench.extractors import Extractor
from disbench.features import Collector
from disbench.image_sets import images_of_dataset
from disbench.images import to_images, to_pixels
from disbench.made import Maker
from disbench.models import Model
from disbench.plan import distinct, generator_for
from disbench.protocols import Resolved, Task
from disbench.types import DatasetSpec, FeatureMetric, Images, Indices, Metric, PairMetric, Pixels, Score

WAYS = {"reconstructions": "decode", "generation": "generate"}  # what a metric needs -> what a model has for it
FAILURES = (DisbenchError, torch.OutOfMemoryError)  # of a model or an extractor; others are ours
OTHERWISE = "Another network will do, too: --set METRIC.features=FILE.py:CALLABLE."
UNSAID = "what the model does not say"
SAME_IMAGES = "the codes of the images that they are compared with"


def image_tasks(resolved: Resolved) -> tuple[Task, ...]:
    """Those that score images that a model makes."""
    return tuple(task for task in resolved.tasks if not isinstance(task.metric, Metric))


def without_offered(resolved: Resolved) -> Resolved:
    """Without the tasks that run only where a model offers what they need: for codes that come without a model."""
    return replace(resolved, tasks=tuple(task for task in resolved.tasks if not task.if_offered))


def offered_by(resolved: Resolved, maker: Maker) -> Resolved:
    """Without those of them that the model cannot serve, or data set and machine cannot, which is printed.

    What is not only offered stays, to be reported as not applicable, and what the machine lacks for it is printed, too,
    before anything is made.

    Features of the Inception network, and images that take a model many predictions each (its `decoding_cost`), are
    left to a GPU, unless they are asked for: a CPU takes an hour.
    """
    kept = []
    lacking: dict[str, list[str]] = {}
    for task in resolved.tasks:
        if task.if_offered and _why_not(task, maker.model, maker.dataset.spec):
            continue
        lack = ""
        if not isinstance(task.metric, Metric):
            lack = _lack(task) or _too_few(task, len(maker.dataset))
        if task.if_offered:
            lack = lack or _slow(task, maker)
        if lack:
            lacking.setdefault(lack, []).append(task.metric.name)
        if not (lack and task.if_offered):
            kept.append(task)
    if maker.progress:
        for lack, names in lacking.items():
            print(f"disbench: without {', '.join(names)}: {lack}", file=sys.stderr)
    return replace(resolved, tasks=tuple(kept))


def load_extractors(resolved: Resolved, device: torch.device) -> dict[str, Extractor]:
    """The extractors that the tasks name and that can be had here, each loaded once, before any other work.

    Raises:
        UsageError: there is none of that name, or it is another variant's than the metric's.
        DisbenchError: it cannot be loaded.
    """
    loaded: dict[str, Extractor] = {}
    for task in resolved.tasks:
        if not isinstance(task.metric, FeatureMetric):
            continue
        name, features = task.metric.name, task.settings.features
        if extractors.is_inception(features) and extractors.variant_of(features) != name.partition("@")[2]:
            raise UsageError(
                f"{name} does not look through {features}: values in one column are fed to the network in one way. "
                "fid looks through inception, and fid@disdiff through inception@disdiff."
            )
        if features not in loaded and not extractors.missing(features):
            loaded[features] = extractors.load_extractor(features, device=device)
    return loaded


def _why_not(task: Task, model: Model, spec: DatasetSpec) -> str:
    """Why there are no images of the model to be scored; empty if there are."""
    way = WAYS[task.metric.needs]
    if getattr(model, way) is None:
        return f"the model has no {way}"
    if len(spec.image_shape) != 3 or spec.dtype != "uint8":
        return f"it compares pictures, and {spec.name} has other observations"
    return ""


def _lack(task: Task) -> str:
    """What this machine lacks for a task, and what to do; empty if nothing."""
    if isinstance(task.metric, PairMetric):
        return task.metric.missing()
    lack = extractors.missing(task.settings.features)
    return f"{lack} {OTHERWISE}" if lack else ""


def _slow(task: Task, maker: Maker) -> str:
    """What makes a task that is only offered too slow for a CPU; empty if nothing does."""
    if isinstance(task.metric, Metric) or maker.device.type != "cpu":
        return ""
    if isinstance(task.metric, FeatureMetric) and extractors.is_inception(task.settings.features):
        return "a CPU puts a few images a second through Inception; --metrics NAME,NAME runs what it names even so."
    cost = getattr(maker.model.module, "decoding_cost", 1)
    if cost > 1:
        return f"an image takes this model {cost} predictions, slow on a CPU; --metrics NAME,NAME runs what it names."
    return ""


def _too_few(task: Task, n_images: int) -> str:
    wanted = task.settings.num_images
    if wanted <= n_images:
        return ""
    return f"{wanted:,} different images are wanted, and there are {n_images:,}; --set '*.num_images={n_images}'"


class _Group(Protocol):
    """Tasks that look at the same images: the first ones that are made."""

    tasks: Sequence[Task]

    def add(self, pixels: Pixels | None, made: Images) -> None:
        """Take what is wanted of a batch."""

    def scores(self, index: Indices, maker: Maker, seed: int) -> dict[str, Score]:
        """Scores by metric, once all images are there."""


class _Pairs:
    """One task on pairs."""

    def __init__(self, task: Task) -> None:
        self.tasks: Sequence[Task] = (task,)
        self._metric, self._settings = cast(PairMetric, task.metric), task.settings
        self._observed: list[Tensor] = []
        self._left = task.settings.num_images

    def add(self, pixels: Pixels | None, made: Images) -> None:
        assert pixels is not None  # reconstructions have originals
        images, made = to_images(pixels[: self._left]), made[: self._left]
        self._left -= len(made)
        if len(made):
            self._observed.append(self._metric.observe(images, made, self._settings).cpu())

    def scores(self, index: Indices, maker: Maker, seed: int) -> dict[str, Score]:  # noqa: ARG002
        return {self._metric.name: self._metric.score(torch.cat(self._observed))}


class _Features:
    """Tasks on the same features of as many images."""

    def __init__(self, tasks: Sequence[Task], extractor: Extractor) -> None:
        self.tasks = tasks
        self._metrics = [cast(FeatureMetric, task.metric) for task in tasks]
        self._extractor = extractor
        self._collector = Collector(
            keep_rows=any(metric.keeps_rows for metric in self._metrics), extractor=self._extractor.name
        )
        self._n = self._left = tasks[0].settings.num_images

    def add(self, pixels: Pixels | None, made: Images) -> None:  # noqa: ARG002
        made = made[: self._left]
        self._left -= len(made)
        if len(made):
            self._collector.add(self._extractor(to_pixels(made)))

    def scores(self, index: Indices, maker: Maker, seed: int) -> dict[str, Score]:
        made = self._collector.features()
        real = extractors.reference_features(
            images_of_dataset(maker.dataset),
            index[: self._n],
            self._extractor,
            keep_rows=made.rows is not None,
            batch_size=maker.batch_size,
            progress=maker.progress,
        )
        seen = {"features": self._extractor.name}
        scores = {}
        for metric, task in zip(self._metrics, self.tasks, strict=True):
            score = metric.score(real, made, task.settings, seed)
            scores[metric.name] = replace(score, details={**score.details, **seen})
        return scores


@dataclass(frozen=True)
class ImageScores:
    """Scores by metric, and the record's account of the images: how many, made how, compared with which."""

    scores: Mapping[str, Score]
    made: Mapping[str, Mapping[str, Any]]


def score_images(
    tasks: Sequence[Task], maker: Maker, extractor_of: Mapping[str, Extractor], eval_seed: int
) -> ImageScores:
    """Score the images that a model makes.

    Different images of the data set are drawn once; a metric that asks for fewer takes the first of them. Where
    something fails, the metrics that needed it are `not applicable`, with the reason, and the others stand.

    Args:
        tasks: those of `image_tasks`.
        maker: of the images.
        extractor_of: by name.
        eval_seed: which images are drawn, and where the model's own chance begins.
    """
    scores: dict[str, Score] = {}
    made: dict[str, dict[str, Any]] = {}
    n_images, spec = len(maker.dataset), maker.dataset.spec
    for needs, way in WAYS.items():
        groups: list[_Group] = []
        for group in _grouped(task for task in tasks if task.metric.needs == needs):
            if reason := _why_not(group[0], maker.model, spec) or _lack(group[0]) or _too_few(group[0], n_images):
                scores |= _not_applicable(group, reason)
            elif isinstance(group[0].metric, PairMetric):
                groups.append(_Pairs(*group))
            else:
                groups.append(_Features(group, extractor_of[group[0].settings.features]))
        if not groups:
            continue
        n = max(task.settings.num_images for group in groups for task in group.tasks)
        index = distinct(n_images, n, generator_for(eval_seed, "images", 1))
        with contextlib.ExitStack() as stack:
            for extractor in extractor_of.values():
                stack.enter_context(extractor.ready())
            found = _scores(groups, _batches(needs, maker, index, eval_seed), index, maker, eval_seed)
        scores |= found
        if all(score.not_applicable for score in found.values()):
            continue
        made[needs] = {
            "num_images": n,
            "by": way,
            "conditioned_on": SAME_IMAGES if way == "decode" else maker.model.generated_from or UNSAID,
            "compared_with_sha256": hashlib.sha256(index.numpy().tobytes()).hexdigest(),
        }
    for task in tasks:
        if not scores[task.metric.name].not_applicable:
            task.metric.check_score(scores[task.metric.name])
    return ImageScores(scores, made)


def _grouped(tasks: Iterable[Task]) -> list[list[Task]]:
    """Tasks on pairs one by one; those on features together where they want the same ones of as many images."""
    groups: dict[tuple[Any, ...], list[Task]] = {}
    for task in tasks:
        is_pair = isinstance(task.metric, PairMetric)
        key = (task.metric.name,) if is_pair else (task.settings.features, task.settings.num_images)
        groups.setdefault(key, []).append(task)
    return list(groups.values())


def _batches(needs: str, maker: Maker, index: Indices, eval_seed: int) -> Iterator[tuple[Pixels | None, Images]]:
    """Images made batch by batch, with the pixels that they were made from, if there are such."""
    generator = generator_for(eval_seed, needs, 1)
    if needs == "reconstructions":
        return maker.reconstructions(index, generator)
    return ((None, images) for images in maker.samples(len(index), generator))


def _scores(
    groups: Sequence[_Group],
    batches: Iterator[tuple[Pixels | None, Images]],
    index: Indices,
    maker: Maker,
    eval_seed: int,
) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    left = list(groups)

    def give_up(group: _Group, error: Exception) -> None:
        left.remove(group)
        full = "the device has too little memory for so many images at a time; name fewer: --batch-size N"
        reason = full if isinstance(error, torch.OutOfMemoryError) else str(error)
        scores.update(_not_applicable(group.tasks, reason))

    try:
        for pixels, made in batches:
            for group in tuple(left):
                try:
                    group.add(pixels, made)
                except FAILURES as error:
                    give_up(group, error)
            if not left:
                break
    except FAILURES as error:  # the model's
        for group in tuple(left):
            give_up(group, error)
    for group in tuple(left):
        try:
            scores |= group.scores(index, maker, eval_seed)
        except FAILURES as error:
            give_up(group, error)
    return scores


def _not_applicable(tasks: Sequence[Task], reason: str) -> dict[str, Score]:
    return {task.metric.name: Score({}, not_applicable=reason.rstrip(".")) for task in tasks}
