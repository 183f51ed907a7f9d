"""Our score beside that of the plain implementation of the same name, on random codes of a small grid."""

import dataclasses
import importlib
from collections.abc import Mapping

import numpy as np
import torch

from disbench import registry
from disbench.settings import override
from disbench.types import Draw, Factor, FactorSpace
from tests.conftest import SMALL

SPACE = FactorSpace((Factor("a", 3), Factor("b", 2), Factor("c", 4)))
METRICS = [name for name, metric in registry.metrics().items() if metric.needs != "models"]
KINDS = ("smooth", "coarse")


def both(name: str, kind: str, seed: int) -> tuple[Mapping[str, float], Mapping[str, float], float]:
    """Our values, the plain ones, and how near they have to be."""
    metric = registry.metrics()[name]
    function = name.partition("@")[0]
    oracle = importlib.import_module(f"tests.oracles.{function}")
    small = {path.removeprefix(f"{name}."): value for path, value in SMALL.items() if path.startswith(f"{name}.")}
    settings = override(metric.settings(), small)
    codes, draw = _table(kind, seed), metric.draw(SPACE, settings, torch.Generator().manual_seed(seed))
    found = metric.score(torch.from_numpy(codes), draw, settings).values
    plain = getattr(oracle, function)(codes, _in_numpy(draw), settings)
    return found, {name + value.removeprefix(function): number for value, number in plain.items()}, oracle.TOLERANCE


def _table(kind: str, seed: int) -> np.ndarray:
    """Codes (24, 5): factors with noise, or coarse ones with ties, a constant code and a duplicated one."""
    rng = np.random.default_rng(seed)
    factors = SPACE.values(torch.arange(len(SPACE))).numpy()
    if kind == "smooth":
        mixed = factors @ rng.standard_normal((3, 2))
        codes = np.concatenate([factors, mixed], axis=1) + 0.3 * rng.standard_normal((24, 5))
    else:
        codes = rng.integers(-3, 4, (24, 5)) / 2
        codes[:, 3], codes[:, 4] = 1.5, codes[:, 0]
    return codes.astype(np.float32)


def _in_numpy(draw: Draw) -> Draw:
    """The draw as the plain implementations want it."""
    indices = {part: index.numpy() for part, index in draw.indices.items()}
    labels = {part: values.numpy() for part, values in draw.labels.items()}
    return dataclasses.replace(draw, indices=indices, labels=labels)
