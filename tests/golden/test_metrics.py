"""Scores and inner matrices of the reference implementations."""

from pathlib import Path

import numpy as np
import pytest
import torch

from disbench.metrics._importance import disentanglement
from disbench.metrics.factor_vae import accuracy_of_votes
from disbench.metrics.mig import mig
from tests.golden.comparisons import Comparison, comparisons
from tests.oracles.representations import CASES, samples

MATRICES = np.load(Path(__file__).parent / "matrices.npz")
ALL = comparisons()
each_case = pytest.mark.parametrize(("dataset", "name"), CASES)


@pytest.mark.parametrize("comparison", ALL, ids=str)
def test_scores(comparison: Comparison) -> None:
    found = comparison.scores()
    for value, expected in comparison.expected.items():
        assert found[value] == pytest.approx(expected, abs=comparison.tolerance[value], rel=0), value


def test_no_case_is_named_twice() -> None:
    assert len({(str(c), c.against) for c in ALL}) == len(ALL)


@each_case
def test_mutual_information(dataset: str, name: str) -> None:
    given = samples(dataset, name)
    found = mig(given["codes"], given["factors"]).details["mutual_information"]
    np.testing.assert_allclose(found, MATRICES[f"{dataset}__{name}__mutual_information"], atol=1e-9)


@each_case
def test_factor_vae_from_stored_votes(dataset: str, name: str) -> None:
    train, evaluation = (torch.from_numpy(MATRICES[f"{dataset}__{name}__votes_{part}"]) for part in ("train", "eval"))
    expected = {f"{c.dataset}/{c.representation}": c.expected for c in ALL if c.metric == "factor_vae"}
    found = accuracy_of_votes(train, evaluation)[1]
    assert found == pytest.approx(expected[f"{dataset}/{name}"]["factor_vae"], abs=1e-9)


@each_case
def test_dci_formulas_on_stored_importances(dataset: str, name: str) -> None:
    importance = torch.from_numpy(MATRICES[f"{dataset}__{name}__importance"])
    expected = next(c for c in ALL if (c.metric, c.dataset, c.representation) == ("dci", dataset, name)).expected
    assert disentanglement(importance) == pytest.approx(expected["dci.disentanglement"], abs=1e-9)
    assert disentanglement(importance.T) == pytest.approx(expected["dci.completeness"], abs=1e-9)
