"""Our score beside that of the plain implementation of the same name, on random codes of a small grid."""

import dataclasses
import importlib
from collections.abc import Mapping

import numpy as np
import torch

from disbench import registry
from disbench.settings import override
from disbench.types import Draw, Factor, FactorSpace, Labels, Metric
from tests.conftest import SMALL

SPACE = FactorSpace((Factor("a", 3), Factor("b", 2), Factor("c", 4)))
ATTRIBUTES = Labels(
    tuple(Factor(name, 2) for name in "abcd"),
    torch.from_numpy((np.random.default_rng(0).random((120, 4)) < (0.5, 0.4, 0.1, 0.02)).astype(np.int64)),
)
ON_CODES = {name: metric for name, metric in registry.metrics().items() if isinstance(metric, Metric)}
METRICS = [name for name, metric in ON_CODES.items() if metric.needs != "models"]
KINDS = ("smooth", "coarse")


def both(name: str, kind: str, seed: int) -> tuple[Mapping[str, float], Mapping[str, float], float]:
    """Our values, the plain ones, and how near they have to be."""
    metric = ON_CODES[name]
    function = name.partition("@")[0]
    oracle = importlib.import_module(f"tests.oracles.{function}")
    small = {path.removeprefix(f"{name}."): value for path, value in SMALL.items() if path.startswith(f"{name}.")}
    settings = override(metric.settings(), small)
    space = ATTRIBUTES if metric.needs == "attributes" else SPACE
    codes, draw = _table(space, kind, seed), metric.draw(space, settings, torch.Generator().manual_seed(seed))
    found = metric.score(torch.from_numpy(codes), draw, settings).values
    plain = getattr(oracle, function)(codes, _in_numpy(draw), settings)
    return found, {name + value.removeprefix(function): number for value, number in plain.items()}, oracle.TOLERANCE


def _table(space: FactorSpace, kind: str, seed: int) -> np.ndarray:
    """Codes (n, 5): factors with noise, or coarse ones with ties, a constant code and a duplicated one."""
    rng = np.random.default_rng(seed)
    factors = (space.table if isinstance(space, Labels) else space.values(torch.arange(len(space)))).numpy()
    n, n_factors = factors.shape
    if kind == "smooth":
        mixed = factors @ rng.standard_normal((n_factors, 5 - n_factors))
        codes = np.concatenate([factors, mixed], axis=1) + 0.3 * rng.standard_normal((n, 5))
    else:
        codes = rng.integers(-3, 4, (n, 5)) / 2
        codes[:, 3], codes[:, 4] = 1.5, codes[:, 0]
    return codes.astype(np.float32)


def _in_numpy(draw: Draw) -> Draw:
    """The draw as the plain implementations want it."""
    indices = {part: index.numpy() for part, index in draw.indices.items()}
    labels = {part: values.numpy() for part, values in draw.labels.items()}
    return dataclasses.replace(draw, indices=indices, labels=labels)
