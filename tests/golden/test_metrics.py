"""Scores and inner matrices of the reference implementations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from disbench.metrics import factor_vae as factor_vae_module
from disbench.metrics.dci import dci, disentanglement
from disbench.metrics.factor_vae import factor_vae
from disbench.metrics.mig import mig
from tests.oracles.representations import CASES, SIZES, samples, table

FOLDER = Path(__file__).parent
SCORES = json.loads((FOLDER / "locatello2019.json").read_text())
MATRICES = np.load(FOLDER / "locatello2019.npz")
each_case = pytest.mark.parametrize(("dataset", "name"), CASES)


@each_case
def test_mig(dataset: str, name: str) -> None:
    given = samples(dataset, name)
    found = mig(given["codes"], given["factors"])
    assert found.values["mig"] == pytest.approx(SCORES[f"{dataset}/{name}"]["mig"], abs=1e-9)
    information = MATRICES[f"{dataset}__{name}__mutual_information"]
    np.testing.assert_allclose(found.details["mutual_information"], information, atol=1e-9)


@each_case
def test_factor_vae_from_stored_votes(dataset: str, name: str) -> None:
    train, evaluation = (torch.from_numpy(MATRICES[f"{dataset}__{name}__votes_{part}"]) for part in ("train", "eval"))
    expected = SCORES[f"{dataset}/{name}"]["factor_vae"]
    found = factor_vae_module.accuracy_of_votes(train, evaluation)
    assert found == pytest.approx((expected["train_accuracy"], expected["eval_accuracy"]), abs=1e-9)


@each_case
def test_factor_vae_from_own_draws(dataset: str, name: str) -> None:
    """The accuracy of 5,000 votes has a standard error of at most .007; both sides have one, and a trained table."""
    factors = np.stack(np.unravel_index(np.arange(np.prod(SIZES[dataset])), SIZES[dataset]), axis=1)
    found = factor_vae(table(dataset, name), factors)
    expected = SCORES[f"{dataset}/{name}"]["factor_vae"]["eval_accuracy"]
    assert found.values["factor_vae"] == pytest.approx(expected, abs=0.02 if expected < 1 else 0)
    assert found.details["n_active_codes"] == len(SIZES[dataset]) if name == "axis_dead" else True


@each_case
def test_dci_formulas_on_stored_importances(dataset: str, name: str) -> None:
    importance = torch.from_numpy(MATRICES[f"{dataset}__{name}__importance"])
    expected = SCORES[f"{dataset}/{name}"]["dci"]
    assert disentanglement(importance) == pytest.approx(expected["disentanglement"], abs=1e-9)
    assert disentanglement(importance.T) == pytest.approx(expected["completeness"], abs=1e-9)


@pytest.mark.slow
@each_case
def test_dci(dataset: str, name: str) -> None:
    """Minutes each: 5,700 or 9,900 trees on 10,000 samples."""
    given = samples(dataset, name)
    found = dci(given["codes"], given["factors"], test_codes=given["test_codes"], test_factors=given["test_factors"])
    expected = SCORES[f"{dataset}/{name}"]["dci"]
    assert found.values["dci.disentanglement"] == pytest.approx(expected["disentanglement"], abs=1e-3)
    assert found.values["dci.completeness"] == pytest.approx(expected["completeness"], abs=1e-3)
    assert found.values["dci.informativeness"] == pytest.approx(expected["informativeness_test"], abs=1e-3)
    assert np.mean(found.details["train_accuracy"]) == pytest.approx(expected["informativeness_train"], abs=1e-3)
