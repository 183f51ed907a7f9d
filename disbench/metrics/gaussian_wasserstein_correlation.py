"""Gaussian Wasserstein correlation of the codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Generator

from disbench.metrics._covariance import deviations, singular_values
from disbench.metrics._unlabelled import unlabelled_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, FactorSpace, Metric, Score, ValueSpec


@dataclass(frozen=True)
class Settings:
    """Size of the Wasserstein correlation; the default is the 2019 study's."""

    num_train: int = 10_000  # samples

    def __post_init__(self) -> None:
        check_numbers(self, "gaussian_wasserstein_correlation.")


def gaussian_wasserstein_correlation(codes: Codes) -> Score:
    """Squared Wasserstein distance of the Gaussian with the codes' covariance from the product of its marginals.

    With C the covariance (ddof 1) and D its diagonal: W = 2 tr C - 2 tr (D^1/2 C D^1/2)^1/2, in squared units of the
    codes; normed, W / tr C. No labels are needed.

    Args:
        codes: float (n, d), numpy or torch.

    Returns:
        `gaussian_wasserstein_correlation`, from 0 up without bound, and `gaussian_wasserstein_correlation.normed` in
        0 ... 2; lower is better. Details: `total_variance`.

    Undefined when:
        there are fewer than two samples; normed also when all codes are constant (0 / 0; W is 0).
        With one code both are 0 but for rounding. Duplicated and linearly dependent codes are allowed.

    Source:
        disentanglement_lib, the library of Locatello et al. 2019, "Challenging Common Assumptions in the Unsupervised
        Learning of Disentangled Representations".

    Matches:
        disentanglement_lib 1.5 `unsupervised_metrics` to 1e-9, on every case of
        tests/golden/gaussian_wasserstein_correlation.json.

    Differs from:
        disentanglement_lib, which takes the root of the unsymmetric D C and so returns complex numbers for dependent
        codes (here always real), NaN for the normed one if all codes are constant, and fails on one code.
    """
    rows = unlabelled_rows(codes)
    return score(rows.codes, rows.samples(), Settings())


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:  # noqa: ARG001 - every metric has this signature
    """Both values, of the rows of `codes` that the draw's part `train` names; `gaussian_wasserstein_correlation`."""
    name = "gaussian_wasserstein_correlation"
    codes = codes[draw.indices["train"]]
    if len(codes) < 2:
        reason = "a covariance needs at least two samples; got one"
        return Score({}, undefined={name: reason, f"{name}.normed": reason})
    centred, spread = deviations(codes)
    total = spread.square().sum()
    # The roots of the eigenvalues of D^1/2 C D^1/2 are the singular values of the deviations times D^1/2.
    value = (2 * total - 2 * singular_values(centred * spread).sum()).clamp_min(0)
    details = {"total_variance": total.item()}
    if total > 0:
        return Score({name: value.item(), f"{name}.normed": (value / total).item()}, details)
    return Score(
        {name: 0.0}, details, {f"{name}.normed": "all codes are constant, so there is no variance to divide by"}
    )


METRIC = Metric(
    name="gaussian_wasserstein_correlation",
    version=1,
    values=(
        ValueSpec(
            "gaussian_wasserstein_correlation",
            "squared Wasserstein distance of the codes' Gaussian from the product of its marginals",
            high=math.inf,
            direction="lower",
            invariant_to=INVARIANCES - {"scaling codes"},  # it has the units of a variance
        ),
        ValueSpec(
            "gaussian_wasserstein_correlation.normed",
            "the same, divided by the total variance",
            high=2.0,
            direction="lower",
            invariant_to=INVARIANCES - {"scaling codes"},  # only scaling all codes alike leaves it
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
