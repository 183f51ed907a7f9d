"""The models that disbench trains and ships; found through the entry point `disbench.models`.

One file = Config + Module + loss + registration: `MODELS`, and `CHECKPOINTS` for what was trained and is shipped.
"""

from __future__ import annotations

import dataclasses
import pkgutil
from importlib import import_module

from disbench.registry import CheckpointEntry, ModelEntry
from reference_models.timing import seconds_per_step
from reference_models.training import train

MODELS: dict[str, ModelEntry] = {}
CHECKPOINTS: dict[str, CheckpointEntry] = {}
for _info in pkgutil.iter_modules(__path__):
    _module = import_module(f"{__name__}.{_info.name}")
    for _name, _entry in getattr(_module, "MODELS", {}).items():
        _has_our_loop = _entry.train is train
        MODELS[_name] = dataclasses.replace(_entry, seconds_per_step=seconds_per_step) if _has_our_loop else _entry
    CHECKPOINTS |= getattr(_module, "CHECKPOINTS", {})
