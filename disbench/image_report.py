"""What comparing two sets of images came to, as numbers, text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from disbench import records
from disbench.types import Score, ValueSpec

SCHEMA = "disbench.image_comparison/1"


@dataclass(frozen=True)
class ComparedSet:
    """One of the two sets.

    Args:
        name: path, or the data set's name.
        n: how many of its images were looked at; 0 if a file of statistics does not say.
        n_there: how many it has.
        shape: of one: (h, w, c); empty for a file of statistics.
        content_hash: of the whole set.
        indices_sha256: which of its images; empty for a file of statistics.
    """

    name: str
    n: int
    n_there: int
    shape: tuple[int, ...]
    content_hash: str
    indices_sha256: str

    def __str__(self) -> str:
        if not self.shape:
            return f"{self.name}: statistics of {f'{self.n:,}' if self.n else 'an unknown number of'} images"
        number = f"{self.n:,}" if self.n == self.n_there else f"{self.n:,} of {self.n_there:,}"
        return f"{self.name}: {number} images, {' x '.join(map(str, self.shape))}, content {self.content_hash[:8]}"


@dataclass(frozen=True)
class ImageComparison:
    """What `compare_images` returns.

    Args:
        real: the reference set.
        fake: the other.
        features: name of the extractor.
        features_hash: its content hash, if it has one.
        seed: of the choice of images, and of what the metrics draw.
        metrics: name -> version and settings.
        specs: of the values.
        found: by metric, what it computed.
        run: versions, device, seconds, command, time.
    """

    real: ComparedSet
    fake: ComparedSet
    features: str
    features_hash: str | None
    seed: int
    metrics: Mapping[str, Mapping[str, Any]]
    specs: Mapping[str, ValueSpec]
    found: Mapping[str, Score] = field(repr=False)
    run: Mapping[str, Any] = field(repr=False)

    @cached_property
    def scores(self) -> Mapping[str, float | None]:
        """Numbers by name, None where one is undefined: `comparison.scores["fid"]`."""
        numbers = {name: value for score in self.found.values() for name, value in score.values.items()}
        return {name: numbers.get(name) for name in self.specs}

    @cached_property
    def undefined(self) -> Mapping[str, str]:
        """Why a value is missing, by its name."""
        return {name: reason for score in self.found.values() for name, reason in score.undefined.items()}

    @property
    def details(self) -> Mapping[str, Any]:
        """What is behind the numbers, by metric."""
        return {name: dict(score.details) for name, score in self.found.items()}

    @property
    def complete(self) -> bool:
        """Whether every value was computed."""
        return None not in self.scores.values()

    def to_json(self) -> str:
        """All of it, as one line."""
        entries = {
            name: {
                "value": value,
                "status": "undefined" if value is None else "ok",
                "reason": self.undefined.get(name, ""),
            }
            for name, value in self.scores.items()
        }
        return records.to_line(
            {
                "schema": SCHEMA,
                "real": asdict(self.real),
                "fake": asdict(self.fake),
                "features": {"name": self.features, "content_hash": self.features_hash},
                "seed": self.seed,
                "metrics": self.metrics,
                "scores": entries,
                "details": self.details,
                "run": self.run,
            }
        )

    def __str__(self) -> str:
        from tabulate import tabulate

        rows = [
            [
                name,
                "undefined" if self.scores[name] is None else f"{self.scores[name]:.4f}",
                f"{spec.low:g} ... {spec.high:g}",
                f"{spec.direction} is better",
                spec.meaning,
            ]
            for name, spec in self.specs.items()
        ]
        headers = ["value", "score", "range", "direction", "meaning"]
        table = tabulate(rows, headers=headers, disable_numparse=True, colalign=("left", "right"))
        remarks = [f"{name} is undefined: {reason}." for name, reason in self.undefined.items()]
        remarks += [f"{name}: {said}" for name, details in self.details.items() for said in details.get("remarks", ())]
        seconds = ", ".join(f"{step} {value:.1f}" for step, value in self.run["seconds"].items())
        lines = [
            f"real      {self.real}",
            f"fake      {self.fake}",
            f"features  {self.features}",
            f"seconds   {seconds}",
        ]
        return "\n".join([table, *(["", *remarks] if remarks else []), "", *lines])
