"""The tables that metrics read: of codes, and of tokens as the model returns them; each image encoded once for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from disbench.encode import REDUCERS, Encoder, Reducer
from disbench.plan import At, Plan, generator_for, make_plan
from disbench.protocols import Resolved
from disbench.types import Codes, Draw, Indices, Metric, Tokens


@dataclass(frozen=True)
class Intake:
    """What the metrics on codes are computed from.

    Args:
        of_codes: names of those that read codes.
        of_tokens: names of those that read tokens, and make codes of them by their own settings.
        reducer: what makes codes of tokens for the first; None if nothing has to.
    """

    of_codes: frozenset[str]
    of_tokens: frozenset[str]
    reducer: str | None


def intake_of(resolved: Resolved, reducer: str | None, encoder: Encoder) -> Intake:
    """What each metric reads of this model: a reducer that the user names, `reducer`, is for all of them."""
    on_codes = {task.metric.name: task.metric for task in resolved.tasks if isinstance(task.metric, Metric)}
    names = frozenset(on_codes)
    takers = frozenset(name for name, metric in on_codes.items() if metric.takes_tokens)
    if reducer is not None or not (takers or resolved.reducer) or not names or not encoder.returns_tokens():
        return Intake(names, frozenset(), reducer)
    if takers == names:
        return Intake(frozenset(), takers, None)
    if resolved.reducer is None:  # the encoder says that one is to be named
        return Intake(names, frozenset(), None)
    return Intake(names - takers, takers, resolved.reducer)


@dataclass(frozen=True)
class Tables:
    """Codes float32 (m, d) and tokens float32 (s, t, e) of the images of two plans; None where nobody reads them."""

    codes: Codes | None
    tokens: Tokens | None

    @property
    def n_codes(self) -> int | None:
        """Numbers per image."""
        return next((table[0].numel() for table in (self.codes, self.tokens) if table is not None), None)


class Plans:
    """Which images to encode for the draws of some metrics, and what to keep of each."""

    def __init__(self, intake: Intake, draws: Mapping[At, Draw | str], n_images: int) -> None:
        self._reduce: Reducer | None = None
        self._fit_on: Indices = torch.empty(0, dtype=torch.int64)
        if intake.reducer is not None:  # fitted on the same images for every eval seed
            self._reduce = REDUCERS[intake.reducer]()
            self._fit_on = self._reduce.draw(n_images, generator_for(0, f"reducer {intake.reducer}", 1))
        self._draws = draws
        self._of_tokens = intake.of_tokens
        self.codes: Plan[At] = make_plan({at: d for at, d in draws.items() if at[1] in intake.of_codes}, [self._fit_on])
        self._tokens: Plan[At] = make_plan({at: d for at, d in draws.items() if at[1] in intake.of_tokens})

    @property
    def n_asked(self) -> int:
        """How many images the draws ask for, repetitions counted."""
        return self.codes.n_asked + self._tokens.n_asked

    @cached_property
    def n_images(self) -> int:
        """How many different ones."""
        return len(torch.cat([self.codes.images, self._tokens.images]).unique())

    def encode(self, encoder: Encoder) -> Tables:
        """The tables of these images."""
        images, of_tokens = self.codes.images, self._tokens.images
        if not len(of_tokens):
            return Tables(encoder.table(images, self._reduce, self._fit_on) if len(images) else None, None)
        if not len(images):
            return Tables(None, encoder.tokens(of_tokens))
        assert self._reduce is not None  # who reads codes of a model with tokens has them reduced
        return Tables(*encoder.tables(images, self._reduce, self._fit_on, of_tokens))

    def rows(self, tables: Tables) -> dict[At, tuple[Draw | str, Tensor | None]]:
        """Every draw, pointing into its table, and that table."""
        return {
            at: (self._tokens.draw(at), tables.tokens)
            if at[1] in self._of_tokens
            else (self.codes.draw(at), tables.codes)
            for at in self._draws
        }
