"""SAP score for factors that are numbers: squared correlations in place of classifiers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from disbench.metrics._covariance import deviations
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec, single_valued


@dataclass(frozen=True)
class Settings:
    """Size of the continuous SAP score; the default is the 2019 study's for the discrete one."""

    num_train: int = 10_000  # samples

    def __post_init__(self) -> None:
        check_numbers(self, "sap_continuous.")


def sap_continuous(codes: Codes, factors: Factors) -> Score:
    """Gap between the two codes that predict a factor best by a line, averaged over factors.

    With S[d, k] the squared correlation of code d and factor k, the factor's values taken as numbers:
    SAP = 1/K sum_k (S(1)[k] - S(2)[k]), where (1) and (2) are the largest and second largest over d.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k), in a meaningful order; gaps between values do not count.

    Returns:
        `sap_continuous` in 0 ... 1, higher is better. Details: `score` (d, k).

    Undefined when:
        there is only one code, or a factor takes a single value (as it does with one sample).
        A constant code predicts nothing: its row of S is 0, and if all are constant SAP is 0.

    Source:
        Kumar, Sattigeri and Balakrishnan 2018, "Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations", section 3.

    Matches:
        disentanglement_lib 1.5 `sap_score` with continuous factors to 1e-9, on every case of
        tests/golden/sap_continuous.json.

    Differs from:
        disentanglement_lib, in which a code of variance up to 1e-12 predicts nothing (here: only a constant one, so
        that scale has no part), and which returns NaN for a single-valued factor and fails on one code (here:
        undefined).
    """
    rows = check_rows(codes, factors)
    return score(rows.codes, rows.samples(), Settings())


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:  # noqa: ARG001 - every metric has this signature
    """Continuous SAP score of the rows of `codes` that the draw's part `train` names; see `sap_continuous`."""
    factors = draw.labels["train"]
    codes = codes[draw.indices["train"]]
    if reason := _undefined(codes, factors, draw):
        return Score({}, undefined={"sap_continuous": reason})
    of_codes, code_spread = deviations(codes)
    of_factors, factor_spread = deviations(factors)
    covariance = of_codes.T @ of_factors / (len(codes) - 1)
    correlation = covariance / factor_spread / code_spread[:, None]
    predicts = torch.where(code_spread[:, None] > 0, correlation.square().clamp_max(1), 0.0)
    best, second = predicts.topk(2, dim=0).values
    return Score({"sap_continuous": (best - second).mean().item()}, {"score": predicts.tolist()})


def _undefined(codes: Codes, factors: Factors, draw: Draw) -> str:
    if codes.shape[1] < 2:
        return "SAP compares the two codes that predict a factor best; there is only one code"
    if names := single_valued(factors, draw.factor_names):
        return f"{names} takes a single value here, so there is nothing to predict; leave it out of the factors"
    return ""


METRIC = Metric(
    name="sap_continuous",
    version=1,
    values=(ValueSpec("sap_continuous", "gap between the two codes that predict a factor best by a line"),),
    settings=Settings,
    draw_settings=frozenset({"num_train"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{kumar2018variational, title={Variational Inference of Disentangled Latent Concepts from "
        "Unlabeled Observations}, author={Kumar, Abhishek and Sattigeri, Prasanna and Balakrishnan, Avinash}, "
        "booktitle={ICLR}, year={2018}}"
    ),
)
