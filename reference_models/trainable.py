"""What the loop asks of a module, and what it assumes where the module does not say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from disbench.types import Dataset, Indices


class Trainable(nn.Module):
    """Called with Images (n, c, 64, 64) in [0, 1] it returns Codes or Tokens.

    Attributes:
        config: that it was built from.
        frozen: children that are not trained; they stay in eval mode.
        averaged: beginnings of the names of what `ema` averages; the averages take their place when training ends.
        scored: whether what it returns is a representation, to be scored when training ends.
    """

    config: Any
    frozen: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ("",)
    scored: bool = True

    def taken_over(self, dataset: Dataset) -> tuple[Any, Mapping[str, Tensor]]:  # noqa: ARG002
        """The config with what was found of models trained before, such as a first stage, and tensors of theirs.

        Asked once when training begins, before anything of the run is written; where the config that is returned is
        another one, the module is built anew from it, and gets the tensors.
        """
        return self.config, {}

    def pretend(self) -> None:
        """Stand-ins for what `taken_over` and `prepare` would bring, so that a step can be timed without them."""

    def prepare(self, dataset: Dataset, device: torch.device) -> None:
        """Whatever is computed of the data set once; called on the device before the first step, and on resuming."""

    def conclude(self, dataset: Dataset, device: torch.device) -> None:
        """Whatever is kept of the trained model besides its weights; called once, after the last step."""

    def draw(self, n: int, generator: Generator) -> dict[str, Tensor]:
        """The random numbers of one step for n images, on the CPU, n along the first axis."""
        raise NotImplementedError

    def look_up(self, index: Indices) -> dict[str, Tensor]:  # noqa: ARG002
        """What is known of images (n,) beforehand, n along the first axis, on the device of training."""
        return {}

    def losses(self, images: Tensor, drawn: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Loss terms, 0-d, means over the batch.

        Args:
            images: (n, c, 64, 64) in [0, 1].
            drawn: what `draw` and `look_up` returned for them.
            step: of the optimiser, from 0.

        Returns:
            `loss`, which is minimised in one backward pass, and terms to be shown.
        """
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, for one AdamW, with settings of its own where they differ from the config's."""
        return [{"params": [weight for weight in self.parameters() if weight.requires_grad]}]

    def freeze(self) -> None:
        """Take the `frozen` children out of training."""
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As of any module, without the frozen children."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self
