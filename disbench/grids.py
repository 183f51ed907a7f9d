"""Grids of models, hyper-parameters and train seeds, and the folders of their runs.

A run's folder is MODEL-DATASET-KEY=VALUE-seedS.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from disbench import registry
from disbench.errors import UsageError, did_you_mean
from disbench.settings import override


@dataclass(frozen=True)
class Study:
    """Which kinds of models, each with all the values that it sweeps, and which train seeds."""

    models: tuple[str, ...]
    seeds: tuple[int, ...]


STUDIES: Mapping[str, Study] = {
    "locatello2019": Study(  # Locatello et al., arXiv 1811.12359, without its seven data sets
        ("beta_vae", "annealed_vae", "factor_vae", "beta_tcvae", "dip_vae_i", "dip_vae_ii"),
        tuple(range(50)),
    ),
}

State = Literal["finished", "begun", "to train"]


@dataclass(frozen=True)
class Run:
    """One model of a study.

    Args:
        model: its kind.
        swept: names and values of the hyper-parameters that the study sweeps.
        config: all of its hyper-parameters.
        dataset: name of what it is trained on.
        train_seed: its seed.
        folder: where it is, or will be.
        dataset_hash: of the content of a data set that is the user's own: another may come under its name.
        starts_from: folders of the runs that it starts from, by the field of its config that names each.
    """

    model: str
    swept: tuple[tuple[str, Any], ...]
    config: Any
    dataset: str
    train_seed: int
    folder: Path
    dataset_hash: str = ""
    starts_from: tuple[tuple[str, Path], ...] = ()

    @property
    def told(self) -> Any:
        """The config as its trainer is given it; where the runs are that it starts from is no part of what it is."""
        return dataclasses.replace(self.config, **{name: str(folder) for name, folder in self.starts_from})

    @property
    def setting(self) -> str:
        """What is swept, as `beta=4`; empty if nothing is."""
        return ", ".join(f"{key}={short(value)}" for key, value in self.swept)

    @property
    def checkpoint(self) -> Path:
        """The file that a finished run has."""
        return self.folder / "ckpt.pt"

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train: a run that is not at its end keeps a state beside."""
        return self.checkpoint.exists() and not (self.folder / "state.pt").exists()

    @property
    def state(self) -> State:
        """How far it has got."""
        if self.is_finished:
            return "finished"
        return "begun" if self.folder.exists() else "to train"

    @property
    def asked(self) -> dict[str, Any]:
        """What study.json says of it, as primitives."""
        described: dict[str, Any] = {"model": self.model, "dataset": self.dataset, "train_seed": self.train_seed}
        if self.dataset_hash:
            described["dataset_hash"] = self.dataset_hash
        return json.loads(json.dumps(described | dataclasses.asdict(self.config)))

    def is_told(self, text: str) -> bool:
        """Whether a study.json says that its folder holds this run: not if it is empty, or a crash cut it off.

        Raises:
            UsageError: it says that the folder holds another run.
        """
        try:
            before = json.loads(text)
        except json.JSONDecodeError:
            return False
        for key, value in self.asked.items():
            if before.get(key, value) != value:
                raise UsageError(
                    f"{self.folder} holds a run with {key} {before[key]!r}, and {value!r} was asked for; name another "
                    "folder with --out, or ask for the same."
                )
        return True


def plan_study(
    name: str,
    dataset: str,
    *,
    models: Sequence[str] | None = None,
    seeds: int | Iterable[int] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    n_values: int | None = None,
    out: str | Path = "runs",
) -> list[Run]:
    """The runs of a study: seed after seed, each with all models and values.

    Args:
        name: of the study, a key of STUDIES.
        dataset: name or path of what is trained on; it is not opened if it has a name.
        models: some of the study's; None for all.
        seeds: train seeds, or how many, from 0 on; None for the study's.
        preset: name of changes that each model has for its config.
        settings: further changes, for all models.
        n_values: only so many of the values that each model sweeps, from the first on.
        out: folder for the folders of the runs.

    Raises:
        UsageError: there is no such study, model, preset or setting; or a setting is swept.
    """
    study = registry.pick("study", name, STUDIES)
    if models is not None and (unknown := [model for model in models if model not in study.models]):
        raise UsageError(f"{name} has no model called {unknown[0]!r}; {did_you_mean(unknown[0], study.models)}")
    if n_values is not None and n_values < 1:
        raise UsageError(f"of the values at least 1 is needed; got {n_values}.")
    label, content = identity_of(dataset)
    folder = Path(out).resolve()
    variants = [
        (model, swept, config)
        for model in (study.models if models is None else dict.fromkeys(models))
        for swept, config in itertools.islice(_variants(model, preset, settings or {}), n_values)
    ]
    return [
        Run(model, swept, config, label, seed, folder / folder_name(model, label, swept, seed), content)
        for seed in seeds_of(seeds, study.seeds)
        for model, swept, config in variants
    ]


def identity_of(dataset: str) -> tuple[str, str]:
    """A data set's name, and the hash of its content if it is the user's own; it is not opened if it has a name."""
    label = registry.spec_of(dataset).name
    return label, "" if label in registry.datasets() else registry.load_dataset(dataset).content_hash


def seeds_of(asked: int | Iterable[int] | None, by_default: Sequence[int]) -> list[int]:
    """Train seeds: those that were asked for, so many from 0 on, or the usual ones.

    Raises:
        UsageError: there are none, or one is negative.
    """
    if asked is None:
        return list(by_default)
    seeds = list(range(asked)) if isinstance(asked, int) else list(dict.fromkeys(asked))
    if not seeds or min(seeds) < 0:
        raise UsageError("seeds are whole numbers from 0 on, at least one of them.")
    return seeds


def _variants(
    model: str, preset: str | None, settings: Mapping[str, Any]
) -> Iterator[tuple[tuple[tuple[str, Any], ...], Any]]:
    """Every combination of the values that a model sweeps, and its config with it."""
    trainer(model)
    entry = registry.models()[model]
    if refused := sorted(entry.sweep.keys() & settings.keys()):
        raise UsageError(f"{refused[0]} of {model} is what the study sweeps; leave it out of the settings.")
    config = entry.config()
    if preset is not None:
        config = override(config, registry.pick(f"preset of {model}", preset, entry.presets))
    config = override(config, settings, prefix=f"{model}.")
    for values in itertools.product(*entry.sweep.values()):
        swept = override(config, dict(zip(entry.sweep, values, strict=True)))
        yield tuple((key, getattr(swept, key)) for key in entry.sweep), swept


def trainer(model: str) -> Callable[..., Path]:
    """What trains a kind of model.

    Raises:
        UsageError: there is no such kind, or nothing trains it.
    """
    entry = registry.pick("kind of model", model, registry.models())
    if entry.train is None:
        raise UsageError(f"{model!r} cannot be trained here.")
    return entry.train


def folder_name(model: str, dataset: str, swept: tuple[tuple[str, Any], ...], seed: int) -> str:
    """MODEL-DATASET-KEY=VALUE-seedS."""
    return file_name(model, dataset, *(f"{key}={short(value)}" for key, value in swept), f"seed{seed}")


def file_name(*parts: str) -> str:
    """Parts joined by dashes; `_` for what has no place in the name of a file."""
    return "-".join(re.sub(r"[^\w.=+-]+", "_", part) for part in parts)


def short(value: Any) -> str:
    """A value as text that stands for it alone: 4.0 is 4."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return str(int(value) if whole else value)
