"""disbench: a benchmark suite for disentangled representations.

import disbench
report = disbench.evaluate(model, "rooms3d")
print(report)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from disbench.comparison import compare
    from disbench.errors import DisbenchError, UsageError
    from disbench.evaluation import evaluate, score_codes
    from disbench.image_comparison import compare_images
    from disbench.models import load_model
    from disbench.registry import load_dataset
    from disbench.report import Report

_HOMES = {
    "DisbenchError": "disbench.errors",
    "Report": "disbench.report",
    "UsageError": "disbench.errors",
    "compare": "disbench.comparison",
    "compare_images": "disbench.image_comparison",
    "evaluate": "disbench.evaluation",
    "load_dataset": "disbench.registry",
    "load_model": "disbench.models",
    "score_codes": "disbench.evaluation",
}

__all__ = [
    "DisbenchError",
    "Report",
    "UsageError",
    "compare",
    "compare_images",
    "evaluate",
    "load_dataset",
    "load_model",
    "score_codes",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import disbench` stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'disbench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
