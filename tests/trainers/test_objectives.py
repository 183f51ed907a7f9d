"""Loss terms of the VAE family against plain ones, and their gradients against finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from disbench import UsageError
from reference_models import objectives
from tests.oracles import vae as plain

SIZES = [(2, 1), (5, 3), (16, 10), (33, 4)]  # images, codes
N_IMAGES = 500


def batch(n: int, n_codes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, means and log-variances, float64."""
    generator = torch.Generator().manual_seed(1000 * seed + n)
    mean, log_variance, noise = torch.randn(3, n, n_codes, generator=generator, dtype=torch.float64)
    log_variance = log_variance - 1
    return mean + (log_variance / 2).exp() * noise, mean, log_variance


def logits(n: int, *, scale: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * seed + n)
    first, second = scale * torch.randn(2, n, 2, generator=generator, dtype=torch.float64)
    return first, second


def near(expected: float) -> object:
    return pytest.approx(expected, rel=plain.TOLERANCE, abs=plain.TOLERANCE)


@pytest.mark.parametrize(("n", "n_codes"), SIZES)
def test_kl_and_reconstruction(n: int, n_codes: int) -> None:
    for seed in range(3):
        _, mean, log_variance = batch(n, n_codes, seed)
        expected = plain.kl_to_standard_normal(mean.numpy(), log_variance.numpy())
        assert objectives.kl_to_standard_normal(mean, log_variance).item() == near(expected)
        outputs, images = mean.reshape(n, 1, 1, n_codes), log_variance.sigmoid().reshape(n, 1, 1, n_codes)
        expected = plain.bernoulli_nll(outputs.numpy(), images.numpy())
        assert objectives.bernoulli_nll(outputs, images).item() == near(expected)


def test_capacity_is_a_ramp_of_the_steps() -> None:
    for step in (0, 1, 250, 999, 1000, 1001, 10**6):
        assert objectives.capacity(step, 25.0, 1000) == near(plain.capacity(step, 25.0, 1000))
    assert objectives.capacity(0, 25.0, 1000) == 0
    assert objectives.capacity(500, 25.0, 1000) == 12.5
    assert objectives.capacity(5000, 25.0, 1000) == 25.0


@pytest.mark.parametrize(("n", "n_codes"), SIZES)
def test_total_correlation_of_every_estimator(n: int, n_codes: int) -> None:
    for seed in range(2):
        codes, mean, log_variance = batch(n, n_codes, seed)
        arrays = codes.numpy(), mean.numpy(), log_variance.numpy()
        for log_weights, weights in (
            (0.0, plain.no_weights(n, N_IMAGES)),
            (objectives.weighted(n, N_IMAGES), plain.weighted(n, N_IMAGES)),
            (objectives.stratified(n, N_IMAGES), plain.stratified(n, N_IMAGES)),
        ):
            found = objectives.total_correlation(codes, mean, log_variance, log_weights).item()
            assert found == near(plain.total_correlation(*arrays, weights))


def test_minibatch_and_weighted_differ_by_a_constant() -> None:
    codes, mean, log_variance = batch(16, 10)
    minibatch, weighted = (
        objectives.total_correlation(codes, mean, log_variance, log_weights)
        for log_weights in (0.0, objectives.weighted(16, N_IMAGES))
    )
    assert (weighted - minibatch).item() == near(9 * np.log(N_IMAGES * 16))


def test_total_correlation_of_a_single_code_is_zero() -> None:
    codes, mean, log_variance = batch(9, 1)
    for log_weights in (0.0, objectives.weighted(9, N_IMAGES), objectives.stratified(9, N_IMAGES)):
        assert objectives.total_correlation(codes, mean, log_variance, log_weights).item() == 0


def test_total_correlation_stays_finite_where_densities_vanish() -> None:
    codes = 1e3 * torch.arange(4.0)[:, None].expand(4, 3)
    log_variance = torch.full((4, 3), -20.0, requires_grad=True)
    found = objectives.total_correlation(codes, codes, log_variance, objectives.stratified(4, 9, dtype=torch.float32))
    found.backward()
    assert found.isfinite()
    assert log_variance.grad is not None
    assert log_variance.grad.isfinite().all()


@pytest.mark.parametrize("n", [2, 3, 8, 64])
@pytest.mark.parametrize("n_images", [64, 1000, 480_000])
def test_weights_of_stratified_sampling(n: int, n_images: int) -> None:
    weights = objectives.stratified(n, n_images).exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(weights, torch.tensor(plain.stratified(n, n_images), dtype=torch.float64))
    assert (weights.diagonal() - 1 / n_images).abs().max() < 1e-15
    columns = weights.sum(0)  # no image stands out, as column 0 would if 1 / n_images were there in every row
    torch.testing.assert_close(columns, torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)


def test_estimators_that_cannot_be() -> None:
    for n, n_images in ((1, 100), (101, 100), (4, 0)):
        with pytest.raises(UsageError, match="stratified estimator needs a batch of 2"):
            objectives.stratified(n, n_images)
    with pytest.raises(UsageError, match="weighted estimator needs n_images"):
        objectives.weighted(4, 0)


@pytest.mark.parametrize(("n", "n_codes"), SIZES)
def test_permuted_codes_equal_the_plain_ones(n: int, n_codes: int) -> None:
    codes, _, _ = batch(n, n_codes)
    keys = torch.rand(n, n_codes, generator=torch.Generator().manual_seed(n))
    assert np.array_equal(objectives.permuted(codes, keys).numpy(), plain.permuted(codes.numpy(), keys.numpy()))


