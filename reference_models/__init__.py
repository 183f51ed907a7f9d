"""The models that disbench trains and ships; found through the entry point `disbench.models`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from disbench.registry import CheckpointEntry, ModelEntry

FAMILIES = ("vae",)
MODELS: dict[str, ModelEntry] = {}
for family in FAMILIES:
    MODELS |= import_module(f"reference_models.{family}").MODELS

_SHIPPED = {
    "beta_vae-rooms3d": "beta-VAE (beta 8, 15,000 steps) trained on rooms3d",
}
CHECKPOINTS = {
    name: CheckpointEntry(summary, Path(__file__).parent / "checkpoints" / f"{name}.pt")
    for name, summary in _SHIPPED.items()
}
