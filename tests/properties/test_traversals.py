"""Flatness and linearity of whole traversals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from disbench.errors import DisbenchError
from disbench.metrics import _traversals, flatness, linearity
from disbench.plan import make_plan
from disbench.testing import check_score
from disbench.types import Factor, FactorSpace

SPACE = FactorSpace((Factor("a", 3), Factor("still", 1), Factor("c", 4)))
FACTORS = SPACE.values(torch.arange(len(SPACE)))
COARSE = st.integers(-8, 8).map(lambda i: i / 4)  # ties, constant codes and duplicated codes come up often
both = pytest.mark.parametrize("module", [flatness, linearity])


def along(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and factors of a grid with a single factor, whose only traversal is given."""
    return points, np.arange(len(points))[:, None]


@both
@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, st.tuples(st.just(len(SPACE)), st.integers(1, 5)), elements=COARSE), st.integers(0, 2**31))
def test_invariant_in_range_or_undefined(module, table: np.ndarray, seed: int) -> None:
    chosen = module.Settings(repeats=7)
    draw = module.draw(SPACE, chosen, torch.Generator().manual_seed(seed))
    check_score(module.METRIC, torch.from_numpy(table), draw, chosen, seed)


def test_traversals_run_through_one_factor_and_hold_the_others() -> None:
    draw = _traversals.draw_traversals(SPACE, 5, torch.Generator().manual_seed(0))
    assert {part: tuple(index.shape) for part, index in draw.indices.items()} == {
        "traversal 0": (5, 3),
        "traversal 2": (5, 4),
    }
    values = SPACE.values(draw.indices["traversal 2"])
    assert (values[:, :, 2] == torch.arange(4)).all()
    assert (values[:, :, :2] == values[:, :1, :2]).all()
    assert len(values[:, 0, 0].unique()) > 1


def test_the_factors_themselves_are_perfect() -> None:
    assert flatness.flatness(FACTORS, FACTORS).values == {"flatness": 1.0}
    found = linearity.linearity(FACTORS, FACTORS).values
    assert found == pytest.approx(dict.fromkeys(found, 1.0))


def test_flatness_of_one_traversal() -> None:
    # Corners of a rectangle 3 x 4: across 5, steps 3, 4 and 3 without the last.
    found = flatness.flatness(*along(np.array([[0, 0], [3, 0], [3, 4], [0, 4]])), repeats=3)
    assert found.values["flatness"] == pytest.approx(5 / (3 + 4 + 3))
    assert found.details["width_l1"] == [7.0]
    assert found.details["flatness_l1"] == pytest.approx(7 / 10)
    diagonal = flatness.flatness(*along(np.array([[0, 0], [1, 1], [2, 2]])), repeats=3)
    assert diagonal.values["flatness"] == pytest.approx(math.sqrt(2) / 2)


def test_linearity_of_one_traversal() -> None:
    diagonal = linearity.linearity(*along(np.array([[0, 0], [1, 1], [2, 2]])), repeats=3).values
    assert diagonal == pytest.approx(
        {"linearity.axis_ratio": 0, "linearity.linear_ratio": 1, "linearity.axis_alignment": 0}
    )
    # Variances 9 and 16 of the corners of a rectangle: (16 / 25 - 1 / 2) / (1 / 2), along axes.
    rectangle = linearity.linearity(*along(np.array([[0, 0], [3, 0], [3, 4], [0, 4]])), repeats=3).values
    assert rectangle == pytest.approx(
        {"linearity.axis_ratio": 0.28, "linearity.linear_ratio": 0.28, "linearity.axis_alignment": 1}
    )
    square = linearity.linearity(*along(np.array([[0, 0], [1, 0], [1, 1], [0, 1]])), repeats=3).values
    assert square == dict.fromkeys(square, 0.0)


def test_codes_that_stand_still_count_as_zero() -> None:
    still = np.full((len(SPACE), 2), 0.1)
    assert flatness.flatness(still, FACTORS).values == {"flatness": 0.0}
    found = linearity.linearity(still, FACTORS).values
    assert found == dict.fromkeys(found, 0.0)
    only_first = np.stack([FACTORS[:, 0].numpy() * 0.1, still[:, 0]], axis=1)
    assert flatness.flatness(only_first, FACTORS).values["flatness"] == pytest.approx(0.5)
    assert linearity.linearity(only_first, FACTORS).details["axis_ratio"] == pytest.approx([1, 0])


@both
def test_undefined(module) -> None:
    plain = getattr(module, module.METRIC.name)
    reasons = plain([[1.0, 2.0]], [[0, 0]]).undefined
    assert set(reasons) == {value.name for value in module.METRIC.values}
    assert all(reason.startswith("no factor takes more than one value") for reason in reasons.values())
    one_value = FactorSpace((Factor("only", 1),))
    draw = module.draw(one_value, module.Settings(), torch.Generator())
    assert make_plan({"it": draw}).images.tolist() == [0]
    with pytest.raises(DisbenchError, match="whole traversals: it needs every combination"):
        plain([[1.0], [2.0], [3.0]], [[0, 0], [0, 1], [1, 0]])


def test_one_code() -> None:
    assert flatness.flatness(*along(np.array([[0], [1], [3]]))).values["flatness"] == pytest.approx(1)
    reasons = linearity.linearity(*along(np.array([[0], [1], [3]]))).undefined
    assert set(reasons.values()) == {"with one code every traversal lies on one axis"}


@both
def test_chunks_scale_and_duplicates(module, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.randn(len(SPACE), 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = getattr(module, module.METRIC.name)
    whole = plain(codes, FACTORS).values
    for scale in (2.0**57, 2.0**-100):
        assert plain(codes * scale, FACTORS).values == pytest.approx(whole)
    assert all(0 <= value <= 1 for value in plain(codes.repeat(1, 2), FACTORS).values.values())
    monkeypatch.setattr(_traversals, "_MAX_NUMBERS", 100)
    assert plain(codes, FACTORS).values == pytest.approx(whole, abs=1e-12)
