"""The models that disbench trains and ships; found through the entry point `disbench.models`.

One file = Config + Module + loss + registration: `MODELS`, and `CHECKPOINTS` for what was trained and is shipped.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from disbench.registry import CheckpointEntry, ModelEntry

MODELS: dict[str, ModelEntry] = {}
CHECKPOINTS: dict[str, CheckpointEntry] = {}
for _info in pkgutil.iter_modules(__path__):
    _module = import_module(f"{__name__}.{_info.name}")
    MODELS |= getattr(_module, "MODELS", {})
    CHECKPOINTS |= getattr(_module, "CHECKPOINTS", {})
