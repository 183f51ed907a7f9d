"""The factor space: index <-> values, and draws."""

import numpy as np
import pytest
import torch

from disbench import plan
from disbench.errors import DisbenchError
from disbench.plan import Grid, generator_for, grid_of_rows, make_plan
from disbench.types import Draw, Factor, FactorSpace

SPACE = FactorSpace((Factor("a", 3), Factor("b", 1), Factor("c", 5), Factor("d", 2)))


def test_index_and_values_are_inverse_and_the_last_factor_is_fastest() -> None:
    index = torch.arange(len(SPACE))
    values = SPACE.values(index)
    assert torch.equal(SPACE.index(values), index)
    expected = np.stack(np.unravel_index(np.arange(30), SPACE.sizes), axis=1)
    assert np.array_equal(values.numpy(), expected)


@pytest.mark.parametrize("values", [[3, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0]])
def test_values_outside_the_space_are_refused(values: list[int]) -> None:
    with pytest.raises(DisbenchError):
        SPACE.index(torch.tensor([values]))


def test_indices_outside_the_space_are_refused() -> None:
    with pytest.raises(DisbenchError, match=r"0 \.\.\. 29"):
        SPACE.values(torch.tensor([30]))


def test_draw_is_uniform() -> None:
    values = SPACE.draw(30_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(SPACE.index(values), minlength=30)
    assert counts.min() > 850  # 1,000 expected, standard deviation 31
    assert counts.max() < 1150


def test_draw_fixed_shares_one_factor_and_draws_the_others() -> None:
    values, shared = SPACE.draw_fixed(2_000, 16, torch.Generator().manual_seed(0))
    assert values.shape == (2_000, 16, 4)
    is_constant = (values == values[:, :1]).all(1)
    assert is_constant.gather(1, shared[:, None]).all()
    assert set(shared.tolist()) == {0, 2, 3}  # b takes one value: nothing to hold fixed
    others = is_constant[shared == 0][:, 2]
    assert not others.any()  # 16 draws of 5 values are all alike once in 5 ** 15
    assert torch.bincount(values[shared == 2][:, 0, 2]).min() > 90  # the shared value itself is uniform


def test_generators_depend_on_their_name_and_seed_only() -> None:
    first = torch.rand(4, generator=generator_for(0, "mig", 1))
    assert torch.equal(first, torch.rand(4, generator=generator_for(0, "mig", 1)))
    for other in ((1, "mig", 1), (0, "dci", 1), (0, "mig", 2)):
        assert not torch.equal(first, torch.rand(4, generator=generator_for(*other)))


def test_plan_holds_each_image_once_and_finds_its_row() -> None:
    draws = {
        "one": Draw({"train": torch.tensor([[5, 3], [5, 9]])}, {}, ("a",)),
        "two": Draw({"train": torch.tensor([9, 0])}, {}, ("a",)),
    }
    plan = make_plan(draws, also=[torch.tensor([7])])
    assert plan.images.tolist() == [0, 3, 5, 7, 9]
    assert plan.n_asked == 7
    assert plan.draw("one").indices["train"].tolist() == [[2, 1], [2, 4]]
    assert torch.equal(plan.images[plan.draw("two").indices["train"]], torch.tensor([9, 0]))


def test_rows_are_recognised_as_a_grid() -> None:
    factors = SPACE.values(torch.arange(len(SPACE)))
    order = torch.randperm(len(SPACE))
    rows = torch.cat([factors[order], factors[:4]])  # four combinations twice: the first stands
    grid = grid_of_rows(rows, SPACE.names)
    assert isinstance(grid, Grid)
    assert torch.equal(rows[grid.rows], factors)
    assert grid.rows.max() < len(SPACE)
    assert "29 of 30" in str(grid_of_rows(factors[1:], SPACE.names))


@pytest.mark.parametrize("max_permuted", [150, 149])
def test_different_images_are_drawn_evenly(max_permuted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all are permuted, or numbers are drawn until enough differ."""
    monkeypatch.setattr(plan, "_MAX_PERMUTED", max_permuted)
    generator, counts = torch.Generator().manual_seed(0), torch.zeros(150)
    for _ in range(2_000):
        counts[plan.distinct(150, 10, generator)] += 1
    deviations = (counts - counts.mean()) / counts.mean().sqrt()
    assert counts.sum() == 20_000
    assert deviations.abs().max() < 4
    assert 0.8 < deviations.std() < 1.2


@pytest.mark.parametrize("max_permuted", [2**30, 1_000])
def test_more_images_begin_with_the_same_ones(max_permuted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_MAX_PERMUTED", max_permuted)
    few, many = (plan.distinct(100_000, n, torch.Generator().manual_seed(0)) for n in (100, 5_000))
    assert len(many.unique()) == 5_000
    assert torch.equal(many[:100], few)
