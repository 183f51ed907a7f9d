"""The one training loop: typed config, exact resume, several processes, whatever precision the device has.

A model is a `Trainable`: it brings `draw(n, generator)`, the random numbers of a step, and `losses(images, drawn,
step)`, of which `loss` is what is minimised. Everything else is here.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from disbench import registry
from disbench.errors import DisbenchError, UsageError, first_line
from disbench.images import to_images
from disbench.models import check_device
from disbench.settings import check_numbers
from disbench.types import Dataset, Pixels
from reference_models import distributed
from reference_models.batches import Batches
from reference_models.finishing import Curve, finish
from reference_models.runs import Progress, Run
from reference_models.stopping import Stopping

STATS_EVERY = 100  # steps
PRECISIONS = ("float32", "bfloat16")
STATE = "disbench.state/1"


@dataclass(frozen=True)
class TrainConfig:
    """What every reference model can be told; the defaults are the 2019 study's."""

    steps: int = 300_000  # optimiser steps
    batch_size: int = 64  # images a step, of all processes together
    learning_rate: float = 1e-4  # of AdamW, constant after the warm-up
    warmup_steps: int = 0  # over which the learning rate grows from a millionth of itself, linearly
    beta1: float = 0.9  # of AdamW: decay of the mean gradient
    beta2: float = 0.999  # of AdamW: decay of the mean square
    weight_decay: float = 0.0  # of AdamW, which is Adam without it
    accumulate: int = 1  # parts that a batch is computed in, for want of memory; what couples images sees a part
    precision: str = "float32"  # or bfloat16, of the forward pass
    compile: bool = False  # by torch.compile
    ema: float = 0.0  # decay a step of the averaged weights that are kept in place of the last, less at first; 0: none
    n_channels: int = 3  # of the images; the data set decides
    n_images: int = 0  # of the data set, which decides
    n_codes: int = 10  # dimensions of the code

    may_be_zero: ClassVar[frozenset[str]] = frozenset({"warmup_steps", "n_images"})

    def __post_init__(self) -> None:
        check_numbers(self, may_be_zero=self.may_be_zero)
        if not self.learning_rate:
            raise UsageError("learning_rate must be above 0.")
        for name in ("beta1", "beta2", "ema"):
            if getattr(self, name) >= 1:
                raise UsageError(f"{name} must lie in 0 ... 1, without 1; got {getattr(self, name)}.")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision is {' or '.join(PRECISIONS)}; got {self.precision!r}.")
        if self.batch_size % self.accumulate:
            raise UsageError(f"a batch of {self.batch_size} cannot be computed in {self.accumulate} equal parts.")


def train(
    name: str,
    config: TrainConfig,
    dataset: Dataset,
    *,
    train_seed: int,
    out: Path,
    device: str = "cpu",
    command: str = "",
    progress: bool = True,
    resume: bool = False,
    score: str | None = "quick",
    score_every: int = 0,
) -> Path:
    """Train a model on uniform draws (with replacement) from a data set, and write its checkpoint.

    On a CPU, a run that was interrupted and resumed gives the same weights, to the bit, as one that was not.

    Args:
        name: the model's name in the registry.
        config: the model's Config.
        dataset: serves the images.
        train_seed: of initialisation, draws and noise.
        out: the run folder; made if it is not there.
        device: where torch computes; under torchrun each process takes its own of the kind.
        command: recorded in the checkpoint.
        progress: show a bar on stderr.
        resume: go on where a run of the same config in that folder stopped; begin if there is none.
        score: protocol that the trained model is scored under at the end; None for none.
        score_every: steps after which it is scored along the way as well, into curve.jsonl; 0 for never.

    Returns:
        The path of ckpt.pt.

    Raises:
        UsageError: the folder holds a run, or another one than the one to be resumed, or is in use; or a model that
            has no codes is to be scored along the way.
        DisbenchError: the model does not take such images, its loss is not finite, or the disk is full.
        Stopped: SIGINT or SIGTERM came; the run can be resumed.
    """
    if not 0 <= train_seed < 2**63:
        raise UsageError(f"train_seed must lie in 0 ... 2^63 - 1; got {train_seed}.")
    if score_every < 0:
        raise UsageError(f"score_every must be at least 0; got {score_every}.")
    with distributed.processes(check_device(device)) as where:
        if config.batch_size % (distributed.n_processes() * config.accumulate):
            raise UsageError(
                f"a batch of {config.batch_size} cannot be shared out evenly among {distributed.n_processes()} "
                f"processes of {config.accumulate} parts each."
            )
        model, config = build(name, config, dataset, train_seed)
        if score_every and not (model.scored and score):
            raise UsageError(f"{name} has no codes that could be scored along the way; leave out score_every.")
        is_writer = distributed.rank() == 0
        run = Run(out, name, config, dataset, train_seed, command, device=str(where), is_writer=is_writer)
        with Stopping(run.go_on) as stopping, run.held():
            if not run.begin(resume):
                return run.checkpoint
            model.to(where, memory_format=torch.channels_last)  # convolutions take two thirds of the time on a CPU
            curve = Curve(run, score_every, score or "", str(where), progress)
            Loop(run, model, config, dataset, where, progress and is_writer).go(stopping, curve)
            with stopping.at_once("stopped after the last step, before the run was scored"):
                if is_writer:
                    finish(run, model.cpu(), dataset, str(where), score, progress)
        return run.checkpoint


