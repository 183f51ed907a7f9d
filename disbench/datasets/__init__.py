"""Data sets with ground-truth factors: one file per family; `DATASETS` in each names what it offers.

`from_arrays`, `from_folder` and `from_file` make a data set of a user's own data; `Recipe`, `Source`, `SourceFile` and
`prepared_entry` one that is published as files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from disbench.datasets._own import from_arrays
    from disbench.datasets._own_files import from_file, from_folder
    from disbench.datasets._prepared import prepared_entry
    from disbench.datasets._recipe import Recipe, Source
    from disbench.sources import SourceFile

_HOMES = {
    "Recipe": "disbench.datasets._recipe",
    "Source": "disbench.datasets._recipe",
    "SourceFile": "disbench.sources",
    "from_arrays": "disbench.datasets._own",
    "from_file": "disbench.datasets._own_files",
    "from_folder": "disbench.datasets._own_files",
    "prepared_entry": "disbench.datasets._prepared",
}

__all__ = ["Recipe", "Source", "SourceFile", "from_arrays", "from_file", "from_folder", "prepared_entry"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that finding data sets stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'disbench.datasets' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
