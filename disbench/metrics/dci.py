"""DCI: disentanglement, completeness and informativeness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from disbench.metrics._boosting import boost
from disbench.metrics._importance import disentanglement
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec, single_valued


@dataclass(frozen=True)
class Settings:
    """Sizes of DCI; the defaults are the 2019 study's."""

    num_train: int = 10_000  # samples that the trees are fitted on
    num_test: int = 5_000  # samples for the test accuracy
    stages: int = 100  # boosting stages per factor

    def __post_init__(self) -> None:
        check_numbers(self, "dci.")


def dci(
    codes: Codes,
    factors: Factors,
    *,
    test_codes: Codes | None = None,
    test_factors: Factors | None = None,
    seed: int = 0,
    stages: int = 100,
) -> Score:
    """How far each code informs about one factor only, each factor is held by one code only, and codes predict factors.

    R[d, k] is the importance of code d in boosted trees that predict factor k from all codes.
    P[d, k] = R[d, k] / sum_k' R[d, k'], disentanglement = sum_d w_d (1 + sum_k P[d, k] log_K P[d, k]) with w_d the
    share of row d in R. Completeness: the same with rows and columns exchanged, log base D. Informativeness: accuracy
    on test samples, mean over factors.

    Args:
        codes: float (n, d), numpy or torch.
        factors: whole numbers (n, k).
        test_codes: float (m, d).
        test_factors: whole numbers (m, k).
        seed: decides between equally good splits of different codes; moves values by up to about 1e-3.
        stages: boosting stages per factor.

    Returns:
        `dci.disentanglement`, `dci.completeness`, `dci.informativeness` and `dci.informativeness_train`, all in
        0 ... 1, higher is better. Informativeness is an accuracy (chance: the share of the largest class), not an
        error. Details: `importance` (d, k), `train_accuracy` and `test_accuracy` (k,).

    Undefined when:
        there are fewer than two samples, or a factor takes a single value in the training samples (there is nothing to
        predict). Disentanglement: with one factor. Completeness: with one code. Informativeness: without test samples.
        Constant codes are allowed: with no importance anywhere disentanglement and completeness are 0, and
        informativeness is the share of the largest class. A class that only the test samples have is never predicted.

    Source:
        Eastwood and Williams 2018, "A Framework for the Quantitative Evaluation of Disentangled Representations",
        section 2, with the boosted trees of the 2019 study in place of Lasso.

    Matches:
        disentanglement_lib 1.5 `dci` with scikit-learn's trees, on every case of tests/golden/dci.json: disentanglement
        and completeness to 1e-3, informativeness to 2e-3 (two seeds of scikit-learn differ by as much); the formulas
        alone to 1e-9 on the stored importances.

    Differs from:
        disentanglement_lib, whose trees follow numpy's global generator (here: seeded), and which returns NaN for one
        code or one factor and fails on a single-valued factor (here: undefined). scikit-learn's trees, which take
        values closer than 1e-7 for one, so that codes of a tiny scale look constant (here: every distinct value
        can be split), see codes in float32, and decide between equal gains by their last bits (here: at random).
    """
    rows = check_rows(codes, factors, test_codes, test_factors)
    return score(rows.codes, rows.samples(seed), Settings(stages=stages))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` and `num_test` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train, "test": settings.num_test}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """DCI of the rows of `codes` that the draw's parts `train` and, if there is one, `test` name; see `dci`."""
    factors = draw.labels["train"]
    if reason := _undefined(factors, draw):
        return Score({}, undefined={value.name: reason for value in METRIC.values})
    test = draw.labels.get("test")
    found = boost(
        codes[draw.indices["train"]],
        factors,
        None if test is None else codes[draw.indices["test"]],
        test,
        seed=draw.seed,
        stages=settings.stages,
    )
    importance = torch.from_numpy(found.importances)
    values, undefined = {"dci.informativeness_train": float(found.train_accuracy.mean())}, {}
    if importance.shape[1] > 1:
        values["dci.disentanglement"] = disentanglement(importance)
    else:
        undefined["dci.disentanglement"] = "there is only one factor, so no code can inform about another"
    if importance.shape[0] > 1:
        values["dci.completeness"] = disentanglement(importance.T)
    else:
        undefined["dci.completeness"] = "there is only one code, so no factor can be spread over several"
    if found.test_accuracy is not None:
        values["dci.informativeness"] = float(found.test_accuracy.mean())
    else:
        undefined["dci.informativeness"] = "it is an accuracy on test samples, and none were given"
    details = {
        "importance": importance.tolist(),
        "train_accuracy": found.train_accuracy.tolist(),
        "test_accuracy": None if found.test_accuracy is None else found.test_accuracy.tolist(),
    }
    return Score(values, details, undefined)


def _undefined(factors: Factors, draw: Draw) -> str:
    if len(factors) < 2:
        return f"DCI needs at least two samples to fit on; got {len(factors)}"
    if names := single_valued(factors, draw.factor_names):
        return f"{names} takes a single value here, so there is nothing to predict; leave it out of the factors"
    return ""


METRIC = Metric(
    name="dci",
    version=2,
    values=(
        ValueSpec("dci.disentanglement", "each code informs about one factor only"),
        ValueSpec(
            "dci.completeness",
            "each factor is held by one code only",
            invariant_to=INVARIANCES - {"adding a dead code"},  # the number of codes is the base of its logarithm
        ),
        ValueSpec("dci.informativeness", "accuracy of predicting the factors from all codes, test samples"),
        ValueSpec("dci.informativeness_train", "the same on the samples that were fitted"),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train", "num_test"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{eastwood2018framework, title={A Framework for the Quantitative Evaluation of Disentangled "
        "Representations}, author={Eastwood, Cian and Williams, Christopher K. I.}, booktitle={ICLR}, year={2018}}"
    ),
    tolerance=0.05,  # equal splits of different codes are decided by the seed; few samples make many
)
