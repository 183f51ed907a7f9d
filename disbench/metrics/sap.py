"""SAP: separated attribute predictability, of discrete factors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from disbench.errors import UsageError
from disbench.metrics._hinge import one_code_accuracy
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec, single_valued


@dataclass(frozen=True)
class Settings:
    """Sizes and penalty of SAP; the defaults are the 2019 study's."""

    num_train: int = 10_000  # samples that the classifiers are fitted on
    num_test: int = 5_000  # samples that they are scored on
    penalty: float = 100.0  # of a classifier's squared weights, against the sum of its losses

    def __post_init__(self) -> None:
        check_numbers(self, "sap.")
        if not self.penalty:
            raise UsageError("sap.penalty must be above 0: without it a code that separates classes has no best line.")


def sap(
    codes: Codes,
    factors: Factors,
    *,
    test_codes: Codes | None = None,
    test_factors: Factors | None = None,
    penalty: float = 100.0,
) -> Score:
    """Gap between the two codes that, each alone, predict a factor best, averaged over factors.

    S[d, k] is the test accuracy of linear support vector classifiers that predict factor k from code d: one against the
    rest, squared hinge loss, classes balanced, intercept penalised like the weight.
    SAP = 1/K sum_k (S(1)[k] - S(2)[k]), where (1) and (2) are the largest and second largest over d.

    Args:
        codes: float (n, d), numpy or torch; taken as they are, so that their scale matters.
        factors: whole numbers (n, k).
        test_codes: float (m, d).
        test_factors: whole numbers (m, k).
        penalty: of a classifier's squared weights, against the sum of its losses; 1 / C of scikit-learn.

    Returns:
        `sap` in 0 ... 1, higher is better. Details: `accuracy` (d, k).

    Undefined when:
        there is only one code, there are no test samples, or a factor takes a single value in the training samples.
        Constant codes are allowed: they predict one class; if all are constant SAP is 0. A class that only the test
        samples have is never predicted.

    Source:
        Kumar, Sattigeri and Balakrishnan 2018, "Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations", section 3, with the classifiers of the 2019 study.

    Matches:
        disentanglement_lib 1.5 `sap_score` to 0.002, on every case of tests/golden/sap.json: the classifiers there
        (LinearSVC) stop near the optimum that is found exactly here.

    Differs from:
        disentanglement_lib, which fails on one code and on a single-valued factor (here: undefined). Ubisoft's library,
        which fits decision trees. For continuous factors see `sap_continuous`.
    """
    rows = check_rows(codes, factors, test_codes, test_factors)
    return score(rows.codes, rows.samples(), Settings(penalty=penalty))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` and `num_test` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train, "test": settings.num_test}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """SAP of the rows of `codes` that the draw's parts `train` and `test` name; see `sap`."""
    if reason := _undefined(codes, draw):
        return Score({}, undefined={"sap": reason})
    accuracy = one_code_accuracy(
        codes[draw.indices["train"]],
        draw.labels["train"],
        codes[draw.indices["test"]],
        draw.labels["test"],
        penalty=settings.penalty,
    )
    best, second = accuracy.topk(2, dim=0).values
    return Score({"sap": (best - second).mean().item()}, {"accuracy": accuracy.tolist()})


def _undefined(codes: Codes, draw: Draw) -> str:
    if codes.shape[1] < 2:
        return "SAP compares the two codes that predict best; there is only one code"
    if "test" not in draw.indices:
        return "it compares accuracies on test samples, and none were given"
    if names := single_valued(draw.labels["train"], draw.factor_names):
        return f"{names} takes a single value here, so there is nothing to predict; leave it out of the factors"
    return ""


METRIC = Metric(
    name="sap",
    version=1,
    values=(
        ValueSpec(
            "sap",
            "gap between the two codes that alone predict a factor best",
            # The penalty of the classifiers is absolute, and a constant code predicts as well as a useless one.
            invariant_to=INVARIANCES - {"scaling codes", "adding a dead code"},
        ),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train", "num_test"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{kumar2018variational, title={Variational Inference of Disentangled Latent Concepts from "
        "Unlabeled Observations}, author={Kumar, Abhishek and Sattigeri, Prasanna and Balakrishnan, Avinash}, "
        "booktitle={ICLR}, year={2018}}"
    ),
)
