"""Multinomial logistic regression, fitted to its optimum in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from disbench.metrics._memory import require_memory
from disbench.metrics._newton import fits_of
from disbench.types import Codes, Factors

_MAX_SCORES = 2**22  # fits of one factor are done together up to so many scores


@dataclass(frozen=True)
class SoftmaxRegression:
    """One fitted regression per factor.

    Args:
        mean: float64 (d,), taken from the features first.
        scale: float64 (d,), what they are multiplied by then; 0 for a constant feature.
        weights: per factor float64 (size, d + 1), the intercept last.
    """

    mean: Tensor
    scale: Tensor
    weights: list[Tensor]

    def log_probabilities(self, features: Codes) -> list[Tensor]:
        """Per factor float64 (m, size); -inf, a probability of 0, for a class that training did not have."""
        columns = _with_ones((features.double() - self.mean) * self.scale).T.contiguous()
        return [(weights @ columns).log_softmax(0).T for weights in self.weights]

    def accuracy(self, features: Codes, classes: Factors) -> Tensor:
        """How often each factor's most probable class is the right one, float64 (k,)."""
        told = torch.stack([scores.argmax(1) for scores in self.log_probabilities(features)], dim=1)
        return (told == classes).double().mean(0)


def softmax_regression(
    features: Codes,
    classes: Factors,
    *,
    penalty: float,
    standardise: bool = False,
    balanced: bool = False,
    weights: Tensor | None = None,
    max_iterations: int = 100,
) -> SoftmaxRegression:
    """Multinomial logistic regression of every factor on all features.

    Minimises sum_i w_i * loss_i + penalty / 2 * |W|^2 with free intercepts: scikit-learn's
    `LogisticRegression(C=1 / penalty)` at its optimum. Only the penalty makes it depend on the scale of a feature.

    Args:
        features: float (n, d); constant and duplicated ones are allowed.
        classes: int64 (n, k), from 0.
        penalty: on the squared weights of the features; 0 for none.
        standardise: it is meant for features of standard deviation 1, else for features as they are given.
        balanced: weigh samples so that every class counts alike, and all together as before.
        weights: float (n,), of the samples; above 0 somewhere in every class if `balanced`.
        max_iterations: Newton steps. Without a penalty separable classes have no optimum: the fit ends when its mean
            loss is below 1e-5, or with the last step.
    """
    mean, scale, inputs = _standardised(features)
    unit = torch.ones_like(scale) if standardise else scale
    given = inputs.new_ones(len(inputs)) if weights is None else weights.double()
    fitted = []
    for column in classes.T:
        n_classes = len(column.unique())
        of_samples = given
        if balanced:
            of_samples = given * (given.sum() / (n_classes * torch.bincount(column, given)))[column]
        fits = fits_of(inputs, column, of_samples[None], _ridge(penalty, unit, n_classes))
        points, _ = fits.minimise(fits.discriminants(), max_iterations)
        fitted.append(fits.with_priors(points)[0])
    return SoftmaxRegression(mean, scale, fitted)


def cross_validated_regression(
    features: Codes, classes: Factors, *, penalties: Sequence[float], folds: int, max_iterations: int = 100
) -> SoftmaxRegression:
    """The same, each factor with the penalty of the highest mean accuracy on held out rows; the first on a tie.

    This is scikit-learn's `LogisticRegressionCV(Cs=[1 / p for p in penalties], cv=KFold(folds))` at its optimum.

    Args:
        features: float (n, d).
        classes: int64 (n, k), from 0.
        penalties: largest first.
        folds: consecutive parts of the rows that are held out in turn.
        max_iterations: Newton steps of each fit.
    """
    mean, scale, inputs = _standardised(features)
    parts = torch.arange(len(inputs), device=inputs.device).tensor_split(folds)
    kept = inputs.new_ones(folds, len(inputs))
    for fold, part in enumerate(parts):
        kept[fold, part] = 0
    fitted = []
    for column in classes.T:
        n_classes = len(column.unique())
        whole = fits_of(inputs, column, inputs.new_ones(1, len(inputs)), scale)
        at_once = max(1, _MAX_SCORES // (whole.prior.numel() * len(inputs)))
        batches = [fits_of(inputs, column, some, scale) for some in kept.split(at_once)]
        points, best = torch.zeros_like(whole.target), -1.0
        apart = [torch.zeros_like(batch.target) for batch in batches]  # how far the folds' fits are from that of all
        for penalty in penalties:
            ridge = _ridge(penalty, scale, n_classes)
            points, precondition = replace(whole, ridge=ridge).minimise(points, max_iterations)
            of_folds = []
            for i, batch in enumerate(batches):
                found, _ = replace(batch, ridge=ridge).minimise(points + apart[i], max_iterations, precondition)
                apart[i] = found - points
                of_folds += list(batch.with_priors(found))
            right = [
                ((inputs[part] @ weights.T).argmax(1) == column[part]).double().mean()
                for part, weights in zip(parts, of_folds, strict=True)
            ]
            accuracy = torch.stack(right).mean().item()
            if accuracy > best:
                best, chosen = accuracy, whole.with_priors(points)[0]
        fitted.append(chosen)
    return SoftmaxRegression(mean, scale, fitted)


def _standardised(features: Codes) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and scale (d,), and the inputs (n, d + 1)."""
    n, d = features.shape
    require_memory(32 * n * d, features.device, f"a regression on {d:,} codes")
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    deviation = centred.square().mean(0).sqrt()
    constant = (features.amax(0) == features.amin(0)) | (deviation == 0)
    scale = torch.where(constant, 0, 1 / deviation)
    return mean, scale, _with_ones(centred * scale)


def _ridge(penalty: float, unit: Tensor, n_classes: int) -> Tensor:
    """Penalty (d + 1,) of the inputs' weights, `unit` (d,) times which are those that it is on.

    Of two classes scikit-learn fits one vector, the difference of the two here, which are then opposite: twice the sum
    of their squares is its square.
    """
    penalty = 2 * penalty if n_classes == 2 else penalty
    return torch.cat([penalty * unit.square(), unit.new_zeros(1)])


def _with_ones(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)
