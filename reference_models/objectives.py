"""Loss terms of the VAE family as pure functions: nats, means over the batch, 0-d.

Codes, means and log-variances are (n, d), those of q(code | image) of n images. The functions compute in the precision
they are given; `full_precision` is what keeps them out of half precision.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from disbench.errors import UsageError


def full_precision(values: Tensor) -> Tensor:
    """At least float32, whatever mixed precision left; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def bernoulli_nll(logits: Tensor, images: Tensor) -> Tensor:
    """-log p(image | code), summed over pixels and channels, mean over the batch; the targets' entropy stays in."""
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) to N(0, 1), summed over codes, mean over the batch."""
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1).mean()


def capacity(step: int, maximum: float, ramp_steps: int) -> float:
    """What the KL is drawn to at an optimiser step: from 0 in a line to `maximum` at `ramp_steps`, then constant."""
    return maximum * min(1.0, step / ramp_steps)


def log_densities(codes: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log q(code | image) of every dimension and pair: (d, n, n), [l, j, i] of code j given image i."""
    codes, mean, log_variance = codes.T[:, :, None], mean.T[:, None], log_variance.T[:, None]
    return -0.5 * ((codes - mean) ** 2 * (-log_variance).exp() + log_variance + math.log(2 * math.pi))


def total_correlation(codes: Tensor, mean: Tensor, log_variance: Tensor, log_weights: Tensor | float = 0.0) -> Tensor:
    """KL of q(code) to the product of its marginals, estimated from the pairs of a batch.

    The mean over codes j of: log sum_i w_ji q(code_j | image_i), less the sum of the same of each dimension alone.

    Args:
        codes: one sample of q(code | image) for each image.
        mean: of q.
        log_variance: of q.
        log_weights: log w_ji, a number or (n, n). 0 leaves a constant out, as disentanglement_lib does; `weighted` and
            `stratified` make those of the paper.

    Source: Chen et al. 2018, "Isolating Sources of Disentanglement in Variational Autoencoders", section 4.1.
    """
    densities = log_densities(codes, mean, log_variance)
    joint = (densities.sum(0) + log_weights).logsumexp(1)
    marginals = (densities + log_weights).logsumexp(2)
    return (joint - marginals.sum(0)).mean()


def weighted(n: int, n_images: int) -> float:
    """The log weight of every pair under minibatch weighted sampling: -log(n_images n), for a batch of n.

    Raises:
        UsageError: n_images is not known.
    """
    if n_images < 1:
        raise UsageError(f"the weighted estimator needs n_images, how many the data set has; got {n_images}.")
    return -math.log(n_images * n)


def stratified(
    n: int, n_images: int, *, dtype: torch.dtype = torch.float64, device: torch.device | None = None
) -> Tensor:
    """Log weights (n, n) of minibatch stratified sampling; each row's weights sum to 1.

    With m = n - 1 others in the batch: 1 / n_images for the image that the code is of (the diagonal),
    (n_images - m) / (n_images m) for one of the others, here the next, and 1 / m for the rest.

    Raises:
        UsageError: the batch has a single image, or as many others as the data set has images.
    """
    others = n - 1
    if not 1 <= others < n_images:
        raise UsageError(
            "the stratified estimator needs a batch of 2 images or more, and no more than n_images, how many the data "
            f"set has; got a batch of {n} and n_images={n_images}."
        )
    log_weights = torch.full((n, n), -math.log(others), dtype=dtype, device=device)
    log_weights.fill_diagonal_(-math.log(n_images))
    rows = torch.arange(n, device=device)
    log_weights[rows, (rows + 1) % n] = math.log((n_images - others) / (n_images * others))
    return log_weights


def permuted(codes: Tensor, keys: Tensor) -> Tensor:
    """Codes whose every dimension is permuted over the batch by itself, in the order of its column of keys (n, d)."""
    return codes.gather(0, keys.argsort(dim=0, stable=True))


def log_density_ratio(logits: Tensor) -> Tensor:
    """The discriminator's estimate of the total correlation, from its logits (n, 2) of codes of images."""
    return (logits[:, 0] - logits[:, 1]).mean()


def discriminator_loss(logits: Tensor, logits_of_permuted: Tensor) -> Tensor:
    """Cross-entropy of the discriminator: codes of images are class 0, permuted ones class 1.

    Probabilities are clipped to [1e-6, 1 - 1e-6], as in disentanglement_lib; there the gradient ends.
    """
    of_codes, of_permuted = (
        values.softmax(1).clamp(1e-6, 1 - 1e-6).log().mean(0) for values in (logits, logits_of_permuted)
    )
    return -0.5 * (of_codes[0] + of_permuted[1])


def covariance(codes: Tensor) -> Tensor:
    """The covariance (d, d) of codes over the batch, divided by n."""
    centred = codes - codes.mean(0)
    # Not a matrix product, which mixed precision would round.
    return (centred[:, :, None] * centred[:, None, :]).mean(0)


def off_diagonal_penalty(matrix: Tensor) -> Tensor:
    """The sum of squares off the diagonal, both halves."""
    return (matrix - matrix.diagonal().diag()).square().sum()


def diagonal_penalty(matrix: Tensor) -> Tensor:
    """The sum of squares of the diagonal less 1."""
    return (matrix.diagonal() - 1).square().sum()
