"""UDR against its reference: the scores of every pair of models, and of every model."""

import json
from pathlib import Path

import numpy as np
import pytest

from disbench.metrics.udr import udr

FOLDER = Path(__file__).parent
GOLDEN = {golden["settings"]["similarity"]: golden for golden in json.loads((FOLDER / "udr.json").read_text())}


@pytest.mark.parametrize("similarity", GOLDEN)
def test_udr(similarity: str) -> None:
    golden, given = GOLDEN[similarity], np.load(FOLDER / "udr.npz")
    found = udr(given["codes"], given["kl"], similarity=similarity)
    within = golden["tolerance"]["udr"]
    np.testing.assert_allclose(found.details["pairwise"], given[f"pairwise_{similarity}"], atol=within)
    assert found.details["model_scores"] == pytest.approx(golden["model_scores"], abs=within)
    assert found.values == pytest.approx(golden["scores"]["five models"], abs=within)
