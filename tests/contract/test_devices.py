"""No score depends on threads, on how much is done at once, or on torch's default device."""

import importlib
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Generator

import disbench.metrics
from disbench import registry
from disbench.settings import override
from disbench.testing import SPACE, codes_of_space, space_for
from disbench.types import Draw
from tests.conftest import SMALL
from tests.oracles.beside import METRICS, ON_CODES

MODULES = [
    importlib.import_module(f"disbench.metrics.{info.name}") for info in pkgutil.iter_modules(disbench.metrics.__path__)
]
LIMITS = [
    (module, name)
    for module in MODULES
    for name in vars(module)
    if name.startswith("_MAX_") and name != "_MAX_ITERATIONS"
]


FEW = {"dci": {"stages": 5}, "dci_es": {"trees": 5}, "downstream": {"stages": 2}}


def given(name: str) -> tuple[torch.Tensor, Draw, Any]:
    metric = ON_CODES[name]
    small = {path.removeprefix(f"{name}."): value for path, value in SMALL.items() if path.startswith(f"{name}.")}
    settings = override(metric.settings(), small)
    space = space_for(metric)
    return codes_of_space(0, space), metric.draw(space, settings, Generator().manual_seed(0)), settings


def scores(name: str) -> dict[str, float]:
    return dict(ON_CODES[name].score(*given(name)).values)


def within(name: str) -> float:
    """1e-6 for what has a closed form, 1e-4 for what is fitted."""
    oracle = importlib.import_module(f"tests.oracles.{name.partition('@')[0]}")
    return 1e-6 if oracle.TOLERANCE <= 1e-9 else 1e-4


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", [name for name in METRICS if ON_CODES[name].needs == "samples"])
def test_number_of_threads(name: str, two_threads: None) -> None:
    """On as many samples as torch shares out between threads."""
    metric, generator = ON_CODES[name], Generator().manual_seed(0)
    factors = SPACE.draw(6_000, generator)
    codes = factors.repeat(1, 2).float() + torch.randn(6_000, 6, generator=generator)
    settings = override(metric.settings(), FEW.get(name.partition("@")[0], {}))
    two, one = ({}, {})
    for n_threads, found in ((2, two), (1, one)):
        torch.set_num_threads(n_threads)
        found |= metric.score(codes, Draw.of_rows(factors[:4_000], factors[4_000:]), settings).values
    assert two == pytest.approx(one, abs=within(name), rel=0)


@pytest.mark.parametrize("name", METRICS)
def test_size_of_chunks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scores(name)
    assert LIMITS
    for module, limit in LIMITS:
        monkeypatch.setattr(module, limit, 500)
    assert scores(name) == pytest.approx(whole, abs=within(name), rel=0)


@pytest.mark.parametrize("name", METRICS)
def test_default_device(name: str) -> None:
    """Tensors made without saying where land on `meta`, and fail there."""
    metric, arguments = ON_CODES[name], given(name)
    expected = metric.score(*arguments)
    with torch.device("meta"):
        found = metric.score(*arguments)
    assert found.values == expected.values


@pytest.mark.parametrize("name", [n for n, entry in registry.datasets().items() if entry.spec.made_on == "any"])
def test_generated_images_are_made_on_the_device_of_the_index(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor says where it is: with a default device that holds no numbers, the same bytes come out.

    Where there is a GPU, it has to give them, too.
    """
    if name.startswith("sprites") and not os.environ.get("DISBENCH_DATA"):
        pytest.skip(f"{name} needs files")
    if name.startswith("scream"):
        Image.linear_gradient("L").save(tmp_path / "The_Scream.png")
        (tmp_path / "The_Scream.png").rename(tmp_path / "The_Scream.jpg")
        monkeypatch.setenv("DISBENCH_DATA", str(tmp_path))
    dataset = registry.load_dataset(name)
    index = torch.randint(len(dataset), (64,), generator=Generator().manual_seed(0))
    expected = dataset.images(index)
    with torch.device("meta"):
        assert torch.equal(dataset.images(index), expected)
    if torch.cuda.is_available():
        assert torch.equal(dataset.images(index.cuda()).cpu(), expected)
