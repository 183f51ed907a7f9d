"""A recipe whose models are trained in milliseconds; importable by workers."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from disbench.protocols import Protocol
from disbench.registry import ModelEntry
from disbench.reproductions import Published, Recipe, Row, Stage
from tests import study
from tests.conftest import SMALL


@dataclass(frozen=True)
class Config(study.Config):
    base: str = ""
    base_steps: int = 0


class Small(study.Linear):
    def pairs(self, images: Tensor) -> Tensor:
        return self(images).unflatten(1, (2, 2))


def train(name: str, config: Config, dataset: Any, *, out: Path, progress: bool, **told: Any) -> Path:
    assert (Path(config.base) / "ckpt.pt").is_file()
    return study.train(name, config, dataset, out=out, progress=False, **told)


def seconds_per_step(name: str, config: Any, image_shape: tuple[int, ...], device: str) -> float:
    assert (image_shape, device) == ((8, 8, 1), "cpu")
    if config.beta == 8:
        raise RuntimeError("out of memory")
    return 3.6 * config.steps


ENTRIES = {
    "plain": dataclasses.replace(study.ENTRIES["plain"], presets={"brief": {"steps": 2}, "other": {"steps": 4}}),
    "small": ModelEntry("starts from plain", Config, Small, train, {"brief": {"steps": 3}}),
    "fixed": study.ENTRIES["fixed"],
}
SETTINGS = {
    metric: {path.partition(".")[2]: value for path, value in SMALL.items() if path.startswith(metric + ".")}
    for metric in ("factor_vae", "dci")
}
PROTOCOL = Protocol("tiny two", 1, "two metrics", SETTINGS, reducer="pca_all")
VALUES = {"F": (0.5, 0.1), "D": (0.25, 0.125)}
RECIPE = Recipe(
    "small",
    "Nobody 1900",
    (Stage("plain", "base", {"base_steps": "steps"}),),
    (Row("Small", {}, {"board.npz": Published("1", VALUES, "misprinted")}),),
    {
        "scored": (
            Row("pairs", {}, {"board.npz": Published("2", VALUES)}, method="pairs"),
            Row("codes", {"beta": 4.0}),
            Row("hot", {"beta": 8}, {"board.npz": Published("3", VALUES)}),
        ),
        "fails": (Row("fails", {"fails_at": 1}, {"elsewhere": Published("5", VALUES)}),),
    },
    {"": ("Everything is made up.",)},
    seeds=(0, 1),
    protocol="tiny two",
)
