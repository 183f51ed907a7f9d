"""Data sets with ground-truth factors: one file per family; `DATASETS` in each names what it offers.

`from_arrays`, `from_folder` and `from_file` make a data set of a user's own data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from disbench.datasets._own import from_arrays, from_file, from_folder

__all__ = ["from_arrays", "from_file", "from_folder"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that finding data sets stays fast."""
    if name not in __all__:
        raise AttributeError(f"module 'disbench.datasets' has no attribute {name!r}")
    from disbench.datasets import _own

    return getattr(_own, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
