"""Finds metrics, data sets and models by name.

Built-ins are found in their folders, one module each; third parties add theirs through entry points in the groups
`disbench.metrics`, `disbench.datasets` and `disbench.models`. An entry point names a module, read like a built-in
one (`docs/extending.md`): a metric's module defines `METRIC` and perhaps `VARIANTS`, a data set's `DATASETS` and
perhaps `ALIASES`, a model's `MODELS` and `CHECKPOINTS`.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from disbench.errors import DisbenchError, UsageError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from disbench.datasets._recipe import Recipe
    from disbench.types import Dataset, DatasetSpec, Metric, ValueSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One thing that is known about a data set, and whether it holds of the files at hand."""

    what: str
    expected: str
    found: str
    holds: bool


@dataclass(frozen=True)
class DatasetEntry:
    """How the registry knows a data set before it is opened.

    Args:
        spec: what it is.
        open: takes the folder named by `--data-dir`, or None.
        recipe: how its prepared file is made, if it has one.
        here: what of it is on this machine, in a few words; takes what `open` takes.
        checks: what is known of its content beyond the recipe's, tried on the opened data set.
    """

    spec: DatasetSpec
    open: Callable[[Path | None], Dataset]
    recipe: Recipe | None = None
    here: Callable[[Path | None], str] = lambda _: "generated here"
    checks: Callable[[Dataset], Iterable[Check]] = lambda _: ()


@dataclass(frozen=True)
class ModelEntry:
    """How the registry knows a kind of model.

    Args:
        summary: one line.
        config: a frozen dataclass, all fields with defaults.
        build: config -> module that maps Images to Codes or Tokens.
        train: what `disbench train` and `disbench study` call, or None: (name, config, dataset, *, train_seed, out,
            device, command, progress, resume, score, score_every) -> path of OUT/ckpt.pt; the last only if asked for.
            `reference_models.training.train` is ours.
        presets: name -> the fields of the config that it changes, as `disbench train --preset` takes them; none by
            default. Ours have paper, gpu-hour and cpu-minutes.
        sweep: the hyper-parameter that a study varies, a field of the config -> its values; none by default.
        family: that boards put it in: vae, diffusion, gan, autoencoder ...
        seconds_per_step: how long a training step takes, measured, or None: (name, config, image_shape, device) ->
            seconds; `disbench reproduce` asks it. Ours is `reference_models.timing.seconds_per_step`.
    """

    summary: str
    config: type
    build: Callable[[Any], nn.Module]
    train: Callable[..., Path] | None = None
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    family: str = "other"
    seconds_per_step: Callable[..., float] | None = None


@dataclass(frozen=True)
class CheckpointEntry:
    """A trained model that came with a package: one line about it, and where its file is."""

    summary: str
    path: Path


_FOLDERS = {"metrics": ("metrics", "metrics.images"), "datasets": ("datasets",)}
_DEFINES = {"metrics": ("METRIC",), "datasets": ("DATASETS",), "models": ("MODELS", "CHECKPOINTS")}


def _modules(kind: str) -> Iterator[ModuleType]:
    """Built-in modules of the folders that hold some, then those that entry points name."""
    for folder in _FOLDERS.get(kind, ()):
        package = import_module(f"disbench.{folder}")
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            if not info.name.startswith("_") and not info.ispkg:
                yield import_module(f"{package.__name__}.{info.name}")
    for point in sorted(entry_points(group=f"disbench.{kind}"), key=lambda p: p.name):
        try:
            module = point.load()
        except Exception as error:
            raise DisbenchError(
                f"the installed plug-in {point.name!r} ({point.value}) could not be loaded: {error}. "
                "Repair it or uninstall it."
            ) from error
        if not any(hasattr(module, name) for name in _DEFINES[kind]):
            raise DisbenchError(
                f"the installed plug-in {point.name!r} ({point.value}) defines no {' or '.join(_DEFINES[kind])}. "
                "Repair it or uninstall it."
            )
        yield module


def _merge(kind: str, pairs: Iterator[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, entry in pairs:
        if name in found:
            raise DisbenchError(f"two {kind} are called {name!r}; uninstall one of the packages that bring them.")
        found[name] = entry
    return found


@cache
def metrics() -> Mapping[str, Metric]:
    """Every metric by name."""
    found = (metric for m in _modules("metrics") for metric in (m.METRIC, *getattr(m, "VARIANTS", ())))
    return _merge("metrics", ((metric.name, metric) for metric in found))


def values() -> Mapping[str, tuple[Metric, ValueSpec]]:
    """Every value by name: the metric that gives it, and what it is."""
    return {value.name: (metric, value) for metric in metrics().values() for value in metric.values}


@cache
def datasets() -> Mapping[str, DatasetEntry]:
    """Every data set by name, none of them opened."""
    return _merge("data sets", (pair for m in _modules("datasets") for pair in m.DATASETS.items()))


@cache
def aliases() -> Mapping[str, str]:
    """Other names of data sets, and what each stands for."""
    return _merge("aliases", (pair for m in _modules("datasets") for pair in getattr(m, "ALIASES", {}).items()))


@cache
def models() -> Mapping[str, ModelEntry]:
    """Every kind of model by name."""
    return _merge("models", (pair for m in _modules("models") for pair in getattr(m, "MODELS", {}).items()))


@cache
def checkpoints() -> Mapping[str, CheckpointEntry]:
    """Every shipped checkpoint by name."""
    return _merge("checkpoints", (pair for m in _modules("models") for pair in getattr(m, "CHECKPOINTS", {}).items()))


def pick(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The entry called `name`.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    if name not in known:
        raise UsageError(f"there is no {kind} called {name!r}; {did_you_mean(name, known)}")
    return known[name]


def pick_dataset(name: str) -> DatasetEntry:
    """The entry of a data set, not opened; says so on stderr where the name stands for another.

    Raises:
        UsageError: no data set has this name.
    """
    if name in aliases():
        print(f"disbench: {name} stands for {aliases()[name]}.", file=sys.stderr)
        name = aliases()[name]
    return pick("data set", name, datasets())


def spec_of(dataset: str, data_dir: str | Path | None = None) -> DatasetSpec:
    """What a data set is, by name or path; it is opened only if it has no name."""
    if dataset in datasets() or dataset in aliases() or not Path(dataset).exists():
        return pick_dataset(dataset).spec
    return load_dataset(dataset, data_dir).spec


def load_dataset(name: str | Path, data_dir: str | Path | None = None) -> Dataset:
    """Open a data set.

    One whose prepared file is missing is prepared first: its files are looked for and, where that can be done,
    downloaded, after a line on stderr that says what and how much.

    Args:
        name: as `disbench list datasets` prints it; or the path of your own: an npz or HDF5 file, or a folder with
            images and labels.csv (`disbench.datasets.from_file`, `from_folder`).
        data_dir: folder with the data set's files, where it needs any; by default the folder that the environment
            variable DISBENCH_DATA names.

    Raises:
        UsageError: no data set has this name; its files are missing.
        DisbenchError: its files are not what they should be.
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise UsageError(f"there is no folder {data_dir}, in which the data set's files should be.")
    is_path = Path(name).suffix in (".npz", ".h5", ".hdf5") or len(Path(name).parts) > 1
    if is_path and not Path(name).exists():
        raise UsageError(f"there is no data file or folder at {name}.")
    if name not in aliases() and name not in datasets() and Path(name).exists():
        from disbench.datasets import from_file, from_folder

        return from_folder(name) if Path(name).is_dir() else from_file(name)
    return pick_dataset(str(name)).open(Path(data_dir) if data_dir is not None else None)
