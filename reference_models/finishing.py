"""What is made of a run when its training ends: the checkpoint, its score, and sheets to look at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator

from disbench.images import to_pixels
from disbench.pictures import reconstructions_and_traversals, save_png, sheet
from disbench.types import Dataset
from reference_models.runs import Run

N_SAMPLES = 48  # in rows of 12


def finish(run: Run, model: Any, dataset: Dataset, device: str, score: str | None) -> None:
    """Write ckpt.pt, sheets of images and, unless `score` is None, score.jsonl under that protocol.

    Only then is the run at its end: one that is interrupted here is finished when it is resumed.
    """
    run.write_checkpoint(model.state_dict(), run.config.steps)
    model.eval()
    save_png(reconstructions_and_traversals(model, dataset), run.out / "reconstructions.png")
    with torch.no_grad():
        samples = to_pixels(model.generate(N_SAMPLES, Generator().manual_seed(0)))
    save_png(sheet([("samples" * (not k), row) for k, row in enumerate(samples.split(12))]), run.out / "samples.png")
    if score is not None:
        from disbench.evaluation import evaluate

        out = run.out / "score.jsonl"
        evaluate(run.checkpoint, dataset, protocol=score, device=device, out=out, command=run.command)
    run.end()
