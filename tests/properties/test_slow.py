"""What takes a minute: DCI against scikit-learn's trees on arrays of no golden file, and every metric in one run."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier
from torch import Tensor

from disbench import evaluate, score_codes
from tests.conftest import TinyDataset, perfect_codes
from tests.oracles.dci import weighted


@pytest.mark.slow
@pytest.mark.parametrize("n_codes", [4, 12])
def test_dci_is_that_of_scikit_learns_trees(n_codes: int) -> None:
    rng = np.random.default_rng(n_codes)
    factors = np.stack([rng.integers(size, size=6_000) for size in (2, 3, 12)], axis=1)
    codes = (factors @ rng.standard_normal((3, n_codes)) + rng.standard_normal((6_000, n_codes))).astype(np.float32)
    train, test = slice(0, 4_000), slice(4_000, None)
    models = [GradientBoostingClassifier(random_state=0).fit(codes[train], column) for column in factors[train].T]
    importance = np.array([model.feature_importances_ for model in models]).T
    accuracy = np.mean([m.score(codes[test], column) for m, column in zip(models, factors[test].T, strict=True)])
    arrays = {"test_codes": codes[test], "test_factors": factors[test]}
    found = score_codes(codes[train], factors[train], **arrays, metrics="dci").scores
    assert found["dci.disentanglement"] == pytest.approx(weighted(importance), abs=2e-3)
    assert found["dci.completeness"] == pytest.approx(weighted(importance.T), abs=2e-3)
    assert found["dci.informativeness"] == pytest.approx(accuracy, abs=5e-3)


@pytest.mark.slow
def test_every_metric_in_one_run_with_its_own_sizes(tiny: TinyDataset) -> None:
    def encode(images: Tensor) -> Tensor:
        codes = perfect_codes(images)
        return torch.cat([codes, codes @ torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.5, 1.0]])], dim=1)

    report = evaluate(encode, tiny, protocol="full")
    status = {name: value.status for name, value in report.values.items()}
    undefined = {name for name, found in status.items() if found == "undefined"}
    assert undefined <= {"gaussian_total_correlation"}  # the last two codes depend on the others
    refused = {name.partition("@")[0].partition(".")[0] for name, found in status.items() if found == "not applicable"}
    assert refused == {"tad"}  # a hue is no attribute
    assert len(report.scores) > 40
