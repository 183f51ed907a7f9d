"""UDR, the unsupervised disentanglement ranking of several models of one family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Generator, Tensor

from disbench.errors import DisbenchError, UsageError
from disbench.metrics._memory import require_memory
from disbench.settings import check_numbers
from disbench.types import MAX_CODE, Codes, Draw, FactorSpace, Metric, Score, ValueSpec

_MAX_ITERATIONS = 20_000
_PRECISION = 1e-12  # of the Lasso's optimality conditions


@dataclass(frozen=True)
class Settings:
    """How UDR compares codes; the defaults are disentanglement_lib's."""

    similarity: str = "lasso"  # or spearman
    alpha: float = 0.1  # penalty of the Lasso, on standardised codes
    kl_threshold: float = 0.01  # nats; codes with a smaller mean divergence from the prior are left out

    def __post_init__(self) -> None:
        check_numbers(self, "udr.")
        if self.similarity not in ("lasso", "spearman"):
            raise UsageError(f"udr.similarity is lasso or spearman; got {self.similarity!r}.")
        if self.alpha == 0:
            raise UsageError("udr.alpha must be above 0: without its penalty the Lasso has no single solution.")


def udr(
    codes: Codes, kl: Tensor, *, similarity: str = "lasso", alpha: float = 0.1, kl_threshold: float = 0.01
) -> Score:
    """How alike models of one family are, code by code: models that disentangle learn the same codes.

    For every ordered pair of models R[a, b] says how much code a of model i has to do with code b of model j: the
    absolute coefficient of a Lasso (1/2n |y - Xw|^2 + alpha |w|_1) that predicts the codes of j from those of i, all
    standardised, or the absolute Spearman correlation. Over codes whose divergence from the prior exceeds the threshold
    score(i, j) = mean_b (max_a R[a, b])^2 / sum_a R[a, b] / 2 + mean_a (max_b R[a, b])^2 / sum_b R[a, b] / 2, with
    0 / 0 = 0. The score of model j is the median of score(i, j) over the others, and UDR the median of the models'.

    Args:
        codes: float (m, n, d), of m models for the same n samples; numpy or torch.
        kl: float (m, d), each code's mean divergence from the prior, in nats.
        similarity: `lasso` or `spearman`.
        alpha: penalty of the Lasso.
        kl_threshold: least divergence of a code that counts.

    Returns:
        `udr`, from 0 up, usually below 1 (Spearman: at most 1), higher is better. To choose a model, read the details:
        `model_scores` (m,) and `pairwise` (m, m), whose row is i, whose column is j and whose diagonal is 0.

    Undefined when:
        there are fewer than two models or two samples, or the Lasso does not settle because codes are all but
        dependent. Duplicated codes are allowed: the Lasso divides a coefficient evenly between them.
        A pair in which either model has no code above the threshold scores 0. A constant code has to do with nothing.

    Source:
        Duan et al. 2020, "Unsupervised Model Selection for Variational Disentangled Representation Learning".

    Matches:
        disentanglement_lib (repository; not released) `udr_sklearn`: every pair and model within 1e-6, with Lasso and
        Spearman, on tests/golden/udr.npz. scikit-learn's Lasso, run to convergence, to 1e-8.

    Differs from:
        disentanglement_lib, which fails if a model has no code above the threshold, blanks codes below a divergence of
        0.01 whatever the threshold, lets a constant code spoil its whole row with Spearman, and of duplicated codes
        gives all to the first with the Lasso.
    """
    settings = Settings(similarity, alpha, kl_threshold)
    codes, kl = _check(codes, kl)
    n_models, n, n_codes = codes.shape
    if reason := _undefined(n_models, n):
        return Score({}, undefined={"udr": reason})
    n_bytes = 8 * (10 * (n_models * n_codes) ** 2 + 4 * codes.numel())
    require_memory(n_bytes, codes.device, f"a comparison of {n_models:,} models with {n_codes:,} codes each")
    active = kl > settings.kl_threshold
    table = codes.double()
    table = _standardised(_ranks(table) if settings.similarity == "spearman" else table) * active[:, None]
    table = table.transpose(0, 1).reshape(n, n_models * n_codes)
    related = (table.T @ table / n).view(n_models, n_codes, n_models * n_codes)
    if settings.similarity == "lasso":
        own = torch.stack([of.view(n_codes, n_models, n_codes)[:, i] for i, of in enumerate(related)])
        solved = _lasso(own, related, settings.alpha)
        if solved is None:
            return Score({}, undefined={"udr": "codes are all but dependent, so that the Lasso does not settle"})
        related = solved
    pairwise = _pair_scores(related.abs().view(n_models, n_codes, n_models, n_codes), active)
    others = ~torch.eye(n_models, dtype=torch.bool, device=codes.device)
    model_scores = pairwise.T[others].view(n_models, n_models - 1).quantile(0.5, dim=1)
    details = {"model_scores": model_scores.tolist(), "pairwise": (pairwise * others).tolist()}
    return Score({"udr": model_scores.quantile(0.5).item()}, details)


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> NoReturn:
    """Raise: UDR compares models, and one model's codes are no basis for it."""
    raise _needs_models(space, settings, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> NoReturn:
    """Raise: UDR compares models, and one model's codes are no basis for it."""
    raise _needs_models(codes, draw, settings)


def _needs_models(*_: Any) -> DisbenchError:
    return DisbenchError(
        "UDR compares several models of one family; call disbench.metrics.udr.udr(codes, kl) with codes "
        "(models, samples, codes) and kl (models, codes)."
    )


def _check(codes: Any, kl: Any) -> tuple[Tensor, Tensor]:
    try:
        codes, kl = (
            array.detach() if isinstance(array, Tensor) else torch.from_numpy(np.array(array)) for array in (codes, kl)
        )
    except (TypeError, ValueError) as error:
        raise DisbenchError(
            f"codes must be one array (models, samples, codes) and kl one (models, codes), of numbers: {error}"
        ) from None
    if codes.ndim != 3 or 0 in codes.shape:
        raise DisbenchError(f"codes must be (models, samples, codes), none of them 0; got {tuple(codes.shape)}.")
    if kl.shape != (codes.shape[0], codes.shape[2]):
        raise DisbenchError(f"kl must be ({codes.shape[0]}, {codes.shape[2]}), models by codes; got {tuple(kl.shape)}.")
    if codes.is_complex() or kl.is_complex() or not (bool(codes.isfinite().all()) and bool(kl.isfinite().all())):
        raise DisbenchError("codes and kl must be finite real numbers.")
    if float(kl.min()) < 0:
        raise DisbenchError(f"kl must not be negative; got {kl.min().item():g}.")
    if float(codes.abs().max()) > MAX_CODE:
        raise DisbenchError(f"codes must lie within ±{MAX_CODE:g}, so that variances are finite; rescale them.")
    return codes, kl.to(codes.device)


def _undefined(n_models: int, n: int) -> str:
    if n_models < 2:
        return "UDR compares models; there is only one"
    if n < 2:
        return "a code's spread needs at least two samples; got one"
    return ""


def _standardised(codes: Tensor) -> Tensor:
    """Codes (m, n, d) with mean 0 and standard deviation 1 over n; constant ones are 0."""
    centred = codes - codes[:, :1]
    centred = centred - centred.mean(1, keepdim=True)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    return centred / torch.where(spread > 0, spread, 1.0)


def _ranks(codes: Tensor) -> Tensor:
    """Ranks of the samples of each code (m, n, d), those of a tie averaged."""
    columns = codes.mT.contiguous()
    in_order = columns.sort(dim=2).values
    smaller, not_larger = (torch.searchsorted(in_order, columns, right=right) for right in (False, True))
    return ((smaller + not_larger + 1).double() / 2).mT


def _lasso(products: Tensor, targets: Tensor, penalty: float) -> Tensor | None:
    """Coefficients (m, d, t) that minimise w'Gw / 2 - c'w + penalty |w|_1 for G (m, d, d) and every column c (m, d, t).

    Accelerated proximal gradients (FISTA), each column restarted when it overshoots. Starting from 0 it treats
    duplicated codes alike. None if some column has not settled in the end.
    """
    largest = torch.linalg.eigvalsh(products)[:, -1, None, None]
    step = 1 / torch.where(largest > 0, largest, 1.0)
    weights = ahead = torch.zeros_like(targets)
    momentum = torch.ones_like(targets[:, :1])
    for iteration in range(_MAX_ITERATIONS):
        new = _soft(ahead - step * (products @ ahead - targets), step * penalty)
        moved = new - weights
        momentum = torch.where(((ahead - new) * moved).sum(1, keepdim=True) > 0, 1.0, momentum)
        longer = (1 + (1 + 4 * momentum.square()).sqrt()) / 2
        ahead = new + (momentum - 1) / longer * moved
        weights, momentum = new, longer
        if iteration % 20 == 19:
            again = _soft(weights - step * (products @ weights - targets), step * penalty)
            if bool(((again - weights) / step).abs().amax() < _PRECISION):
                return weights
    return None


def _soft(values: Tensor, threshold: Tensor) -> Tensor:
    return values.sign() * (values.abs() - threshold).clamp_min(0)


def _pair_scores(related: Tensor, active: Tensor) -> Tensor:
    """score(i, j) as (m, m) of R (m, d, m, d), in which inactive codes are 0."""
    n_active = active.sum(1).clamp_min(1)
    of_targets = _strength(related, 1).sum(2) / n_active  # (i, j, b) -> (i, j)
    of_sources = _strength(related, 3).sum(1) / n_active[:, None]  # (i, a, j) -> (i, j)
    return (of_targets + of_sources) / 2


def _strength(related: Tensor, dim: int) -> Tensor:
    total = related.sum(dim)
    return torch.where(total > 0, related.amax(dim).square() / total, 0.0)


METRIC = Metric(
    name="udr",
    version=1,
    values=(ValueSpec("udr", "models of one family learn the same codes", high=math.inf),),
    settings=Settings,
    needs="models",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{duan2020unsupervised, title={Unsupervised Model Selection for Variational Disentangled "
        "Representation Learning}, author={Duan, Sunny and Matthey, Loic and Saraiva, Andre and Watters, Nick and "
        "Burgess, Chris and Lerchner, Alexander and Higgins, Irina}, booktitle={ICLR}, year={2020}}"
    ),
    tolerance=1e-6,
)
