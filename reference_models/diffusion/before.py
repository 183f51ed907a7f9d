"""Trained models that another model starts from: a first stage, an unconditional denoiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from disbench import checkpoint
from disbench.errors import UsageError
from disbench.types import Dataset

FIRST_STAGES = ("vq", "kl")
DECIDED_BY_LDM = (  # fields of a config that the ldm which it starts from decides
    "space", "first_stage", "first_stage_width", "codebook_size", "first_stage_hash", "width", "heads", "schedule",
)  # fmt: skip


def trained_before(
    place: str, kinds: tuple[str, ...], dataset: Dataset, what: str, train_one: str, name_it: str
) -> checkpoint.Checkpoint:
    """The checkpoint that a model starts from, checked to be of such a kind, and trained on this data set.

    Args:
        place: path of a checkpoint or a run folder.
        kinds: of models that will do.
        dataset: that is to be trained on.
        what: it is, as messages call it.
        train_one: what to do where there is none.
        name_it: how it is then named.

    Raises:
        UsageError: it is none of that.
    """
    path = Path(place) / "ckpt.pt" if Path(place).is_dir() else Path(place)
    if not place or not path.is_file():
        lack = "none is named" if place in ("", *FIRST_STAGES) else f"there is no trained model at {place!r}"
        raise UsageError(f"{what} is needed, and {lack}: {train_one}{name_it}")
    found = checkpoint.load(path)
    if found.model not in kinds:
        raise UsageError(
            f"{path} holds the model {found.model!r}, and {what} is {' or '.join(kinds)}: {train_one}{name_it}"
        )
    if found.train.get("dataset_hash") != dataset.content_hash:
        of, name = found.train.get("dataset"), dataset.spec.name
        here = name if of != name else f"{name} with other content"
        raise UsageError(f"the {found.model} at {path} was trained on {of}, and this is {here}: {train_one}{name_it}")
    return found


def ldm_at(place: str, config: Any, dataset: Dataset) -> checkpoint.Checkpoint:
    """The checkpoint of the `ldm` that a config names by its path.

    Raises:
        UsageError: there is none, it was trained on something else, or the config asks for what it is not.
    """
    name = dataset.spec.name
    train_one = f"train one with: disbench train ldm --dataset {name} --set first_stage=RUN"
    name_it = f"; and name it by --set ldm=runs/ldm-{name}-seed0."
    found = trained_before(place, ("ldm",), dataset, "what DisDiff starts from", train_one, name_it)
    for key in DECIDED_BY_LDM:
        asked, is_there = getattr(config, key), found.config[key]
        if asked not in (getattr(type(config), key), is_there):
            raise UsageError(f"the ldm decides {key}, which is {is_there!r} there; leave out {key}={asked!r}.")
    return found
