"""Codes without labels, for metrics that need none."""

from __future__ import annotations

import numpy as np

from disbench.rows import Rows, check_rows
from disbench.types import Codes


def unlabelled_rows(codes: Codes) -> Rows:
    """Checked rows of codes (n, d) whose only factor takes a single value."""
    return check_rows(codes, np.zeros((len(codes), 1), dtype=np.int64))
