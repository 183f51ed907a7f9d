"""Accuracy of classifiers on codes, at few and at many labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Generator

from disbench.metrics._linear import cross_validated_regression
from disbench.rows import check_rows
from disbench.settings import check_numbers
from disbench.types import INVARIANCES, Codes, Draw, Factors, FactorSpace, Metric, Score, ValueSpec, single_valued

_SIZES = (100, 1_000, 10_000)
_PENALTIES = tuple(10 ** (4 - 8 * i / 9) for i in range(10))
_FOLDS = 5


@dataclass(frozen=True)
class Settings:
    """Sizes of the downstream tasks; the defaults are the 2019 study's."""

    num_train: int = 10_000  # labelled samples; tasks with more of them are left undefined
    num_test: int = 5_000  # samples that the classifiers are scored on
    stages: int = 100  # boosting stages per factor

    def __post_init__(self) -> None:
        check_numbers(self, "downstream.")


def downstream(
    codes: Codes,
    factors: Factors,
    *,
    test_codes: Codes | None = None,
    test_factors: Factors | None = None,
    seed: int = 0,
    stages: int = 100,
) -> Score:
    """Test accuracy of classifiers that learn the factors from the codes of 100, 1,000 and 10,000 labelled samples.

    Mean over factors, of two classifiers: `logistic`, a multinomial logistic regression with the penalty (of 10, from
    1e4 to 1e-4) that gives the highest accuracy in 5-fold cross-validation, consecutive rows held out; `trees`, the
    boosted trees of DCI. Efficiency = accuracy at 100 labels / accuracy at 10,000.

    Args:
        codes: float (n, d), numpy or torch; the tasks take the first 100, 1,000 and 10,000 rows.
        factors: whole numbers (n, k).
        test_codes: float (m, d).
        test_factors: whole numbers (m, k).
        seed: decides between equal splits of different codes in trees; moves values by about 1e-3.
        stages: boosting stages per factor.

    Returns:
        `downstream.logistic_100`, `..._1000`, `..._10000` in 0 ... 1 and `downstream.logistic_efficiency` from 0 on,
        and the same with `trees`; higher is better. Details: `logistic_accuracy` and `trees_accuracy`, by number of
        labels, lists (k,).

    Undefined when:
        there are fewer rows than a value's labels, no test samples, or a factor takes a single value among those rows.
        Efficiency: where one of its accuracies is undefined, or that at 10,000 labels is 0.
        Constant codes are allowed: the most frequent class is told. A class that only the test samples have is never
        predicted.

    Source:
        Locatello et al. 2019, "Challenging Common Assumptions in the Unsupervised Learning of Disentangled
        Representations", section 5.5.

    Matches:
        disentanglement_lib 1.5 `downstream_task` with `logistic_regression_cv` on the samples it drew itself, for one
        representation: within 0.001 at 1,000 and 10,000 labels, 0.012 at 100, where regressions that stop before their
        optimum lead to another penalty; scikit-learn's at their optimum: exactly. Within sampling error from own draws,
        in tests/golden/downstream.json. The trees are those of `dci`.

    Differs from:
        disentanglement_lib, which draws fresh training and test samples for every size (here: the smaller sets are the
        first rows of the largest, and the test samples are the same), has a size of 10 as well, stops regressions
        before their optimum, and fails on a single-valued factor (here: undefined).
    """
    rows = check_rows(codes, factors, test_codes, test_factors)
    return score(rows.codes, rows.samples(seed), Settings(stages=stages))


def draw(space: FactorSpace, settings: Settings, generator: Generator) -> Draw:
    """`num_train` and `num_test` independent uniform samples."""
    return Draw.of_samples(space, {"train": settings.num_train, "test": settings.num_test}, generator)


