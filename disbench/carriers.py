"""Which code knows what: the code-by-factor matrices of a record, its dead codes, and both in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

CARRIES = 0.1  # share of a factor's entropy (or importance) from which on a code carries it
DEAD = 0.05  # a code below this share of every factor is dead
NEARLY = 0.5  # codes with at least this part of the best code's share carry a factor together with it
MOST_SHARING, MOST_NAMED = 6, 3  # codes named that carry a factor most, and after them
MOST_SEVERAL = 10  # codes with several factors that get a sentence each

Row = list[float | None]


@dataclass(frozen=True)
class Matrix:
    """What a metric found for every pair of a factor and a code.

    Args:
        title: what a cell says, in a few words.
        metric: whose details it is from.
        note: how to read it, a sentence.
        cells: [factor][code]; None where there is no number.
        full: the number that gets the full colour.
    """

    title: str
    metric: str
    note: str
    cells: list[Row]
    full: float = 1.0

    @property
    def n_codes(self) -> int:
        """Number of codes."""
        return len(self.cells[0])


@dataclass(frozen=True)
class Carriers:
    """Which codes carry which factors.

    Args:
        sentences: one for each factor, then on codes that carry several, and on dead ones.
        dead: codes that carry nothing.
        rule: how it was told, a sentence or two; empty if it could not be.
    """

    sentences: list[str]
    dead: frozenset[int]
    rule: str


def matrices(record: Mapping[str, Any]) -> list[Matrix]:
    """The code-by-factor matrices in a record's details: relative information and importance first."""
    details = {name: found for name, found in record["details"].items() if isinstance(found, Mapping)}
    n_factors = _n_factors(details)
    found = [
        matrix
        for name, detail in details.items()
        for key, value in detail.items()
        if (matrix := _matrix_of(name, key, value, detail, record, n_factors)) is not None
    ]
    return sorted(found, key=_place)


def names_for(matrix: Matrix, names: Sequence[str] | None) -> list[str]:
    """Names of a matrix's factors: those given, if there are as many, else their numbers."""
    if names is not None and len(names) == len(matrix.cells):
        return list(names)
    return [f"factor {k}" for k in range(len(matrix.cells))]


def carriers(record: Mapping[str, Any], names: Sequence[str] | None = None) -> Carriers:
    """Which code carries which factor: by relative mutual information, or else by DCI's importance."""
    found = matrices(record)
    for title, unit in ((_INFORMATION, "its entropy"), (_IMPORTANCE, "its importance")):
        for matrix in found:
            if matrix.title == title:
                return _carriers(matrix, names_for(matrix, names), unit, _chance(record, matrix))
    return Carriers([], frozenset(), "")


def pruned(record: Mapping[str, Any]) -> tuple[list[int], float] | None:
    """The codes that the FactorVAE score passes over, and the standard deviation below which it does."""
    variances = record["details"].get("factor_vae", {}).get("global_variance")
    settings = record["key"]["metrics"].get("factor_vae", {}).get("settings", {})
    threshold = settings.get("prune_threshold")
    if not isinstance(variances, list) or not all(map(_is_number, [threshold, *variances])):
        return None
    return [k for k, variance in enumerate(variances) if variance <= 0 or variance**0.5 < threshold], threshold


_INFORMATION = "Mutual information, as a share of the factor's entropy"
_IMPORTANCE = "Importance in predicting the factor (DCI)"


def _place(matrix: Matrix) -> tuple[int, bool]:
    """Where a matrix stands: the first of its kind before variants, as of MIG before those of InfoMEC."""
    order = (_INFORMATION, _IMPORTANCE)
    return (order.index(matrix.title) if matrix.title in order else len(order), matrix.metric != "mig")


