"""Properties over small random arrays: what should not move a score does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from disbench import score_codes
from disbench.metrics import dci, factor_vae, mig
from disbench.testing import TRANSFORMS, check_score
from disbench.types import Draw, Factor, FactorSpace

SPACE = FactorSpace((Factor("a", 3), Factor("b", 2), Factor("c", 4)))
# Values of a coarse grid: ties, constant codes and duplicated codes come up often.
COARSE = st.integers(-8, 8).map(lambda i: i / 4)


def sample_draw(seed: int, n: int) -> Draw:
    generator = torch.Generator().manual_seed(seed)
    return Draw.of_samples(SPACE, {"train": n}, generator)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, st.tuples(st.just(len(SPACE)), st.integers(2, 6)), elements=COARSE), st.integers(0, 2**31))
def test_mig_is_invariant(table: np.ndarray, seed: int) -> None:
    draw, codes = sample_draw(seed, 40), torch.from_numpy(table)
    chosen = mig.Settings(num_train=40, bins=5)
    check_score(mig.METRIC, codes, draw, chosen, seed)


# Ties between codes go to the lowest one, which a permutation changes; continuous codes and batches of more
# than one picture have none.
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_factor_vae_is_invariant(n_codes: int, seed: int) -> None:
    chosen = factor_vae.Settings(num_variance_estimate=50, num_train=30, num_eval=20, batch_size=16)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(len(SPACE), n_codes, generator=generator)
    draw = factor_vae.draw(SPACE, chosen, generator)
    check_score(factor_vae.METRIC, codes, draw, chosen, seed)
    unpruned = replace(chosen, prune_threshold=0.0)
    scaled, _ = TRANSFORMS["scaling codes"](codes, draw, generator)
    assert factor_vae.score(scaled, draw, unpruned).values == factor_vae.score(codes, draw, unpruned).values


# Equal splits of different codes are decided by chance: continuous codes and enough samples keep them rare.
@settings(max_examples=10, deadline=None)
@given(st.integers(2, 4), st.integers(0, 2**31))
def test_dci_is_invariant(n_codes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    factors = SPACE.draw(400, generator)
    codes = torch.cat([factors.float()] * 2, dim=1)[:, :n_codes] + 0.3 * torch.randn(400, n_codes, generator=generator)
    chosen, draw = dci.Settings(stages=3), Draw.of_rows(factors[:300], factors[300:], seed=seed % 1000)
    check_score(dci.METRIC, codes, draw, chosen, seed)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_rows_of_a_grid_may_come_in_any_order(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(len(SPACE), 3, generator=generator)
    factors = SPACE.values(torch.arange(len(SPACE)))
    order = torch.randperm(len(SPACE), generator=generator)
    small = {"factor_vae.num_train": 30, "factor_vae.num_eval": 20, "factor_vae.num_variance_estimate": 40}
    reports = [
        score_codes(codes[rows], factors[rows], metrics="factor_vae,mig", settings=small)
        for rows in (torch.arange(len(SPACE)), order)
    ]
    assert dict(reports[0].scores) == pytest.approx(dict(reports[1].scores))


def test_every_transform_changes_its_input() -> None:
    """The invariance checks compare two different inputs."""
    draw, codes = sample_draw(0, 40), torch.randn(len(SPACE), 4, generator=torch.Generator().manual_seed(0))
    for name, transform in TRANSFORMS.items():
        changed, changed_draw = transform(codes, draw, torch.Generator().manual_seed(0))
        same_codes = changed.shape == codes.shape and torch.equal(changed, codes)
        assert not (same_codes and torch.equal(changed_draw.indices["train"], draw.indices["train"])), name
