"""What the metrics on pairs of images share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disbench.errors import DisbenchError
from disbench.types import Images, PairMetric, Score

_AT_ONCE = 256  # pairs


def checked_pairs(images: Any, reconstructions: Any) -> tuple[Images, Images]:
    """Two float32 or float64 tensors (n, c, h, w) of one shape.

    Raises:
        DisbenchError: they are something else, or leave [0, 1].
    """
    pair = []
    for name, given in (("images", images), ("reconstructions", reconstructions)):
        tensor = given.detach() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
        if tensor.ndim != 4 or not len(tensor) or not tensor.is_floating_point():
            raise DisbenchError(f"{name} must be floats (n, c, h, w); got {tensor.dtype} {tuple(tensor.shape)}.")
        low, high = float(tensor.min()), float(tensor.max())
        if not 0 <= low <= high <= 1:  # NaN fails this, too
            raise DisbenchError(f"{name} must lie in [0, 1]; got {low:g} ... {high:g}.")
        pair.append(tensor)
    if pair[0].shape != pair[1].shape:
        raise DisbenchError(
            f"images and reconstructions must be alike; got {tuple(pair[0].shape)} and {tuple(pair[1].shape)}."
        )
    return pair[0], pair[1]


def mean_over_pairs(metric: PairMetric, images: Any, reconstructions: Any, settings: Any) -> Score:
    """The plain function behind a metric: its score on arrays."""
    images, reconstructions = checked_pairs(images, reconstructions)
    batches = zip(images.split(_AT_ONCE), reconstructions.split(_AT_ONCE), strict=True)
    return metric.score(torch.cat([metric.observe(some, made, settings) for some, made in batches]))


def per_image(function: Callable[[Images, Images], Tensor]) -> Callable[[Images, Images, Any], Tensor]:
    """A function of images and reconstructions as `PairMetric.observe` wants it: in float64, without settings."""

    def observe(images: Images, reconstructions: Images, settings: Any) -> Tensor:  # noqa: ARG001
        return function(images.double(), reconstructions.double())

    return observe
