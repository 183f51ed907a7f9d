"""The engines of the diffusion models, built from diffusers' blocks."""

from __future__ import annotations

from typing import Any

from disbench.errors import UsageError
from disbench.imports import import_despite_torchvision


def diffusers_part(module: str, needed_by: str = "a diffusion model") -> Any:
    """A module of diffusers, by its name within the package.

    Raises:
        UsageError: diffusers is not installed.
    """
    try:
        return import_despite_torchvision(f"diffusers.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "diffusers":
            raise
        raise UsageError(f"{needed_by} needs diffusers; install it with: pip install 'disbench[models]'.") from None
