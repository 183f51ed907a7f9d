"""Explicitness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from disbench.metrics._linear import softmax_regression
from disbench.metrics._ranking import auroc
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec, single_valued


@dataclass(frozen=True)
class Settings:
    """Sizes and penalty of explicitness; the defaults are the 2019 study's."""

    num_train: int = 10_000  # samples that the regressions are fitted on
    num_test: int = 5_000  # samples that they are scored on
    penalty: float = 1.0  # of a regression's squared weights, against the sum of its losses

    def __post_init__(self) -> None:
        check_numbers(self, "explicitness.")


def explicitness(
    codes: Codes,
    factors: Factors,
    *,
    test_codes: Codes | None = None,
    test_factors: Factors | None = None,
    penalty: float = 1.0,
) -> Score:
    """How well a linear classifier on all codes ranks the samples of each factor value before the others.

    Per factor a multinomial logistic regression on standardised codes; per class the area under the ROC curve of its
    probability as a detector of the class; mean over classes, then over factors.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        test_codes: float (m, d).
        test_factors: whole numbers (m, k).
        penalty: of a regression's squared weights, against the sum of its losses; 1 / C of scikit-learn.

    Returns:
        `explicitness` (on the test samples) and `explicitness.train`, in 0 ... 1, higher is better, chance is 0.5.
        Details: `area` and `train_area` (k,), the mean areas of the factors.

    Undefined when:
        a factor takes a single value in the training samples. The test value also: without test samples, or if for
        some factor the test samples hold a single value or none that training had.
        Constant codes are left out; if all are constant both values are 0.5. A class that the test samples lack, or
        that they alone have, has no area: the mean is over the other classes.

    Source:
        Ridgeway and Mozer 2018, "Learning Deep Disentangled Embeddings With the F-Statistic Loss", as the 2019 study
        ran it.

    Matches:
        disentanglement_lib 1.5 `modularity_explicitness` to 0.002, on every case of tests/golden/explicitness.json: the
        regressions there stop before their optimum.

    Differs from:
        disentanglement_lib, which fails on constant codes, on a single-valued factor and if the test samples lack a
        class, and which ranks float32 probabilities, so that confident ones tie (here: their logarithms).
        Ubisoft's library, which balances classes, fits and scores on the same samples, and rescales.
    """
    rows = check_rows(codes, factors, test_codes, test_factors)
    return score(rows.codes, rows.samples(), Settings(penalty=penalty))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` and `num_test` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train, "test": settings.num_test}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """Explicitness of the rows of `codes` that the draw's parts `train` and, if there is one, `test` name."""
    factors, train_codes = draw.labels["train"], codes[draw.indices["train"]]
    if names := single_valued(factors, draw.factor_names):
        reason = f"{names} takes a single value here, so there is nothing to predict; leave it out of the factors"
        return Score({}, undefined={value.name: reason for value in METRIC.values})
    regression = softmax_regression(train_codes, factors, penalty=settings.penalty, standardise=True)
    train_area = _areas(regression.log_probabilities(train_codes), factors)
    values, details = {"explicitness.train": train_area.mean().item()}, {"train_area": train_area.tolist()}
    if "test" not in draw.indices:
        return Score(values, details, {"explicitness": "it is measured on test samples, and none were given"})
    area = _areas(regression.log_probabilities(codes[draw.indices["test"]]), draw.labels["test"])
    if area.isnan().any():
        names = ", ".join(repr(name) for name, bad in zip(draw.factor_names, area.isnan().tolist(), strict=True) if bad)
        reason = f"the test samples leave no class of factor {names} to tell from others"
        return Score(values, details, {"explicitness": reason})
    return Score({"explicitness": area.mean().item()} | values, {"area": area.tolist()} | details)


def _areas(log_probabilities: list[Tensor], factors: Factors) -> Tensor:
    """Mean area (k,) of each factor's classes that training had and that these samples allow; NaN without any."""
    result = []
    for scores, column in zip(log_probabilities, factors.T, strict=True):
        area = auroc(scores, column[:, None] == torch.arange(scores.shape[1], device=scores.device))
        is_known = scores[0] > -torch.inf
        result.append(area[is_known & ~area.isnan()].mean())
    return torch.stack(result)


METRIC = Metric(
    name="explicitness",
    version=1,
    values=(
        ValueSpec("explicitness", "area under the ROC curve of linear classifiers, on test samples"),
        ValueSpec("explicitness.train", "the same on the samples that they were fitted on"),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train", "num_test"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{ridgeway2018learning, title={Learning Deep Disentangled Embeddings With the F-Statistic Loss}, "
        "author={Ridgeway, Karl and Mozer, Michael C.}, booktitle={NeurIPS}, year={2018}}"
    ),
    tolerance=1e-3,  # of a fit that ends near its optimum
)