def _matrix_of(
    metric: str, key: str, value: Any, detail: Mapping[str, Any], record: Mapping[str, Any], n_factors: int | None
) -> Matrix | None:
    """A detail as a matrix, if it is one of codes and factors."""
    table = _table(value)
    if table is None:
        return None
    base = metric.partition("@")[0]
    if key == "mutual_information" or (base, key) == ("infomec", "normalised_information"):
        return _information(metric, key, table, detail)
    if (base, key) == ("dci", "importance"):
        note = "What boosted trees use to predict a factor; the importances of a factor sum to 1."
        return Matrix(_IMPORTANCE, metric, note, _turned(table))
    if base == "sap":
        return Matrix("Accuracy of predicting the factor from the code alone", metric, "1 is without error.",
                      _turned(table))  # fmt: skip
    if base == "sap_continuous":
        note = "Squared correlation of code and factor."
        return Matrix("How well a line predicts the factor", metric, note, _turned(table))
    if (base, key) == ("irs", "matrix"):
        note = "1: the code stays as it is while only other factors change. Constant codes have no number."
        return _scattered(Matrix("Robustness to other factors", metric, note, _turned(table)), detail, record)
    if base == "factor_vae" and key == "votes_eval":
        note = "Share of the votes, each by the code that varies least while the factor is held fixed."
        return Matrix("Votes for the code, by the factor that was fixed", metric, note, [_shares(row) for row in table])
    if base in ("factor_vae", "irs", "mutual_information") or n_factors is None:
        return None
    if len(table[0]) == n_factors != len(table) == record["model"].get("n_codes"):
        return Matrix(key.replace("_", " "), metric, "", _turned(table), _largest(table))
    return None


def _information(metric: str, key: str, table: list[list[float]], detail: Mapping[str, Any]) -> Matrix:
    entropy = detail.get("entropy")
    if key == "normalised_information":
        return Matrix(_INFORMATION, metric, "1: the code says which value the factor has.", _turned(table))
    if isinstance(entropy, list) and len(entropy) == len(table[0]) and all(map(_is_number, entropy)):
        of_factor = zip(_turned(table), entropy, strict=True)
        shares: list[Row] = [
            [None if value is None or total <= 0 else value / total for value in row] for row, total in of_factor
        ]
        return Matrix(_INFORMATION, metric, "1: the code says which value the factor has.", shares)
    return Matrix("Mutual information, in nats", metric, "", _turned(table), _largest(table))


def _scattered(matrix: Matrix, detail: Mapping[str, Any], record: Mapping[str, Any]) -> Matrix | None:
    """A matrix of some codes as one of all of them."""
    codes, n_codes = detail.get("codes"), record["model"].get("n_codes")
    if not isinstance(codes, list) or not isinstance(n_codes, int) or len(codes) != matrix.n_codes:
        return None
    place = {code: at for at, code in enumerate(codes)}
    if not all(isinstance(code, int) and 0 <= code < n_codes for code in codes):
        return None
    cells = [[row[place[k]] if k in place else None for k in range(n_codes)] for row in matrix.cells]
    return Matrix(matrix.title, matrix.metric, matrix.note, cells)


def _carriers(matrix: Matrix, names: Sequence[str], unit: str, chance: Sequence[float]) -> Carriers:
    carried: dict[int, list[str]] = {}
    sentences = []
    for name, row, by_chance in zip(names, matrix.cells, chance, strict=True):
        shares = sorted(((v, -k) for k, v in enumerate(row) if v is not None), reverse=True)
        if not shares:
            sentences.append(f"{name} takes a single value here")
            continue
        holding = [(-k, v) for v, k in shares if v >= CARRIES + by_chance]
        if not holding:
            sentences.append(f"no code carries {name} (at most {shares[0][0]:.2f} of {unit}, by code {-shares[0][1]})")
            continue
        for k, _ in holding:
            carried.setdefault(k, []).append(name)
        sentences.append(_carried(name, holding, unit))
    several = [(k, factors) for k, factors in sorted(carried.items()) if len(factors) > 1]
    sentences += [
        f"code {k} carries {len(factors)} factors: {_listed(factors)}" for k, factors in several[:MOST_SEVERAL]
    ]
    if len(several) > MOST_SEVERAL:
        sentences.append(f"{len(several) - MOST_SEVERAL} more codes carry several factors each")
    limits = [DEAD + by_chance for by_chance in chance]
    dead = [
        k
        for k in range(matrix.n_codes)
        if all((row[k] or 0.0) < limit for row, limit in zip(matrix.cells, limits, strict=True))
    ]
    if dead:
        sentences.append(f"{_codes(dead)} {'is' if len(dead) == 1 else 'are'} dead")
    return Carriers(sentences, frozenset(dead), _rule(matrix, unit, max(chance, default=0.0)))


