"""What is made of a run when its training ends: the checkpoint, its score, and sheets to look at."""

from __future__ import annotations

from typing import Any

import torch

from disbench import registry
from disbench.encode import Encoder
from disbench.models import load_model
from disbench.pictures import save_png
from disbench.protocols import PROTOCOLS
from disbench.sheets import Subject, possible, reconstructions, samples, traversals
from disbench.types import Dataset
from reference_models.runs import Run

N_SAMPLES = 48  # of models whose images cost one pass
N_SAMPLED = 12  # of those that sample step by step: with as many reconstructions, 600 predictions at most
MOST_STEPS = 25  # of theirs


def finish(run: Run, model: Any, dataset: Dataset, device: str, score: str | None, progress: bool = False) -> None:
    """Write ckpt.pt, sheets of images and, unless `score` is None, score.jsonl under that protocol.

    Only then is the run at its end: one that is interrupted here is finished when it is resumed.
    """
    run.write_checkpoint(model.state_dict(), run.config.steps)
    model.eval()
    _draw(run, model, dataset, torch.device(device))
    if score is not None and model.scored:
        _score(run, model, dataset, device, score, progress)
    run.end()


def _score(run: Run, model: Any, dataset: Dataset, device: str, protocol: str, progress: bool) -> None:
    """score.jsonl; tokens become codes by what the protocol says, or by their first principal components."""
    from disbench.evaluation import evaluate

    reducer = None
    if Encoder(load_model(model), dataset, torch.device("cpu")).returns_tokens():
        reducer = registry.pick("protocol", protocol, PROTOCOLS).reducer or "pca"
    out = run.out / "score.jsonl"
    evaluate(
        run.checkpoint,
        dataset,
        protocol=protocol,
        device=device,
        reducer=reducer,
        out=out,
        command=run.command,
        progress=progress,
    )


def _draw(run: Run, model: Any, dataset: Dataset, device: torch.device) -> None:
    """reconstructions.png, traversals.png where decoding is cheap, samples.png where the model generates."""
    samples_step_by_step = hasattr(model, "sampling")
    sampling = {"n_steps": min(MOST_STEPS, model.config.sampling_steps), "eta": 0.0} if samples_step_by_step else {}
    subject = Subject(load_model(model), dataset, device, **sampling)
    save_png(reconstructions(subject), run.out / "reconstructions.png")
    if "traversals" in possible(subject.model) and not getattr(model, "decoding_cost", 0):
        save_png(traversals(subject), run.out / "traversals.png")
    if subject.model.generate is not None:
        save_png(samples(subject, N_SAMPLED if samples_step_by_step else N_SAMPLES), run.out / "samples.png")