def test_every_column_is_permuted_by_itself_and_by_its_keys_alone() -> None:
    codes, _, _ = batch(64, 10)
    keys = torch.rand(64, 10, generator=torch.Generator().manual_seed(0))
    found = objectives.permuted(codes, keys)
    assert torch.equal(found.sort(0).values, codes.sort(0).values)
    orders = [tuple((found[:, column, None] == codes[:, column]).long().argmax(1).tolist()) for column in range(10)]
    assert len(set(orders)) == 10
    assert torch.equal(found, objectives.permuted(codes, keys))
    keys[:, 3] = keys[:, 3].flip(0)
    changed = (objectives.permuted(codes, keys) != found).any(0)
    assert changed.tolist() == [column == 3 for column in range(10)]
    same = torch.zeros(64, 10)  # ties keep the order
    assert torch.equal(objectives.permuted(codes, same), codes)


def test_permutations_are_uniform() -> None:
    codes = torch.arange(3.0)[:, None].expand(3, 6000)
    keys = torch.rand(3, 6000, generator=torch.Generator().manual_seed(0))
    orders, counts = objectives.permuted(codes, keys).unique(dim=1, return_counts=True)
    assert orders.shape == (3, 6)
    assert (counts - 1000).abs().max() < 5 * (6000 * 1 / 6 * 5 / 6) ** 0.5


@pytest.mark.parametrize("scale", [1.0, 20.0])  # the larger one reaches the clip
@pytest.mark.parametrize("n", [1, 7, 64])
def test_discriminator_terms(n: int, scale: float) -> None:
    for seed in range(3):
        first, second = logits(n, scale=scale, seed=seed)
        assert objectives.log_density_ratio(first).item() == near(plain.log_density_ratio(first.numpy()))
        expected = plain.discriminator_loss(first.numpy(), second.numpy())
        assert objectives.discriminator_loss(first, second).item() == near(expected)


def test_the_discriminators_probabilities_are_clipped_and_the_ratio_is_not() -> None:
    sure = torch.tensor([[50.0, -50.0]], dtype=torch.float64, requires_grad=True)
    wrong = objectives.discriminator_loss(sure.flip(1), sure)
    assert wrong.item() == near(-np.log(1e-6))
    assert objectives.discriminator_loss(sure, sure.flip(1)).item() == near(-np.log(1 - 1e-6))
    assert not torch.autograd.grad(wrong, sure)[0].any()
    ratio = objectives.log_density_ratio(sure)
    assert ratio.item() == 100
    assert torch.autograd.grad(ratio, sure)[0].tolist() == [[1, -1]]


@pytest.mark.parametrize(("n", "n_codes"), SIZES)
def test_covariances_and_their_penalties(n: int, n_codes: int) -> None:
    for seed in range(3):
        _, mean, log_variance = batch(n, n_codes, seed)
        matrix = objectives.covariance(mean)
        np.testing.assert_allclose(matrix.numpy(), plain.covariance(mean.numpy()), rtol=0, atol=1e-12)
        found = [penalty(matrix).item() for penalty in (objectives.off_diagonal_penalty, objectives.diagonal_penalty)]
        assert found == near(list(plain.dip_penalties(mean.numpy())))
        matrix = matrix + log_variance.exp().mean(0).diag()
        found = [penalty(matrix).item() for penalty in (objectives.off_diagonal_penalty, objectives.diagonal_penalty)]
        assert found == near(list(plain.dip_penalties(mean.numpy(), log_variance.numpy())))


def test_full_precision_raises_half_and_keeps_double() -> None:
    for before, after in (
        (torch.bfloat16, torch.float32), (torch.float16, torch.float32),
        (torch.float32, torch.float32), (torch.float64, torch.float64),
    ):  # fmt: skip
        assert objectives.full_precision(torch.zeros(1, dtype=before)).dtype == after


def of_total_correlation(log_weights: Tensor | float) -> Callable[..., Tensor]:
    return lambda *values: objectives.total_correlation(*values, log_weights)


KEYS = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
CODES, MEAN, LOG_VARIANCE = batch(4, 3)
LOGITS = logits(4)
OBJECTIVES: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "kl": (objectives.kl_to_standard_normal, (MEAN, LOG_VARIANCE)),
    "reconstruction": (lambda outputs: objectives.bernoulli_nll(outputs, CODES.sigmoid()), (MEAN,)),
    "total correlation, minibatch": (of_total_correlation(0.0), (CODES, MEAN, LOG_VARIANCE)),
    "total correlation, weighted": (of_total_correlation(objectives.weighted(4, 9)), (CODES, MEAN, LOG_VARIANCE)),
    "total correlation, stratified": (of_total_correlation(objectives.stratified(4, 9)), (CODES, MEAN, LOG_VARIANCE)),
    "permuted codes": (lambda codes: objectives.permuted(codes, KEYS), (CODES,)),
    "density ratio": (objectives.log_density_ratio, LOGITS[:1]),
    "discriminator": (objectives.discriminator_loss, LOGITS),
    "off-diagonal covariances": (lambda mean: objectives.off_diagonal_penalty(objectives.covariance(mean)), (MEAN,)),
    "diagonal of the covariance, I": (lambda mean: objectives.diagonal_penalty(objectives.covariance(mean)), (MEAN,)),
    "diagonal of the covariance, II": (
        lambda mean, logs: objectives.diagonal_penalty(objectives.covariance(mean) + logs.exp().mean(0).diag()),
        (MEAN, LOG_VARIANCE),
    ),
    "distance from the capacity": (
        lambda mean, logs: (objectives.kl_to_standard_normal(mean, logs) - objectives.capacity(3, 25.0, 10)).abs(),
        (MEAN, LOG_VARIANCE),
    ),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    function, inputs = OBJECTIVES[name]
    assert torch.autograd.gradcheck(function, [values.clone().requires_grad_() for values in inputs])
