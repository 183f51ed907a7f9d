"""Score a representation: plan, encode, score, report."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from disbench import records, registry
from disbench.encode import N_PROBE, REDUCERS, Encoder
from disbench.errors import UsageError
from disbench.extractors import Extractor
from disbench.files import replacing
from disbench.image_scoring import image_tasks, load_extractors, offered_by, score_images, without_offered
from disbench.made import Maker
from disbench.models import Array, load_model, pick_device
from disbench.plan import At, draw_images, generator_for, hash_of_draws, space_of
from disbench.protocols import Resolved, resolve
from disbench.report import Report
from disbench.rows import check_rows
from disbench.tables import Plans, intake_of
from disbench.types import Dataset, Draw, FeatureMetric, Metric, Representation, Score

D = TypeVar("D")


def evaluate(
    model: Representation | str | Path,
    dataset: str | Path | Dataset,
    *,
    protocol: str = "locatello2019",
    metrics: Iterable[str] | str | None = None,
    eval_seed: int = 0,
    repeats: int = 1,
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    reducer: str | None = None,
    settings: Mapping[str, Any] | None = None,
    array: Array = "torch",
    input_range: tuple[float, float] = (0.0, 1.0),
    trust: bool = False,
    out: str | Path | None = None,
    rerun: bool = False,
    codes_out: str | Path | None = None,
    command: str = "",
    progress: bool = False,
) -> Report:
    """Score a model on a data set with ground-truth factors.

    Args:
        model: a callable from images float32 (n, c, h, w) in [0, 1] to codes (n, d) or tokens (n, t, e); a torch
            module (put in eval mode, and restored) or one of its methods; a checkpoint's path; a registered name;
            `FILE.py:CALLABLE`.
        dataset: a name (`disbench list datasets`) or a Dataset.
        protocol: a name (`disbench list protocols`).
        metrics: metrics or values to compute; None for the protocol's.
        eval_seed: of the draws. Each metric has its own generator: no other choice here moves its numbers.
        repeats: evaluate this many eval seeds, from `eval_seed` on, on one table of codes; means are reported.
        device: where to encode and score; by default where the module is, else the CPU.
        batch_size: images a call; by default what suits the device.
        reducer: makes codes of tokens: `pca` (one value per token, fitted on 10,000 images), `pca_all` (on all) or
            `flatten`; by default the protocol's, if it has one and the model returns tokens.
        settings: changes to the protocol's, as `{"mig.bins": 30}`; they rename it to NAME+custom.
        array: "numpy" if the model takes and returns numpy arrays (JAX and TensorFlow models come in this way).
        input_range: what the model expects in place of [0, 1].
        trust: load archives that can run code.
        out: file that the record is appended to. A record of the same numbers of the same model that is there already
            is returned instead, unless the codes are wanted too. A model, or a feature extractor, whose code disbench
            cannot know (a function, a module) has no content hash and is always run.
        rerun: compute even so.
        codes_out: file for the table of codes (npz: codes, factors, index).
        command: recorded.
        progress: show bars, and what was skipped, on stderr.

    Returns:
        A Report; `report.scores["mig"]`.

    Raises:
        UsageError: an unknown name or setting, a missing file, a file that cannot be written.
        DisbenchError: the model or the data set is not usable as it is.
    """
    resolved = resolve(protocol, metrics, settings)
    seeds = _seeds(eval_seed, repeats)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size must be at least 1; got {batch_size}.")
    if not -math.inf < input_range[0] < input_range[1] < math.inf:
        raise UsageError(f"input_range must rise from low to high; got {input_range[0]:g}, {input_range[1]:g}.")
    for name in (reducer, resolved.reducer):
        if name is not None:
            registry.pick("reducer", name, REDUCERS)
    source = registry.load_dataset(dataset) if isinstance(dataset, str | Path) else dataset
    if not hasattr(source, "spec"):
        raise UsageError(
            f"a data set is a name, a path or an object with a spec; got {type(source).__name__}. Arrays become one by "
            "disbench.datasets.from_arrays(images, factors)."
        )
    space = space_of(source)
    loaded = load_model(model, array=array, trust=trust)
    clock = _Clock()

    with _files(out, codes_out) as (records_file, codes_file):
        if loaded.fit is not None:
            with clock.step("fit"):
                loaded = loaded.fitted(source)
        described: dict[str, Any] = {
            "name": loaded.name,
            "kind": loaded.kind,
            "config": dict(loaded.config),
            "method": loaded.method,
            "content_hash": loaded.content_hash,
            "train": dict(loaded.train),
            "input_range": list(input_range),
        }
        where = pick_device(loaded, device)
        encoder = Encoder(loaded, source, where, batch_size, input_range, progress)
        maker = Maker(loaded, source, where, batch_size, input_range, progress)
        with clock.step("data set"):
            resolved = offered_by(resolved, maker)
            extractor_of = load_extractors(resolved, where)
            intake = intake_of(resolved, reducer, encoder)
            key = _key(
                resolved,
                {"name": source.spec.name, "content_hash": source.content_hash},
                intake.reducer,
                of_tokens=intake.of_tokens,
                extractor_of=extractor_of,
            )
        if codes_file is not None and not intake.of_codes:
            raise UsageError("codes_out keeps codes, and no metric here is computed from codes; leave it out.")
        if codes_file is not None or not all(extractor.content_hash for extractor in extractor_of.values()):
            rerun = True
        if known := _known(records_file, rerun, resolved, key, described, seeds, progress):
            return known

        with clock.step("plan"):
            draws = _draws(
                resolved,
                seeds,
                lambda metric, sizes, generator, _: draw_images(source.spec, space, metric, sizes, generator),
            )
            if draws and all(isinstance(draw, str) for draw in draws.values()) and not image_tasks(resolved):
                names = ", ".join(task.metric.name for task in resolved.tasks)
                raise UsageError(f"none of {names} can be had on {source.spec.name}: {next(iter(draws.values()))}.")
            plans = Plans(intake, draws, len(source))
        if progress and (remark := _remark_on_overlap(draws.values(), len(source))):
            print(f"disbench: {source.spec.name} {remark}", file=sys.stderr)
        with clock.step("encode"):
            tables = plans.encode(encoder)
            if tables.n_codes is None and any(task.metric.needs == "reconstructions" for task in resolved.tasks):
                encoder.probe()
        scores = _score(resolved, plans.rows(tables), clock, progress)
        made = {}
        for seed in seeds:
            with clock.step("images"):
                found = score_images(image_tasks(resolved), maker, extractor_of, seed)
            made[seed] = found.made
            scores |= {(seed, name): score for name, score in found.scores.items()}

        if codes_file is not None and tables.codes is not None:
            index = plans.codes.images
            factors = source.factors(index)
            np.savez(codes_file, codes=tables.codes.cpu().numpy(), factors=factors.numpy(), index=index.numpy())
        sample = {
            "eval_seeds": seeds,
            "indices_sha256": hash_of_draws(draws),
            "n_asked": plans.n_asked,
            "n_encoded": plans.n_images,
            "n_probe": min(N_PROBE, plans.n_images),
            "made": made[seeds[0]],
        }
        described["n_codes"] = tables.n_codes
        run = records.run_info(str(where), clock.seconds, command)
        report = Report.of_scores(resolved, key, described, sample, scores, run)
        if records_file is not None:
            records_file.append(report.record)
        return report


def score_codes(
    codes: Any,
    factors: Any,
    *,
    test_codes: Any = None,
    test_factors: Any = None,
    protocol: str = "locatello2019",
    metrics: Iterable[str] | str | None = None,
    eval_seed: int = 0,
    repeats: int = 1,
    settings: Mapping[str, Any] | None = None,
    factor_names: Iterable[str] | None = None,
    name: str = "codes",
    out: str | Path | None = None,
    rerun: bool = False,
    command: str = "",
    progress: bool = False,
) -> Report:
    """Score codes that exist already; no model, no images.

    Every row is used as given, in order: the sizes of the protocol's samples do not apply, and the record calls the
    protocol NAME+rows. Metrics that hold factors fixed run if the rows hold every combination of the factors, and are
    `not applicable` otherwise.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k), numpy or torch; any labels will do, they are numbered in ascending order.
        test_codes: float (m, d); without it, values that need a test set are undefined.
        test_factors: whole numbers (m, k).
        protocol, metrics, repeats, settings, out, rerun, command, progress: as for `evaluate`.
        eval_seed: of the draws of metrics that hold factors fixed, and of what the others fit.
        factor_names: for messages.
        name: what the record calls the model.

    Raises:
        UsageError: an unknown name or setting, a setting of a sample that is not drawn.
        DisbenchError: arrays of the wrong shape or type, or codes that are not finite.
    """
    resolved = without_offered(resolve(protocol, metrics, settings))
    resolved = replace(resolved, name=resolved.name + "+rows")
    unused = {f"{t.metric.name}.{setting}" for t in resolved.tasks for setting in t.metric.draw_settings}
    if refused := sorted(path for path in settings or {} if any(_sets(path, one) for one in unused)):
        raise UsageError(f"{', '.join(refused)} sizes a sample, and given rows are all used; leave it out.")
    seeds = _seeds(eval_seed, repeats)
    rows = check_rows(codes, factors, test_codes, test_factors, factor_names)
    described: dict[str, Any] = {
        "name": name, "kind": "", "config": {}, "method": "", "content_hash": rows.codes_hash, "train": {},
        "input_range": None,
    }  # fmt: skip
    key = _key(resolved, {"name": "given rows", "content_hash": rows.factors_hash}, None, without=unused)
    clock = _Clock()

    with _files(out, None) as (records_file, _):
        if known := _known(records_file, rerun, resolved, key, described, seeds, progress):
            return known
        with clock.step("plan"):
            draws = _draws(resolved, seeds, rows.draw)
        scores = _score(resolved, {at: (draw, rows.codes) for at, draw in draws.items()}, clock, progress)
        scores |= {
            (seed, task.metric.name): Score({}, not_applicable="given rows come without a model that makes images")
            for seed in seeds
            for task in image_tasks(resolved)
        }
        n_rows = len(rows.codes)
        sample = {"eval_seeds": seeds, "indices_sha256": hash_of_draws(draws), "n_asked": n_rows, "n_encoded": 0}
        described["n_codes"] = rows.codes.shape[1]
        run = records.run_info(str(rows.codes.device), clock.seconds, command)
        report = Report.of_scores(resolved, key, described, {**sample, "n_probe": 0}, scores, run)
        if records_file is not None:
            records_file.append(report.record)
        return report


def _sets(path: str, setting: str) -> bool:
    """Whether METRIC.SETTING or *.SETTING changes a setting METRIC.SETTING."""
    return path == setting or path == "*." + setting.rpartition(".")[2]


def _remark_on_overlap(draws: Iterable[Draw | str], n_images: int) -> str:
    """What to say where test samples are drawn from images that the training samples have all but used up."""
    parts = [draw.indices for draw in draws if not isinstance(draw, str) and "test" in draw.indices]
    n_train = max((len(indices["train"]) for indices in parts), default=0)
    if n_images > n_train:
        return ""
    return (
        f"has {n_images:,} images and {n_train:,} training samples are drawn from them: test samples are training "
        "samples, too, and accuracies on them say little about other images."
    )


@dataclass
class _Clock:
    """Seconds of each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@contextlib.contextmanager