def _carried(name: str, holding: Sequence[tuple[int, float]], unit: str) -> str:
    """A sentence about a factor and the codes (number, share) that carry it, the best first."""
    best = holding[0][1]
    main = [(k, v) for k, v in holding if v >= NEARLY * best]
    rest = holding[len(main) :]
    first = f"{main[0][1]:.2f} of {unit}"
    if len(main) == 1:
        sentence = f"{name} is carried by code {main[0][0]} ({first})"
    else:
        shared = [f"{main[0][0]} ({first})", *(f"{k} ({v:.2f})" for k, v in main[1:])]
        sentence = f"{name} is shared by codes {_listed(_capped(shared, MOST_SHARING))}"
    if rest:
        named = [f"{k} ({v:.2f})" for k, v in rest]
        sentence += f", and less by code{'s' * (len(named) > 1)} {_listed(_capped(named, MOST_NAMED))}"
    return sentence


def _rule(matrix: Matrix, unit: str, chance: float) -> str:
    what = "knows" if unit == "its entropy" else "has"
    measure = "entropy" if unit == "its entropy" else "importance"
    rule = (
        f"A code carries a factor if it {what} at least {CARRIES:.2f} of the factor's {measure} ({matrix.metric}); "
        f"codes with at least {NEARLY:g} of the best code's share carry it together. A code with less than "
        f"{DEAD:.2f} of every factor is dead."
    )
    if chance >= 0.001:
        rule += (
            f" Both limits are raised by what a histogram of so many samples shows by chance alone: up to {chance:.3f}."
        )
    return rule


def _chance(record: Mapping[str, Any], matrix: Matrix) -> list[float]:
    """By factor: the share that a code that knows nothing has on average, in a histogram (Miller and Madow's term).

    (bins - 1) (values - 1) / (2 n) nats, over the entropy; a factor's values are taken to be equally frequent.
    """
    nothing = [0.0] * len(matrix.cells)
    settings = record["key"]["metrics"].get(matrix.metric, {}).get("settings", {})
    entropy = record["details"][matrix.metric].get("entropy")
    bins, n = settings.get("bins"), settings.get("num_train", record["sample"].get("n_asked"))
    if matrix.title != _INFORMATION or not isinstance(entropy, list) or len(entropy) != len(nothing):
        return nothing
    if not all(map(_is_number, [bins, n, *entropy])) or n <= 0 or max(entropy) > 50:
        return nothing
    return [(bins - 1) * (math.exp(h) - 1) / (2 * n) / h if h > 0 else 0.0 for h in entropy]


def _n_factors(details: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Number of factors, by the details that have one number for each."""
    for metric, key in (
        ("mig", "entropy"),
        ("dci", "test_accuracy"),
        ("dci", "train_accuracy"),
        ("explicitness", "area"),
    ):
        found = details.get(metric, {}).get(key)
        if isinstance(found, list):
            return len(found)
    return None


def _table(value: Any) -> list[list[float]] | None:
    """A list of equally long lists of numbers, with something in it."""
    if not isinstance(value, list) or not value or not all(isinstance(row, list) and row for row in value):
        return None
    if len({len(row) for row in value}) > 1 or not all(map(_is_number, chain.from_iterable(value))):
        return None
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _turned(table: list[list[float]]) -> list[Row]:
    return [list(column) for column in zip(*table, strict=True)]


def _shares(row: Sequence[float]) -> Row:
    total = sum(row)
    return [value / total if total > 0 else None for value in row]


def _largest(table: list[list[float]]) -> float:
    return max(chain.from_iterable(table)) or 1.0


def _capped(words: Sequence[str], most: int) -> list[str]:
    """The first of them, and how many more there are."""
    return [*words[:most], *([f"{len(words) - most} more"] if len(words) > most else [])]


def _codes(numbers: Sequence[int]) -> str:
    return f"code{'s' * (len(numbers) > 1)} {_listed([str(k) for k in numbers])}"


def _listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
