"""Codes and factors that a user already has: checked, and made into draws that use every row as given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from disbench.errors import DisbenchError, UsageError
from disbench.plan import Grid, grid_of_rows, not_attributes
from disbench.types import MAX_CODE, Codes, Draw, Factors, Metric


@dataclass(frozen=True)
class Rows:
    """Codes and factors, in order.

    Args:
        codes: float32 or float64 (n + m, d): training rows, then test rows.
        factors: int64 (n, k), each column numbered 0 ... size-1.
        test_factors: int64 (m, k), or None.
        names: of the factors.
    """

    codes: Codes
    factors: Factors
    test_factors: Factors | None
    names: tuple[str, ...]

    @property
    def n_values(self) -> list[int]:
        """How many values each factor takes in all rows."""
        labels = self.factors if self.test_factors is None else torch.cat([self.factors, self.test_factors])
        return (labels.amax(0) + 1).tolist()

    @property
    def codes_hash(self) -> str:
        """sha256 of the codes."""
        return hashlib.sha256(self.codes.cpu().contiguous().numpy().data).hexdigest()

    @property
    def factors_hash(self) -> str:
        """sha256 of the factors, and of where the test rows begin."""
        digest = hashlib.sha256(str(tuple(self.factors.shape)).encode())
        for part in (self.factors, self.test_factors):
            if part is not None:
                digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    def samples(self, seed: int = 0) -> Draw:
        """Every row once, in order; what a metric fits is seeded with `seed`.

        Raises:
            UsageError: the seed is negative.
        """
        if seed < 0:
            raise UsageError(f"a seed must not be negative; got {seed}.")
        return Draw.of_rows(self.factors, self.test_factors, names=self.names, seed=seed % 2**32)

    def draw(self, metric: Metric, settings: Any, generator: Generator, seed: int) -> Draw | str:
        """The metric's draw among these rows, or why they cannot carry it; `seed` is for what the metric fits."""
        if metric.needs == "attributes" and (reason := not_attributes(self.names, self.n_values)):
            return reason
        if metric.needs in ("samples", "attributes"):
            return self.samples(seed)
        grid = grid_of_rows(self.factors, self.names)
        if not isinstance(grid, Grid):
            return grid
        return metric.draw(grid.space, settings, generator).mapped(grid.rows.__getitem__)


def check_rows(
    codes: Any,
    factors: Any,
    test_codes: Any = None,
    test_factors: Any = None,
    factor_names: Iterable[str] | None = None,
) -> Rows:
    """Rows of arrays in numpy, torch or lists; factor labels may be any whole numbers.

    Raises:
        DisbenchError: a wrong shape or type, numbers that are not finite, or parts that do not fit each other.
    """
    if (test_codes is None) != (test_factors is None):
        raise DisbenchError("test_codes and test_factors come together; only one of them was given.")
    table = _check_codes("codes", codes)
    labels = _check_factors("factors", factors, len(table))
    n_train = len(table)
    if test_codes is not None:
        test_table = _check_codes("test_codes", test_codes)
        test_labels = _check_factors("test_factors", test_factors, len(test_table))
        if test_table.shape[1] != table.shape[1] or test_labels.shape[1] != labels.shape[1]:
            raise DisbenchError(
                f"train and test must have the same codes and factors; got {table.shape[1]} and {test_table.shape[1]} "
                f"codes, {labels.shape[1]} and {test_labels.shape[1]} factors."
            )
        table = torch.cat([table, test_table.to(table)])
        labels = np.concatenate([labels, test_labels])
    n_factors = labels.shape[1]
    names = tuple(factor_names) if factor_names is not None else tuple(str(k) for k in range(n_factors))
    if len(names) != n_factors:
        raise DisbenchError(f"there are {n_factors} factors and {len(names)} factor_names.")
    columns = [np.unique(column, return_inverse=True)[1] for column in labels.T]
    numbered = torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))
    return Rows(table, numbered[:n_train], None if test_codes is None else numbered[n_train:], names)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays codes, factors and, if there, test_codes and test_factors of a file; nothing in it is executed.

    Raises:
        UsageError: there is no such file.
        DisbenchError: it is no npz file, or lacks an array.
    """
    if not Path(path).is_file():
        raise UsageError(f"there is no file at {path}.")
    try:
        with open(path, "rb") as raw, np.lib.npyio.NpzFile(raw, allow_pickle=False) as file:
            wanted = ("codes", "factors", "test_codes", "test_factors")
            unknown = sorted({*file.files} - {*wanted, "index"})  # `--codes-out` writes an index
            arrays = {name: file[name] for name in wanted if name in file.files}
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        raise DisbenchError(f"{path} cannot be read as an npz file of plain arrays: {error}") from error
    if unknown:
        raise DisbenchError(
            f"{path} holds the array {' and '.join(unknown)}; expected codes (n, d), factors (n, k) and, for values "
            "that need test rows, test_codes (m, d) and test_factors (m, k)."
        )
    if missing := [name for name in ("codes", "factors") if name not in arrays]:
        raise DisbenchError(
            f"{path} lacks the array {' and '.join(missing)}; expected codes (n, d) and factors (n, k)."
        )
    return arrays


def _check_codes(name: str, array: Any) -> Tensor:
    tensor = array.detach() if isinstance(array, Tensor) else torch.from_numpy(_to_numpy(name, array))
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise DisbenchError(f"{name} must be (n, d) with at least one row and one code; got {tuple(tensor.shape)}.")
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise DisbenchError(f"{name} must be real numbers; got {tensor.dtype}.")
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        row, code = (~torch.isfinite(tensor)).nonzero()[0].tolist()
        raise DisbenchError(f"{name} must be finite; row {row}, code {code} is {tensor[row, code].item()}.")
    if float(tensor.abs().max()) > MAX_CODE:
        raise DisbenchError(f"{name} must lie within ±{MAX_CODE:g}, so that variances are finite; rescale them.")
    return tensor


def _check_factors(name: str, array: Any, n_rows: int) -> np.ndarray:
    labels = _to_numpy(name, array.detach().cpu() if isinstance(array, Tensor) else array)
    if labels.ndim != 2 or labels.shape[1] < 1 or len(labels) != n_rows:
        raise DisbenchError(f"{name} must be ({n_rows}, k), a row for each row of codes; got {labels.shape}.")
    is_whole = labels.dtype.kind in "iub" or (
        labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.round(labels)).all()
    )
    if not is_whole:
        raise DisbenchError(f"{name} must be whole numbers, the class of each row; number the values first.")
    return labels


def _to_numpy(name: str, array: Any) -> np.ndarray:
    try:
        converted = np.array(array)
    except ValueError as error:
        raise DisbenchError(f"{name} is no array: {error}") from None
    if converted.dtype.kind not in "iufbc":
        raise DisbenchError(f"{name} must hold numbers; got dtype {converted.dtype}.")
    if converted.dtype.kind == "f" and converted.dtype.itemsize > 8:
        converted = converted.astype(np.float64)
    return converted.astype(converted.dtype.newbyteorder("="))
