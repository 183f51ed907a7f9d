"""Reports as files: which record is meant, what it is set beside, what the model makes, and the page itself."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disbench import records, registry
from disbench.errors import DisbenchError, UsageError
from disbench.files import replacing
from disbench.report_page import page

if TYPE_CHECKING:
    from disbench.models import Model
    from disbench.neighbours import Neighbour
    from disbench.types import Dataset

PICTURES = ("reconstructions", "traversals")
SAMPLING_STEPS = 50  # of a model that decodes by sampling, at most
_MOST_LISTED = 12  # models in a message


def write_report(
    record: Mapping[str, Any],
    out: str | Path,
    *,
    model: Model | None = None,
    dataset: Dataset | None = None,
    device: str | None = None,
    progress: bool = False,
    no_images: str = "There are no pictures: a record alone does not hold the model. A run folder does.",
) -> None:
    """Write the page about a record, whole or not at all; what was there is replaced.

    Args:
        record: as `Report.record` or `disbench.records.read` has it.
        out: path of the page.
        model: that was scored, fitted; with it and the data set the page shows what it makes.
        dataset: that it was scored on.
        device: as `disbench show` takes it.
        progress: show bars on stderr.
        no_images: why there are no pictures, without a model.

    Raises:
        UsageError: the page cannot be written there.
        DisbenchError: the record does not keep to its schema.
    """
    record = records.from_line(records.to_line(record))  # with its hash, which one that was just made has not
    with replacing(out) as file:
        images: Mapping[str, bytes] = {}
        if model is not None and dataset is not None:
            images, no_images = pictures(record, model, dataset, device=device, progress=progress)
        text = page(
            record,
            neighbours=_neighbours(record),
            images=images,
            factor_names=_factor_names(record, dataset),
            no_images=no_images,
        )
        file.write(text.encode())


def pick(path: str | Path, model: str | None = None, dataset: str | None = None) -> dict[str, Any]:
    """The last record in a file of the one model and data set there is, or of those named.

    Raises:
        UsageError: there is no such file or record, or there are several to choose from.
        DisbenchError: the file is none of records.
    """
    by_name: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records.read(path):
        by_name[record["model"]["name"], record["key"]["dataset"]["name"]] = record
    if not by_name:
        raise DisbenchError(f"{path} holds no whole record; expected one that `disbench score --out` wrote.")
    found = {
        (of, on): record
        for (of, on), record in by_name.items()
        if model in (None, of) and dataset in (None, on)
    }  # fmt: skip
    if len(found) == 1:
        return next(iter(found.values()))
    listed = [f"{of!r} on {on!r}" for of, on in found or by_name]
    there = ", ".join(listed[:_MOST_LISTED]) + f" and {len(listed) - _MOST_LISTED} more" * (len(listed) > _MOST_LISTED)
    if not found:
        asked = " on ".join(repr(name) for name in (model, dataset) if name is not None)
        raise UsageError(f"{path} holds no record of {asked}; it holds {there}.")
    raise UsageError(f"{path} holds records of {there}; name one with --model, --dataset or both.")


def pictures(
    record: Mapping[str, Any], model: Model, dataset: Dataset, *, device: str | None = None, progress: bool = False
) -> tuple[dict[str, bytes], str]:
    """PNG files of what a model makes, by sheet, and why some are missing: a page is written without them, too.

    Raises:
        UsageError: there is no such device here.
    """
    from disbench.models import pick_device
    from disbench.sheets import Subject, draw, possible

    if model.content_hash != record["model"]["content_hash"]:
        return {}, "There are no pictures: the checkpoint at hand is not the model that was scored."
    if len(dataset.spec.image_shape) != 3:
        return {}, f"There are no pictures: {dataset.spec.name} has signals, not images."
    wanted = [what for what in PICTURES if what in possible(model)]
    if not wanted:
        return {}, "There are no pictures: the model does not go back from codes to images."
    cost = getattr(model.module, "decoding_cost", 0) if hasattr(model.module, "sampling") else 0
    n_steps = min(cost, SAMPLING_STEPS) if cost else None
    subject = Subject(model, dataset, pick_device(model, device), n_steps=n_steps, progress=progress)
    found = {}
    try:
        for what in wanted:
            buffer = io.BytesIO()
            draw(what, subject).save(buffer, format="PNG", optimize=True)
            found[what] = buffer.getvalue()
    except DisbenchError as error:
        return {}, f"There are no pictures: {error}"
    without = [what for what in PICTURES if what not in wanted]
    return found, f"There are no {', '.join(without)}: what the model returns is no representation." if without else ""


def _neighbours(record: Mapping[str, Any]) -> Mapping[str, Sequence[Neighbour]]:
    from disbench.entries import folder
    from disbench.neighbours import neighbours

    return neighbours(record, folder())


def _factor_names(record: Mapping[str, Any], dataset: Dataset | None) -> tuple[str, ...] | None:
    """Of the record's data set, if it is at hand or has a name here; a record's text is never taken for a path."""
    if dataset is not None:
        return dataset.spec.space.names
    name = record["key"]["dataset"]["name"]
    name = registry.aliases().get(name, name)
    return registry.datasets()[name].spec.space.names if name in registry.datasets() else None