def _files(
    out: str | Path | None, codes_out: str | Path | None
) -> Iterator[tuple[records.RecordFile | None, BinaryIO | None]]:
    """What will be written, opened before any work starts; nothing is left of it if the work fails."""
    if out is not None and codes_out is not None and Path(out).resolve() == Path(codes_out).resolve():
        raise UsageError(f"records and codes cannot both go to {out}.")
    with contextlib.ExitStack() as stack:
        yield (
            stack.enter_context(records.RecordFile(out)) if out is not None else None,
            stack.enter_context(replacing(codes_out)) if codes_out is not None else None,
        )


def _seeds(eval_seed: int, repeats: int) -> list[int]:
    if repeats < 1:
        raise UsageError(f"repeats must be at least 1; got {repeats}.")
    if eval_seed < 0:
        raise UsageError(f"eval_seed must not be negative; got {eval_seed}.")
    return list(range(eval_seed, eval_seed + repeats))


def _key(
    resolved: Resolved,
    dataset: Mapping[str, Any],
    reducer: str | None,
    *,
    without: Container[str] = (),
    of_tokens: Container[str] = (),
    extractor_of: Mapping[str, Extractor] = MappingProxyType({}),
) -> dict[str, Any]:
    """The record's key; settings named METRIC.SETTING in `without` have no part in it.

    What a metric reads beside its settings goes by the metric: that it reads tokens, and no reducer's codes; or the
    hash of its extractor, None where that is not known, or the extractor cannot be had here.
    """
    metrics: dict[str, dict[str, Any]] = {}
    for task in resolved.tasks:
        name = task.metric.name
        settings = {k: v for k, v in asdict(task.settings).items() if f"{name}.{k}" not in without}
        metrics[name] = {"version": task.metric.version, "settings": settings}
        if name in of_tokens:
            metrics[name]["reducer"] = None
        if isinstance(task.metric, FeatureMetric):
            extractor = extractor_of.get(task.settings.features)
            metrics[name]["extractor"] = (extractor.content_hash or extractor.code_hash) if extractor else None
    return records.make_key({"name": resolved.name, "version": resolved.version}, dataset, metrics, reducer)