def build(name: str, config: TrainConfig, dataset: Dataset, train_seed: int) -> tuple[Any, TrainConfig]:
    """The untrained model, and its config with what the data set decides.

    Raises:
        UsageError: the config asks for another number of channels than the images have.
        DisbenchError: the model does not take images of that size.
    """
    *size, n_channels = dataset.spec.image_shape
    if size != [64, 64]:
        shown = " x ".join(map(str, size))
        raise DisbenchError(f"{name} takes images of 64 x 64 pixels; those of {dataset.spec.name} are {shown}.")
    if config.n_channels not in (TrainConfig.n_channels, n_channels):
        raise UsageError(f"n_channels is {config.n_channels}, and images of {dataset.spec.name} have {n_channels}.")
    config = dataclasses.replace(config, n_channels=n_channels, n_images=len(dataset))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(train_seed)
        entry = registry.models()[name]
        model: Any = entry.build(config)
        found, tensors = model.taken_over(dataset)
        if found != config:
            model, config = entry.build(found), found
        model.load_state_dict(tensors, strict=False)
    return model, config


class _Losses(nn.Module):
    """The model's losses as a forward pass, as DistributedDataParallel and torch.compile want them."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Pixels, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        images = to_images(pixels).contiguous(memory_format=torch.channels_last)
        terms: dict[str, Tensor] = self.model.losses(images, drawn, step)
        return terms


class Loop:
    """Steps from where the run stands to its end."""

    def __init__(
        self, run: Run, model: Any, config: TrainConfig, dataset: Dataset, device: torch.device, progress: bool
    ) -> None:
        self.run, self.model, self.config, self.device, self.progress = run, model, config, device, progress
        betas = (config.beta1, config.beta2)
        decay = config.weight_decay
        self.optimiser = torch.optim.AdamW(
            model.parameter_groups(), lr=config.learning_rate, betas=betas, weight_decay=decay
        )
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.average = {name: value.clone() for name, value in self._averaged().items()}
        self.generator = Generator().manual_seed(run.train_seed)
        self.generator_state = self.generator.get_state()
        self.step = 0
        if (state := run.state()) is not None:
            self._restore(state)
        losses: nn.Module = _Losses(model)
        if config.compile:
            losses.compile()
        if distributed.n_processes() > 1:
            losses = nn.parallel.DistributedDataParallel(losses)
        self.losses = losses
        self.batches = Batches(dataset, model, config.batch_size, self.generator, device)
        self.first_bad = torch.full((), -1, device=device)  # the first step whose loss is not finite

    def go(self, stopping: Stopping, curve: Curve) -> None:
        """Train to the end, or until a signal stops it, and score the model along the way."""
        config, model = self.config, self.model
        model.train()
        if model.frozen and not self.step:
            self._save()  # what was taken over may not be there any more when the run is gone on with
        alone = distributed.n_processes() == 1  # of several, none may leave before the others
        with stopping.at_once("stopped before the next step") if alone else contextlib.nullcontext():
            model.prepare(self.batches.dataset, self.device)
        self.batches.start()
        bar = tqdm(
            total=config.steps, initial=self.step, desc=f"train {self.run.name}", unit="step", disable=not self.progress
        )
        watch = Progress(self.run, self.step, config.batch_size)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), bar, contextlib.closing(self.batches), watch:
            while self.step < config.steps:
                if curve.is_due(self.step):
                    self._save()
                    if self.run.is_writer:  # of several processes, the others wait in the next step
                        with watch.resting(), stopping.at_once(f"stopped at step {self.step:,}"):
                            curve.add(self._kept_weights(), self.step)
                with watch.waiting():
                    pixels, drawn, after = next(self.batches)
                self._seed()
                with self._enough_memory(pixels, drawn):
                    terms = self.take(pixels, drawn)
                self.generator_state = after
                self.step += 1
                bar.update()
                if self.step % STATS_EVERY == 0 or self.step == config.steps:
                    self._check()
                    bar.set_postfix(watch.note(self.step, terms))
                if stopping.wanted(self.step, self.device):
                    self._save()
                    stopping.stop(f"stopped at step {self.step:,}")
                if self.run.is_due():
                    self._save()
            self._save()
        model.load_state_dict(self._kept_weights())
        model.conclude(self.batches.dataset, self.device)

    def take(self, pixels: Pixels, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step of the optimiser; the terms of the loss, means over all parts and processes."""
        config, n_parts = self.config, self.config.accumulate
        self.optimiser.zero_grad(set_to_none=True)
        total: dict[str, Tensor] = {}
        for k in range(n_parts):
            part = {name: rows.tensor_split(n_parts)[k] for name, rows in drawn.items()}
            with contextlib.nullcontext() if k == n_parts - 1 else self._apart():
                with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                    terms = self.losses(pixels.tensor_split(n_parts)[k], part, self.step)
                (terms["loss"] / n_parts).backward()
            for name, term in terms.items():
                total[name] = total.get(name, 0) + term.detach() / n_parts
        total = distributed.averaged(total)
        bad = ~torch.isfinite(total["loss"])
        self.first_bad = torch.where(bad & (self.first_bad < 0), self.step + 1, self.first_bad)
        self._warm_up()
        self.optimiser.step()
        decay = min(config.ema, (2 + self.step) / (11 + self.step))  # of latent diffusion: steps count from 1
        for name, value in self._averaged().items():
            self.average[name].lerp_(value, 1 - decay)
        return total

    @contextlib.contextmanager
    def _enough_memory(self, pixels: Pixels, drawn: Mapping[str, Tensor]) -> Iterator[None]:
        """Says which part of a batch fits into the device's memory, where the whole does not."""
        try:
            yield
            return
        except torch.OutOfMemoryError as error:
            reason = first_line(error)
        n, k = len(pixels), 2 * self.config.accumulate
        while k < n and not self._fits(pixels, drawn, k):
            k *= 2
        per_step = self.config.batch_size
        advice = (
            "not even a few images fit, so the model is too large for it"
            if k >= n
            else f"{n // k} images at once fit: --set accumulate={k}, or --set batch_size={per_step // k}"
        )
        raise DisbenchError(f"a batch of {per_step} is too large for the device's memory; {advice}. ({reason})")

    def _fits(self, pixels: Pixels, drawn: Mapping[str, Tensor], n_parts: int) -> bool:
        """Whether one of so many parts of a batch can be computed with its gradients."""
        self.optimiser.zero_grad(set_to_none=True)
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
                part = {name: rows.tensor_split(n_parts)[0] for name, rows in drawn.items()}
                self.losses(pixels.tensor_split(n_parts)[0], part, self.step)["loss"].backward()
        except torch.OutOfMemoryError:
            return False
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def _averaged(self) -> dict[str, Tensor]:
        """The weights that are averaged, as they are now; none without `ema`."""
        if not self.config.ema:
            return {}
        return {
            name: value
            for name, value in self.model.state_dict().items()
            if name.startswith(self.model.averaged) and value.is_floating_point()
        }

    def _kept_weights(self) -> dict[str, Tensor]:
        """The model's tensors, with averages in place of what they are averages of."""
        tensors: dict[str, Tensor] = self.model.state_dict()
        return tensors | self.average

    def _warm_up(self) -> None:
        if not self.config.warmup_steps:
            return
        share = max(1e-6, min(1.0, self.step / self.config.warmup_steps))
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * share

    def _apart(self) -> contextlib.AbstractContextManager[None]:
        """Where gradients are not exchanged yet, as more of them come."""
        if isinstance(self.losses, nn.parallel.DistributedDataParallel):
            return self.losses.no_sync()
        return contextlib.nullcontext()

    def _seed(self) -> None:
        """Give torch's default generators the state of this step and process, for what a model draws from them."""
        seed = (self.run.train_seed * 1_000_003 + self.step + distributed.rank() * 2**40) % 2**63
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def _check(self) -> None:
        if int(self.first_bad) >= 0:
            raise DisbenchError(
                f"the loss is not finite at step {int(self.first_bad)}; lower learning_rate. {self.run.last_good()}"
            )

    def _save(self) -> None:
        self._check()
        if not all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters()):
            raise DisbenchError(
                f"a weight is not finite after step {self.step}; lower learning_rate. {self.run.last_good()}"
            )
        self.run.save(
            {
                "format": STATE,
                "step": self.step,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generator": self.generator_state,
                "average": self.average,
            }
        )

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state.get("format") != STATE or state["model"].keys() != self.model.state_dict().keys():
            raise DisbenchError(
                f"the state in {self.run.out} was kept by another version of disbench, and cannot be gone on with by "
                "this one; begin in another folder."
            )
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.generator_state = state["generator"].cpu()
        self.average = {name: value.to(self.device) for name, value in (state["average"] or {}).items()}
