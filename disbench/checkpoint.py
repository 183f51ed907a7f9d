"""The `ckpt.pt` format: a dict of primitives and tensors that `torch.load(weights_only=True)` reads.

    {"format": "disbench.checkpoint/1", "model": "beta_vae", "config": {...}, "state_dict": {...}, "train": {...}}

`config` builds the model, `train` says how it was trained: data set and its content hash, train_seed, steps, command.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from disbench.errors import DisbenchError, UsageError
from disbench.files import replacing

FORMAT = "disbench.checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """A trained model: what kind, how it is configured, its tensors, and how it was trained."""

    model: str
    config: Mapping[str, Any]
    state_dict: Mapping[str, Tensor]
    train: Mapping[str, Any]

    @property
    def content_hash(self) -> str:
        """sha256 of kind, config and tensors; the file's name, date and compression do not enter."""
        return content_hash({"model": self.model, "config": dict(self.config)}, self.state_dict)


def content_hash(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """sha256 of a JSON-able description and of named tensors, in the order of their names."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file; a reader finds the old one or the new one, whole."""
    # Through JSON, so that nothing but primitives gets in: torch.__version__, for one, is not quite a str.
    content = json.loads(
        json.dumps({"model": checkpoint.model, "config": checkpoint.config, "train": checkpoint.train})
    )
    content["state_dict"] = dict(checkpoint.state_dict)
    with replacing(path) as file:
        torch.save({"format": FORMAT, **content}, file)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file is executed.

    Raises:
        UsageError: there is no such file.
        DisbenchError: the file is not a checkpoint of ours, or would run code when loaded.
    """
    if not path.is_file():
        raise UsageError(f"there is no checkpoint at {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other makers, which are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on files of other makers
        if "Unsupported" in str(error) or "unsupported" in str(error):
            raise DisbenchError(
                f"{path} is not plain tensors: loading it would run code that it names, so it was not loaded. Score it "
                "as FILE.py:CALLABLE, where your own code loads it, or save it again in the format of "
                "disbench.checkpoint (a dict of primitives and tensors)."
            ) from error
        raise DisbenchError(
            f"{path} cannot be read as a checkpoint; it may be truncated or of another kind. "
            "Expected a file that torch.save wrote."
        ) from error
    known = content.get("format") if isinstance(content, dict) else None
    if known != FORMAT:
        raise DisbenchError(
            f"{path} holds {'no format name' if known is None else f'format {known!r}'}; expected {FORMAT!r}. "
            "Score other models as FILE.py:CALLABLE, where your own code loads them."
        )
    missing = {"model", "config", "state_dict", "train"} - content.keys()
    if missing:
        raise DisbenchError(f"{path} lacks {', '.join(sorted(missing))}; the checkpoint is incomplete.")
    kinds = {"model": str, "config": dict, "state_dict": dict, "train": dict}
    wrong = [part for part, kind in kinds.items() if not isinstance(content[part], kind)]
    if wrong or not all(isinstance(value, Tensor) for value in content["state_dict"].values()):
        raise DisbenchError(f"in {path} {', '.join(wrong) or 'state_dict'} is not of the type that {FORMAT} asks for.")
    return Checkpoint(content["model"], content["config"], content["state_dict"], content["train"])
