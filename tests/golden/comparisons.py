"""Every stored number of a reference implementation, and how to compute ours beside it.

Each `NAME.json` is a list of objects: `metric` (a registered name), `against` (the implementation), `on` (which draws),
`settings` (those of ours), `rows` (`samples`: 10,000 / 5,000 rows; `table`: the whole grid; `models`: has a test of its
own), `tolerance` per value, `scores` per case.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from disbench import score_codes
from tests.oracles.representations import SIZES, samples, table

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Comparison:
    """One representation scored by a reference."""

    metric: str
    against: str
    on: str
    settings: Mapping[str, Any]
    rows: str
    tolerance: Mapping[str, float]
    dataset: str
    representation: str
    expected: Mapping[str, float]

    def __str__(self) -> str:
        settings = "".join(f"-{name}={value}" for name, value in self.settings.items())
        return f"{self.metric}{settings}-{self.dataset}-{self.representation}-{self.rows}"

    def scores(self) -> Mapping[str, float | None]:
        """Ours."""
        settings = {f"{self.metric}.{name}": value for name, value in self.settings.items()}
        if self.rows == "samples":
            given = samples(self.dataset, self.representation)
        else:
            given = {"codes": table(self.dataset, self.representation), "factors": _grid(self.dataset)}
        return score_codes(**given, metrics=self.metric, settings=settings).scores


def entries() -> list[dict[str, Any]]:
    """What the files hold, in the order of their names."""
    return [entry for path in sorted(FOLDER.glob("*.json")) for entry in json.loads(path.read_text())]


def comparisons() -> list[Comparison]:
    """Everything that scores one representation."""
    return [
        Comparison(**{k: v for k, v in entry.items() if k != "scores"}, **_case(case), expected=expected)
        for entry in entries()
        if entry["rows"] != "models"
        for case, expected in entry["scores"].items()
    ]


def _case(name: str) -> dict[str, str]:
    dataset, representation = name.split("/")
    return {"dataset": dataset, "representation": representation}


@cache
def _grid(dataset: str) -> np.ndarray:
    sizes = SIZES[dataset]
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)
