"""Gaussian total correlation of the codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator

from disbench.metrics._covariance import deviations, singular_values
from disbench.metrics._unlabelled import unlabelled_rows
from disbench.settings import check_numbers
from disbench.types import Codes, Draw, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Size of the total correlation; the default is the 2019 study's."""

    num_train: int = 10_000  # samples

    def __post_init__(self) -> None:
        check_numbers(self, "gaussian_total_correlation.")


def gaussian_total_correlation(codes: Codes) -> Score:
    """Total correlation of the Gaussian with the codes' covariance; no labels are needed.

    With C the covariance (ddof 1): TC = (sum_d ln C[d, d] - ln det C) / 2, the divergence of that Gaussian from the
    product of its marginals, in nats. It is -ln det R / 2 with R the matrix of correlations.

    Args:
        codes: float (n, d), numpy or torch.

    Returns:
        `gaussian_total_correlation`, from 0 up without bound, lower is better. Details: `n_varying_codes`.

    Undefined when:
        there are fewer than two samples, or no more samples than codes that vary, or codes are linearly dependent to
        float64's precision, as a duplicated code is: it is infinite then.
        Constant codes are independent of everything and left out; with one code that varies, or none, it is 0.

    Source:
        Locatello et al. 2019, "Challenging Common Assumptions in the Unsupervised Learning of Disentangled
        Representations", section 5.1; the quantity is Watanabe's, 1960.

    Matches:
        disentanglement_lib 1.5 `unsupervised_metrics` to 1e-9, on every case of
        tests/golden/gaussian_total_correlation.json.

    Differs from:
        disentanglement_lib, which returns NaN if a code is constant (here: left out), infinity or a large number of
        rounding if codes are dependent (here: undefined), and fails on one code (here: 0).
    """
    rows = unlabelled_rows(codes)
    return score(rows.codes, rows.samples(), Settings())


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:  # noqa: ARG001 - every metric has this signature
    """Total correlation of the rows of `codes` that the draw's part `train` names; `gaussian_total_correlation`."""
    name = "gaussian_total_correlation"
    codes = codes[draw.indices["train"]]
    if len(codes) < 2:
        return Score({}, undefined={name: "a covariance needs at least two samples; got one"})
    centred, spread = deviations(codes)
    if not bool((spread > 0).all()):
        centred, spread = centred[:, spread > 0], spread[spread > 0]
    n, n_codes = centred.shape
    details = {"n_varying_codes": n_codes}
    if n_codes < 2:
        return Score({name: 0.0}, details)
    if n <= n_codes:
        reason = f"the covariance of {n_codes:,} codes needs more than as many samples; got {n:,}"
        return Score({}, details, {name: reason})
    roots = singular_values(centred / spread)
    if roots[-1] <= roots[0] * n * torch.finfo(torch.float64).eps:
        return Score({}, details, {name: "the codes are linearly dependent, which makes it infinite"})
    return Score({name: max(0.0, -roots.log().sum().item())}, details)


METRIC = Metric(
    name="gaussian_total_correlation",
    version=1,
    values=(
        ValueSpec(
            "gaussian_total_correlation",
            "total correlation of the Gaussian with the codes' covariance, in nats",
            high=math.inf,
            direction="lower",
        ),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{locatello2019challenging, title={Challenging Common Assumptions in the Unsupervised Learning "
        "of Disentangled Representations}, author={Locatello, Francesco and Bauer, Stefan and Lucic, Mario and "
        'R{\\"a}tsch, Gunnar and Gelly, Sylvain and Sch{\\"o}lkopf, Bernhard and Bachem, Olivier}, booktitle={ICML}, '
        "year={2019}}"
    ),
)