def score(codes: Codes, draw: Draw, settings: Settings) -> Score:
    """Downstream accuracies of the rows of `codes` that the draw's parts `train` and `test` name; see `downstream`."""
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    details: dict[str, dict[str, list[float]]] = {"logistic_accuracy": {}, "trees_accuracy": {}}
    for size in _SIZES:
        reason = _undefined(draw, size)
        for name, learn in (("logistic", _logistic), ("trees", _trees)):
            if reason:
                undefined[f"downstream.{name}_{size}"] = reason
                continue
            accuracy = learn(codes, draw, size, settings)
            values[f"downstream.{name}_{size}"] = math.fsum(accuracy) / len(accuracy)
            details[f"{name}_accuracy"][str(size)] = accuracy
    for name in ("logistic", "trees"):
        few, many = (f"downstream.{name}_{size}" for size in (_SIZES[0], _SIZES[-1]))
        if few in values and values.get(many):
            values[f"downstream.{name}_efficiency"] = values[few] / values[many]
        else:
            reason = undefined.get(few) or undefined.get(many) or "the accuracy that it is relative to is 0"
            undefined[f"downstream.{name}_efficiency"] = reason
    return Score(values, details, undefined)


def _logistic(codes: Codes, draw: Draw, size: int, _: Settings) -> list[float]:
    train_codes, factors = codes[draw.indices["train"][:size]], draw.labels["train"][:size]
    regression = cross_validated_regression(train_codes, factors, penalties=_PENALTIES, folds=_FOLDS)
    return regression.accuracy(codes[draw.indices["test"]], draw.labels["test"]).tolist()


def _trees(codes: Codes, draw: Draw, size: int, settings: Settings) -> list[float]:
    from disbench.metrics._boosting import boost

    parts = [
        values
        for part, rows in (("train", slice(size)), ("test", slice(None)))
        for values in (codes[draw.indices[part][rows]], draw.labels[part][rows])
    ]
    found = boost(*parts, seed=draw.seed, stages=settings.stages)
    assert found.test_accuracy is not None
    return found.test_accuracy.tolist()


def _undefined(draw: Draw, size: int) -> str:
    factors = draw.labels["train"]
    if "test" not in draw.indices:
        return "it is an accuracy on test samples, and none were given"
    if len(factors) < size:
        return f"it takes {size:,} labelled samples; got {len(factors):,}"
    if names := single_valued(factors[:size], draw.factor_names):
        return f"{names} takes a single value among the first {size:,} samples, so there is nothing to predict"
    return ""


def _values(name: str, learner: str, invariant_to: frozenset[str]) -> list[ValueSpec]:
    accuracies = [
        ValueSpec(f"downstream.{name}_{size}", f"accuracy of {learner} on {size:,} labels", invariant_to=invariant_to)
        for size in _SIZES
    ]
    meaning = f"accuracy of {learner} on 100 labels relative to that on 10,000"
    return [
        *accuracies,
        ValueSpec(f"downstream.{name}_efficiency", meaning, high=math.inf, invariant_to=invariant_to),
    ]


# The first rows make the smaller sets and the folds; penalties are absolute.
_TREES_INVARIANT = INVARIANCES - {"permuting samples"}
_LOGISTIC_INVARIANT = _TREES_INVARIANT - {"scaling codes"}
METRIC = Metric(
    name="downstream",
    version=1,
    values=(
        *_values("logistic", "logistic regression", _LOGISTIC_INVARIANT),
        *_values("trees", "boosted trees", _TREES_INVARIANT),
    ),
    settings=Settings,
    draw_settings=frozenset({"num_train", "num_test"}),
    needs="samples",
    draw=draw,
    score=score,
    citation=(
        "@inproceedings{locatello2019challenging, title={Challenging Common Assumptions in the Unsupervised Learning "
        "of Disentangled Representations}, author={Locatello, Francesco and Bauer, Stefan and Lucic, Mario and "
        "Raetsch, Gunnar and Gelly, Sylvain and Schoelkopf, Bernhard and Bachem, Olivier}, booktitle={ICML}, "
        "year={2019}}"
    ),
    tolerance=0.05,  # equal splits of different codes are decided by the seed; few samples make many
)
