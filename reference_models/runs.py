"""A run folder: config.json, env.json, stats.jsonl (readable while it runs), state.pt to go on from, then ckpt.pt."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import disbench
from disbench import checkpoint, records
from disbench.errors import DisbenchError, UsageError, first_line
from disbench.files import claimed, replacing
from disbench.types import Dataset

SAVE_EVERY = 60.0  # seconds between states
KEPT = ("config.json", "env.json", "stats.jsonl", "state.pt", "ckpt.pt")


class Run:
    """One training run and its folder.

    Args:
        out: the folder; made when the run begins.
        name: of the model.
        config: the model's resolved Config.
        dataset: that it is trained on.
        train_seed: of all its chance.
        command: recorded.
        device: recorded.
        is_writer: whether this process writes; of several, one does.
    """

    def __init__(
        self,
        out: Path,
        name: str,
        config: Any,
        dataset: Dataset,
        train_seed: int,
        command: str,
        *,
        device: str = "",
        is_writer: bool = True,
    ) -> None:
        self.out, self.name, self.config, self.dataset = out, name, config, dataset
        self.train_seed, self.command, self.device, self.is_writer = train_seed, command, device, is_writer
        self.checkpoint = out / "ckpt.pt"
        self._saved_at = time.monotonic()

    @property
    def go_on(self) -> str:
        """What to type to go on with the run after it was stopped."""
        return f"disbench train --resume {shlex.quote(str(self.out))}"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The folder, made if it is not there, is this process's alone while the block lasts.

        Raises:
            UsageError: another process trains in it.
        """
        if not self.is_writer:
            yield
            return
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.out} cannot be made: {error.strerror}.") from None
        with claimed(self.out, f"{self.out} is in use: another process trains there; wait for it, or stop it."):
            for name in KEPT:
                for part in self.out.glob(f"{name}.*.part"):  # of processes that were killed
                    part.unlink()
            yield

    def begin(self, resume: bool) -> bool:
        """Describe the run in its folder, or check that it holds this one; whether anything is left to train.

        Raises:
            UsageError: it holds a run and none was to be resumed, or another run.
        """
        described = {
            "model": self.name,
            "dataset": self.dataset.spec.name,
            "dataset_hash": self.dataset.content_hash,
            "train_seed": self.train_seed,
            **dataclasses.asdict(self.config),
        }
        is_finished = self.checkpoint.exists() and not self._state.exists()
        if is_finished and not resume:
            raise UsageError(f"{self.out} holds a finished run already; name another folder with --out.")
        if self._state.exists() and not resume:
            raise UsageError(
                f"{self.out} holds an unfinished run; name another folder with --out, or go on with: {self.go_on}"
            )
        if resume and (before := read_config(self.out)) is not None:
            for key, value in described.items():
                if before.get(key, value) != value:  # fields that came later are as they always were
                    raise UsageError(
                        f"{self.out} holds a run with {key} {before[key]!r}; it cannot go on with {value!r}. Name "
                        "another folder with --out, or ask for the same."
                    )
        if is_finished:
            return False
        if resume:
            self.command = self._first_command() or self.command
        if self.is_writer:
            self._write("config.json", described)
            self._write("env.json", records.run_info(self.device, {}, self.command))
        return True

    def _first_command(self) -> str:
        """What the run was begun with, as env.json says; empty if it does not."""
        try:
            command = json.loads((self.out / "env.json").read_text())["command"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return command if isinstance(command, str) else ""

    def state(self) -> Mapping[str, Any] | None:
        """What the last `save` kept, on the CPU; None if there was none. Statistics behind it are dropped."""
        if not self._state.exists():
            if self.is_writer:
                (self.out / "stats.jsonl").unlink(missing_ok=True)
            return None
        try:
            state: Mapping[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        except Exception as error:  # unpickling fails in any number of ways
            raise DisbenchError(f"{self._state} cannot be read; delete it to begin anew.") from error
        if self.is_writer:
            kept = [line for line in self._stats() if json.loads(line)["step"] <= state["step"]]
            with replacing(self.out / "stats.jsonl") as file:
                file.write("".join(kept).encode())
        return state

    def is_due(self) -> bool:
        """Whether the state is to be saved again."""
        return time.monotonic() - self._saved_at > SAVE_EVERY

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the state; a reader finds the one before or this one, whole.

        Raises:
            DisbenchError: it cannot be written.
        """
        self._saved_at = time.monotonic()
        if not self.is_writer:
            return
        try:
            with replacing(self._state) as file:
                torch.save(dict(state), file)
        except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
            raise DisbenchError(
                f"{self._state} cannot be written ({first_line(error)}); is the disk full? {self.last_good()}"
            ) from error

    def last_good(self) -> str:
        """What to do after a failure."""
        if not self._state.exists():
            return "Nothing was kept of the run."
        return f"The state before is in {self._state}."

    def end(self) -> None:
        """The run is finished: the state to go on from is not needed any more."""
        self._state.unlink(missing_ok=True)

    def write_checkpoint(self, weights: Mapping[str, Tensor]) -> None:
        """Write ckpt.pt."""
        checkpoint.save(self.as_checkpoint(weights, self.config.steps), self.checkpoint)

    def as_checkpoint(self, weights: Mapping[str, Tensor], steps: int) -> checkpoint.Checkpoint:
        """The model after so many steps, as a checkpoint.

        Half precision: as small as a shipped file should be, and what is scored is what is kept.
        """
        trained = {
            "dataset": self.dataset.spec.name,
            "dataset_hash": self.dataset.content_hash,
            "train_seed": self.train_seed,
            "steps": steps,
            "planned_steps": self.config.steps,
            "command": self.command,
            "versions": {"disbench": disbench.__version__, "torch": torch.__version__},
        }
        kept = {k: v.detach().cpu().half() if v.is_floating_point() else v.cpu() for k, v in weights.items()}
        if not all(bool(torch.isfinite(value).all()) for value in kept.values()):
            raise DisbenchError("a weight is larger than half precision holds; lower learning_rate.")
        return checkpoint.Checkpoint(self.name, dataclasses.asdict(self.config), kept, trained)

    @property
    def _state(self) -> Path:
        return self.out / "state.pt"

    def _stats(self) -> list[str]:
        """The whole lines of stats.jsonl."""
        path = self.out / "stats.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [line for line in lines if line.endswith("\n")]

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        with replacing(self.out / name) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())


def read_config(out: Path) -> dict[str, Any] | None:
    """What config.json of a run folder says; None if there is none.

    Raises:
        DisbenchError: it cannot be read.
    """
    path = out / "config.json"
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise DisbenchError(f"{path} cannot be read as JSON: {error}") from error


class Progress(contextlib.AbstractContextManager["Progress"]):
    """stats.jsonl, and how the time of a run is spent."""

    def __init__(self, run: Run, step: int, batch_size: int) -> None:
        self._run, self._first, self._batch_size = run, step, batch_size
        self._started = time.perf_counter()
        self._waited = 0.0

    def __enter__(self) -> Progress:
        self._file = open(self._run.out / "stats.jsonl", "a") if self._run.is_writer else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While the loop waits for data."""
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """While something else than training goes on."""
        started = time.perf_counter()
        yield
        self._started += time.perf_counter() - started

    def note(self, step: int, terms: Mapping[str, Tensor]) -> dict[str, Any]:
        """Write a line; returns what the bar shows."""
        values = {name: round(float(term), 4) for name, term in terms.items()}
        seconds = time.perf_counter() - self._started
        rate = round((step - self._first) * self._batch_size / seconds)
        if self._file is not None:
            line = {"step": step, **values, "images_per_second": rate, "waiting": round(self._waited / seconds, 4)}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        return values | {"images/s": rate}
