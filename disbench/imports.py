"""torchvision beside a torch without CUDA: its compiled operators do not load there, and its import fails for it."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_FAILURE = "operator torchvision::nms does not exist"
_OPERATORS = ("torchvision::nms", "torchvision::qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_despite_torchvision(name: str) -> ModuleType:
    """Import a module that imports torchvision, also where torchvision's compiled operators do not load.

    There they are declared by name and the import is tried again. Nothing but box suppression and the decoding of
    pictures stays unusable. Where the operators load, nothing is done to them.

    Raises:
        ImportError: there is no such module.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if _FAILURE not in str(error):
            raise
    import torch

    for module in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        del sys.modules[module]  # half imported
    for operator in _OPERATORS:
        if not hasattr(torch.ops.torchvision, operator.partition("::")[2]):
            torch.library.define(operator, _SCHEMA)
    return importlib.import_module(name)
