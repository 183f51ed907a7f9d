"""Every metric against its plain implementation in tests/oracles, on random codes of a small grid."""

import dataclasses
import importlib

import numpy as np
import pytest
import torch

from disbench import registry
from disbench.settings import override
from disbench.types import Draw, Factor, FactorSpace
from tests.conftest import SMALL

SPACE = FactorSpace((Factor("a", 3), Factor("b", 2), Factor("c", 4)))
METRICS = [name for name, metric in registry.metrics().items() if metric.needs != "models"]


def table(kind: str, seed: int) -> np.ndarray:
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


def in_numpy(draw: Draw) -> Draw:
    """The draw as the plain implementations want it."""
    indices = {part: index.numpy() for part, index in draw.indices.items()}
    labels = {part: values.numpy() for part, values in draw.labels.items()}
    return dataclasses.replace(draw, indices=indices, labels=labels)


@pytest.mark.parametrize("kind", ["smooth", "coarse"])
@pytest.mark.parametrize("name", METRICS)
def test_metric_equals_the_plain_one(name: str, kind: str) -> None:
    metric = registry.metrics()[name]
    function, _, variant = name.partition("@")
    oracle = importlib.import_module(f"tests.oracles.{function}")
    small = {path.removeprefix(f"{name}."): value for path, value in SMALL.items() if path.startswith(f"{name}.")}
    settings = override(metric.settings(), small)
    for seed in range(3):
        codes, draw = table(kind, seed), metric.draw(SPACE, settings, torch.Generator().manual_seed(seed))
        found = metric.score(torch.from_numpy(codes), draw, settings).values
        plain = getattr(oracle, function)(codes, in_numpy(draw), settings)
        expected = {
            (f"{function}@{variant}" if variant else function) + k.removeprefix(function): v for k, v in plain.items()
        }
        assert dict(found) == pytest.approx(expected, abs=oracle.TOLERANCE, rel=0), (kind, seed)
