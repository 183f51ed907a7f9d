"""Every metric against its plain implementation in tests/oracles."""

import pytest

from tests.oracles.beside import KINDS, METRICS, both


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METRICS)
def test_metric_equals_the_plain_one(name: str, kind: str) -> None:
    for seed in range(3):
        found, expected, within = both(name, kind, seed)
        assert dict(found) == pytest.approx(dict(expected), abs=within, rel=0), seed
