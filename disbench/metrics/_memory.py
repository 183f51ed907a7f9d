"""A refusal in time: what would not fit in memory is an error before it is tried."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from disbench.errors import DisbenchError


def require_memory(n_bytes: int, device: torch.device, what: str) -> None:
    """Check that `n_bytes` are available on the device.

    Args:
        n_bytes: what is about to be allocated.
        device: where.
        what: names it in the message, as in "the covariance of 200,000 codes".

    Raises:
        DisbenchError: they are not.
    """
    available = _available(device)
    if n_bytes > available:
        raise DisbenchError(
            f"{what} needs {n_bytes / 1e9:,.1f} GB of memory and {available / 1e9:,.1f} GB are available; "
            "use fewer codes (tokens: --reducer pca) or leave this metric out."
        )


def _available(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 2**62  # unknown: let the allocation speak for itself
