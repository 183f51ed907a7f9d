"""Data sets and models small enough for a test."""

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pytest
import torch
from torch import Tensor

from disbench.protocols import PROTOCOLS
from disbench.types import DatasetSpec, Factor, FactorSpace

TINY = FactorSpace((Factor("hue", 4), Factor("x", 8, "ordinal"), Factor("y", 8, "ordinal")))


FACTORS_OF_TINY = TINY.values(torch.arange(len(TINY)))


class TinyDataset:
    """A bright square of one of four greys on an 8 x 8 board: 256 images."""

    spec = DatasetSpec(
        name="tiny",
        summary="a grey square on a small board",
        space=TINY,
        image_shape=(8, 8, 1),
        licence="Apache-2.0",
        citation="@misc{tiny}",
        homepage="none",
    )

    def __init__(self) -> None:
        self.served: list[Tensor] = []

    def __len__(self) -> int:
        return len(TINY)

    def factors(self, index: Tensor) -> Tensor:
        return TINY.values(index)

    def images(self, index: Tensor) -> Tensor:
        self.served.append(index)
        values = TINY.values(index)
        pixels = torch.zeros(len(index), 8, 8, 1, dtype=torch.uint8)
        pixels[torch.arange(len(index)), values[:, 2], values[:, 1], 0] = (60 * (values[:, 0] + 1)).to(torch.uint8)
        return pixels

    @cached_property
    def content_hash(self) -> str:
        return "0" * 64


@pytest.fixture
def tiny() -> TinyDataset:
    return TinyDataset()


def perfect_codes(images: Tensor) -> Tensor:
    """Brightness, column and row of the square: (n, 3)."""
    board = images[:, 0]
    brightness = board.amax((1, 2))
    column = board.amax(1).argmax(1).float()
    row = board.amax(2).argmax(1).float()
    return torch.stack([brightness, column, row], dim=1)


@pytest.fixture
def perfect() -> Callable[[Tensor], Tensor]:
    return perfect_codes


SMALL = {
    "factor_vae.num_variance_estimate": 200,
    "factor_vae.num_train": 100,
    "factor_vae.num_eval": 50,
    "mig.num_train": 500,
    "dci.num_train": 200,
    "dci.num_test": 100,
    "dci.stages": 5,
    "dci_es.num_train": 200,
    "dci_es.num_test": 100,
    "dci_es.trees": 20,
    "infomec.num_train": 300,
    "infomec@dyga.num_train": 300,
    "dcimig.num_train": 500,
    "flatness.repeats": 50,
    "gaussian_total_correlation.num_train": 500,
    "gaussian_wasserstein_correlation.num_train": 500,
    "irs.num_train": 500,
    "jemmig.num_train": 500,
    "jemmig@ubisoft.num_train": 500,
    "linearity.repeats": 50,
    "mig_sup.num_train": 500,
    "mig_sup@ubisoft.num_train": 500,
    "modularity.num_train": 500,
    "beta_vae.num_train": 200,
    "beta_vae.num_eval": 100,
    "downstream.num_train": 150,
    "downstream.num_test": 100,
    "downstream.stages": 2,
    "explicitness.num_train": 500,
    "explicitness.num_test": 250,
    "med.num_train": 500,
    "med.num_test": 250,
    "med@top1.num_train": 500,
    "med@top1.num_test": 250,
    "sap.num_train": 500,
    "sap.num_test": 250,
    "mutual_information.num_train": 500,
    "rmig.num_train": 500,
    "sap_continuous.num_train": 500,
    "tad.num_train": 100,
    "tad@nashae.num_train": 100,
    "tad@disdiff.num_train": 100,
    "tad@encdiff.num_train": 100,
    "tad@dyga.num_train": 100,
    "tad@infodiffusion.num_train": 100,
}


# The same for an evaluation under `locatello2019`, which then takes a second or two.
SMALL_LOCATELLO = {
    path: size for path, size in SMALL.items() if path.split(".")[0] in PROTOCOLS["locatello2019"].settings
}


@pytest.fixture
def small() -> dict[str, int]:
    """Settings with which an evaluation under `locatello2019` takes a second or two."""
    return dict(SMALL_LOCATELLO)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two threads on two busy cores can be ten times slower than one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared files go to a folder of the test run, unless one was named."""
    os.environ.setdefault("DISBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data files, for tests that cannot do without."""
    if not os.environ.get("DISBENCH_DATA"):
        pytest.skip("needs real data files: set DISBENCH_DATA to their folder")
    return Path(os.environ["DISBENCH_DATA"])
