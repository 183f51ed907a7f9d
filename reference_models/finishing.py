"""What is made of a run: its scores along the way, and at the end the checkpoint, its score, and sheets to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from disbench import records, registry
from disbench.encode import Encoder
from disbench.models import Model, load_model, of_checkpoint
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
    run.write_checkpoint(model.state_dict())
    model.eval()
    _draw(run, model, dataset, torch.device(device))
    if score is not None and model.scored:
        _score(load_model(run.checkpoint), run, score, device, run.out / "score.jsonl", progress)
    run.end()


class Curve:
    """Records of a run's model after every so many steps, in its curve.jsonl.

    Args:
        run: that is scored.
        every: steps; 0 for never.
        protocol: that it is scored under.
        device: where.
        progress: show bars on stderr.
    """

    def __init__(self, run: Run, every: int, protocol: str, device: str, progress: bool) -> None:
        self._run, self._every, self._protocol, self._device, self._progress = run, every, protocol, device, progress
        self._out = run.out / "curve.jsonl"
        found = records.read(self._out) if every and self._out.exists() else ()
        self._scored = {record["model"]["train"]["steps"] for record in found}

    def is_due(self, step: int) -> bool:
        """Whether the model is to be scored as it is after this step: 0 is a random one, the last is scored anyway."""
        is_wanted = self._every > 0 and step % self._every == 0 and step < self._run.config.steps
        return is_wanted and step not in self._scored

    def add(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Score the model that has these weights."""
        model = of_checkpoint(self._run.as_checkpoint(weights, step), self._run.out.name)
        _score(model, self._run, self._protocol, self._device, self._out, self._progress)
        self._scored.add(step)


def _score(model: Model, run: Run, protocol: str, device: str, out: Path, progress: bool) -> None:
    """Add a record; tokens become codes by what the protocol says, or by their first principal components."""
    from disbench.evaluation import evaluate

    reducer = None
    if Encoder(model, run.dataset, torch.device("cpu")).returns_tokens():
        reducer = registry.pick("protocol", protocol, PROTOCOLS).reducer or "pca"
    evaluate(
        model,
        run.dataset,
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
