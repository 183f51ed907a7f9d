"""Binary attributes: what they tell about each other, and how well thresholds on codes detect them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disbench.metrics._ranking import auroc_of_pairs
from disbench.types import Codes

_MAX_DETECTIONS = 2**22  # held in one go; bounds memory, not the result


def entropy_reductions(labels: Tensor) -> Tensor:
    """Share float64 (a, a) of row attribute's entropy that knowing the column's removes: I(row; column) / H(row).

    The diagonal, and the row of an attribute with one value (which has no entropy), are 0.

    Args:
        labels: 0 or 1, (n, a).
    """
    n, positive = len(labels), labels.double()
    both = positive.T @ positive
    ones = both.diagonal()
    row, column = torch.broadcast_tensors(ones[:, None], ones[None, :])
    information = torch.zeros_like(both)
    for joint, of_row, of_column in (
        (both, row, column),
        (row - both, row, n - column),
        (column - both, n - row, column),
        (n - row - column + both, n - row, n - column),
    ):
        # Whole numbers up to here: where two attributes are independent the ratio is 1 and its logarithm 0, exactly.
        information += torch.xlogy(joint, joint * n / (of_row * of_column).clamp_min(1)) / n
    share = ones / n
    entropy = (torch.special.entr(share) + torch.special.entr(1 - share))[:, None]
    found = torch.where(entropy > 0, information.clamp_min(0) / entropy, 0.0)
    return found.fill_diagonal_(0.0)


def detection_areas(codes: Codes, labels: Tensor, thresholds: int | None, min_range: float) -> Tensor:
    """Area float64 (d, a) under the ROC curve of every code as a detector of every attribute, in the better direction.

    Args:
        codes: float (n, d), finite.
        labels: 0 or 1, (n, a).
        thresholds: how many are swept over each code's range; None for the exact area, from ranks.
        min_range: a code whose range is not larger tells nothing: 0.5.

    Returns:
        NaN for an attribute with one value.
    """
    if thresholds is None:
        areas = auroc_of_pairs(codes, labels == 1)
        areas = torch.maximum(areas, 1 - areas)
    else:
        areas = _swept_areas(codes, labels.double(), thresholds)
    spread = codes.amax(0).double() - codes.amin(0).double()
    return areas.masked_fill((spread <= min_range)[:, None] & ~areas.isnan(), 0.5)


def _swept_areas(codes: Codes, positive: Tensor, thresholds: int) -> Tensor:
    """Areas (d, a) over thresholds at equal steps from minimum to maximum: `at or above` or `below`, the larger one."""
    n_positive = positive.sum(0)
    n_negative = len(codes) - n_positive
    steps = torch.arange(thresholds, dtype=torch.float64, device=codes.device)[:, None]
    result = []
    for some in codes.split(max(1, _MAX_DETECTIONS // (len(codes) * thresholds)), dim=1):
        values = some.double()
        low, high = values.amin(0), values.amax(0)
        edges = low + (high - low) * steps / (thresholds - 1)  # (thresholds, codes)
        edges[-1] = high  # whatever rounding made of it
        detected = (values >= edges[:, None]).double()  # (thresholds, n, codes)
        true = detected.transpose(1, 2) @ positive  # (thresholds, codes, attributes), whole numbers
        false = detected.sum(1)[..., None] - true
        above = _upper_sum(true.flip(0), false.flip(0))
        below = _upper_sum(n_positive - true, n_negative - false)
        result.append(torch.maximum(above, below) / (n_positive * n_negative))
    return torch.cat(result)


def _upper_sum(true: Tensor, false: Tensor) -> Tensor:
    """Area under counts of true detections over those of false ones, both ascending along the first axis."""
    return (true[1:] * false.diff(dim=0)).sum(0)


def attribute_table(
    areas: Tensor, shares: Tensor, reductions: Tensor, names: Sequence[str], min_auroc: float, max_reduction: float
) -> list[dict[str, Any]]:
    """A row for each attribute: the two codes that detect it best, and whether it is captured or why it is left out.

    Args:
        areas: float64 (d, a) of two codes at least, in the better direction.
        shares: float64 (a,), of positives.
        reductions: float64 (a, a), what `entropy_reductions` finds.
        names: of the attributes.
        min_auroc: of the best code of a captured attribute.
        max_reduction: of a captured attribute's entropy by another.
    """
    (best, second), (code, second_code) = (found.tolist() for found in areas.topk(2, dim=0))
    reduction, by = (found.tolist() for found in reductions.max(1))
    table = []
    for k, (name, share) in enumerate(zip(names, shares.tolist(), strict=True)):
        row: dict[str, Any] = {"attribute": name, "positive": share, "captured": False, "left_out": ""}
        row |= {"reduction": reduction[k], "reduced_by": names[by[k]] if reduction[k] > 0 else None}
        if share in (0.0, 1.0):
            nothing = dict.fromkeys(("auroc", "code", "second_auroc", "second_code", "difference"))
            table.append(row | nothing | {"left_out": "it takes a single value here"})
            continue
        row |= {"auroc": best[k], "code": code[k], "second_auroc": second[k], "second_code": second_code[k]}
        if reduction[k] > max_reduction:
            row["left_out"] = f"{row['reduced_by']!r} removes {reduction[k]:.3f} of its entropy"
        elif best[k] < min_auroc:
            row["left_out"] = f"its best code has an area of {best[k]:.3f}"
        table.append(row | {"difference": best[k] - second[k], "captured": not row["left_out"]})
    return table