def _known(
    out: records.RecordFile | None,
    rerun: bool,
    resolved: Resolved,
    key: Mapping[str, Any],
    model: Mapping[str, Any],
    seeds: list[int],
    progress: bool,
) -> Report | None:
    """What the file has already, unless it is to be made again.

    So it is where images could not be scored: what was in the way may be gone.
    """
    record = out.find(key, model, seeds) if out is not None and not rerun else None
    if record is None or out is None:
        return None
    report = Report(record, resolved)
    of_images = [value for task in image_tasks(resolved) for value in task.values]
    if any(report.values[name].status == "not applicable" for name in of_images):
        return None
    if progress:
        print(f"disbench: {out.path} has this record already; --rerun computes it again.", file=sys.stderr)
    return report


def _draws(resolved: Resolved, seeds: list[int], draw: Callable[[Metric, Any, Generator, int], D]) -> dict[At, D]:
    """What `draw` makes for every eval seed and metric, each with a generator of its own."""
    drawn = {}
    for seed in seeds:
        for task in resolved.tasks:
            if not isinstance(task.metric, Metric):
                continue
            generator = generator_for(seed, task.metric.name, task.metric.version)
            drawn[seed, task.metric.name] = draw(task.metric, task.settings, generator, seed)
    return drawn


def _score(
    resolved: Resolved, rows: Mapping[At, tuple[Draw | str, Tensor | None]], clock: _Clock, progress: bool
) -> dict[At, Score]:
    """Every metric on its draws into its table; a text in place of a draw says why there is none."""
    tasks = {task.metric.name: task for task in resolved.tasks}
    scores = {}
    with tqdm(total=len(rows), unit="metric", disable=not progress or not rows) as bar:
        for (seed, name), (draw, table) in rows.items():
            bar.set_description(f"score {name}")
            with clock.step(name):
                if isinstance(draw, str):
                    scores[seed, name] = Score({}, not_applicable=draw)
                else:
                    metric = tasks[name].metric
                    assert isinstance(metric, Metric)  # no other has draws
                    assert table is not None  # a draw has images
                    scores[seed, name] = metric.score(table, draw.to(table.device), tasks[name].settings)
                    metric.check_score(scores[seed, name])
            bar.update()
    return scores
