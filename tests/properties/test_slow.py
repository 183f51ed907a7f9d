"""What takes a minute: DCI against scikit-learn's trees on arrays of no golden file, and every metric in one run."""

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from disbench import evaluate, score_codes
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
def test_every_metric_scores_the_shipped_model() -> None:
    report = evaluate("beta_vae-rooms3d", "rooms3d", protocol="full", settings={"dci.stages": 10})
    assert report.complete
    assert len(report.scores) > 40
