"""MED: mutual information based entropy disentanglement, with its completeness and informativeness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from disbench.metrics._importance import disentanglement
from disbench.metrics._information import equal_width_bins, mutual_information, undefined_information
from disbench.metrics._linear import softmax_regression
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec

_ALL = 1_000_000  # more codes than there are


@dataclass(frozen=True)
class Settings:
    """Sizes of MED; the defaults are its authors'."""

    num_train: int = 10_000  # samples for the mutual information and the regression
    num_test: int = 10_000  # samples that the regression is scored on
    bins: int = 20  # equal-width bins per code
    top_k: int = _ALL  # codes kept per factor; by default all are

    def __post_init__(self) -> None:
        check_numbers(self, "med.")


@dataclass(frozen=True)
class Top1(Settings):
    """Top-1 MED, for representations of many codes: one code per factor."""

    top_k: int = 1  # codes kept per factor


def med(
    codes: Codes,
    factors: Factors,
    *,
    test_codes: Codes | None = None,
    test_factors: Factors | None = None,
    bins: int = 20,
    top_k: int = _ALL,
) -> Score:
    """DCI with mutual information in place of a classifier's importances.

    With M[d, k] the mutual information of code d (in `bins` equal-width bins over its range) and factor k:
    R[d, k] = M[d, k] / sum_d' M[d', k], and disentanglement and completeness are DCI's of R. Informativeness is the
    test accuracy of a multinomial logistic regression (penalty 1) on all standardised codes, mean over factors.
    Top-k: of the codes whose largest R is that of one factor, the k of highest disentanglement are kept, for every
    factor; disentanglement and completeness are those of their rows of R.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        test_codes: float (m, d).
        test_factors: whole numbers (m, k).
        bins: number of bins per code.
        top_k: codes kept per factor.

    Returns:
        `med.disentanglement`, `med.completeness` and `med.informativeness`, all in 0 ... 1, higher is better. Details:
        `mutual_information` (d, k) in nats, `kept_codes`, `train_accuracy` and `test_accuracy` (k,).

    Undefined when:
        there are fewer samples than bins, or a factor takes a single value in the training samples. Disentanglement:
        with one factor. Completeness: with one code, or one that is kept. Informativeness: without test samples.
        Constant codes are allowed: with no information anywhere disentanglement and completeness are 0, and
        informativeness is the share of the largest class. A class that only the test samples have is never predicted.

    Source:
        Cao et al. 2022, "An Empirical Study on Disentanglement of Negative-free Contrastive Learning", section 3.

    Matches:
        no stored scores of its authors' code: tests/oracles/med.py to 1e-9, informativeness within 0.002.

    Differs from:
        the authors' code, which divides by zero for a factor that no code knows anything about (here: its column of R
        is 0), and which may keep a code without any information among the top k (here: never).
    """
    rows = check_rows(codes, factors, test_codes, test_factors)
    return score(rows.codes, rows.samples(), Settings(bins=bins, top_k=top_k))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` and `num_test` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train, "test": settings.num_test}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """MED of the rows of `codes` that the draw's parts `train` and, if there is one, `test` name; see `med`."""
    factors, train_codes = draw.labels["train"], codes[draw.indices["train"]]
    if reason := undefined_information("MED", train_codes, draw, settings.bins, min_codes=1, min_factors=1):
        return Score({}, undefined={value.name: reason for value in METRIC.values})
    information = mutual_information(equal_width_bins(train_codes, settings.bins), factors, settings.bins)
    of_factor = information.sum(0)
    relative = information / torch.where(of_factor > 0, of_factor, 1)
    kept = _most_disentangled(relative, settings.top_k)
    values, undefined = {}, {}
    if relative.shape[1] > 1:
        values["med.disentanglement"] = disentanglement(relative[kept])
    else:
        undefined["med.disentanglement"] = "there is only one factor, so no code can inform about another"
    if len(kept) > 1:
        values["med.completeness"] = disentanglement(relative[kept].T)
    else:
        undefined["med.completeness"] = "only one code is left, so no factor can be spread over several"
    regression = softmax_regression(train_codes, factors, penalty=1.0, standardise=True)
    details = {
        "mutual_information": information.tolist(),
        "kept_codes": kept.tolist(),
        "train_accuracy": regression.accuracy(train_codes, factors).tolist(),
    }
    if "test" in draw.indices:
        accuracy = regression.accuracy(codes[draw.indices["test"]], draw.labels["test"])
        values["med.informativeness"] = accuracy.mean().item()
        details["test_accuracy"] = accuracy.tolist()
    else:
        undefined["med.informativeness"] = "it is an accuracy on test samples, and none were given"
    return Score(values, details, undefined)


def _most_disentangled(relative: Tensor, top_k: int) -> Tensor:
    """Positions of the codes to keep, ascending: of those that inform about a factor most, the `top_k` purest."""
    n_codes, n_factors = relative.shape
    of_code = relative.sum(1)
    if top_k >= n_codes or not of_code.any():
        return torch.arange(n_codes, device=relative.device)
    informs = of_code > 0
    impurity = torch.special.entr(relative / torch.where(informs, of_code, 1)[:, None]).sum(1)
    order = impurity.argsort(stable=True)
    order = order[informs[order]]
    of_factor = relative[order].argmax(1)[:, None] == torch.arange(n_factors, device=relative.device)
    place = (of_factor.cumsum(0) * of_factor).sum(1)  # from 1, among the codes of the same factor
    return order[place <= top_k].sort().values


METRIC = Metric(
    name="med",
    version=1,
    values=(
        ValueSpec("med.disentanglement", "each code knows about one factor only"),
        ValueSpec(
            "med.completeness",
            "each factor is known to one code only",
            invariant_to=INVARIANCES - {"adding a dead code"},  # the number of codes is the base of its logarithm
        ),
        ValueSpec("med.informativeness", "accuracy of predicting the factors from all codes by linear classifiers"),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train", "num_test"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{cao2022empirical, title={An Empirical Study on Disentanglement of Negative-free Contrastive "
        "Learning}, author={Cao, Jinkun and Nai, Ruiqian and Yang, Qing and Huang, Jialei and Gao, Yang}, "
        "booktitle={NeurIPS}, year={2022}}"
    ),
    tolerance=1e-3,  # of a fit that ends near its optimum
)
VARIANTS = (METRIC.variant("top1", Top1),)
