"""Images -> codes: batched, on the device, every image once; and the reducers that make codes of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from disbench.errors import DisbenchError, first_line
from disbench.images import serve, to_images
from disbench.models import Model, as_tensor
from disbench.types import MAX_CODE, Codes, Dataset, Indices, Tokens

N_PROBE = 32
_FITTED_AT_ONCE = 10_000  # tokens in float64 at a time; bounds memory, not the result
_MAX_PERMUTED = 2**26  # images that are drawn from by permuting them all
BATCH_SIZE = {"cpu": 256, "cuda": 4096}


class Reducer(Protocol):
    """Makes Codes of Tokens. It names the images it is fitted on, so that what else runs does not move it."""

    def draw(self, n_images: int, generator: Generator) -> Indices:
        """Indices of the images to fit on; empty if there is nothing to fit."""

    def fit(self, tokens: Tokens) -> None:
        """Learn from the tokens of the drawn images."""

    def __call__(self, tokens: Tokens) -> Codes: ...


class Flatten:
    """Every element of every token is a code of its own: (n, t, e) -> (n, t * e)."""

    def draw(self, n_images: int, generator: Generator) -> Indices:  # noqa: ARG002
        """Nothing to fit."""
        return torch.empty(0, dtype=torch.int64)

    def fit(self, tokens: Tokens) -> None:
        """Nothing to fit."""

    def __call__(self, tokens: Tokens) -> Codes:
        return tokens.flatten(1)


class Pca:
    """The first principal component of each token: (n, t, e) -> (n, t). Fitted on 10,000 images, or all if fewer."""

    n_fitted = 10_000

    def draw(self, n_images: int, generator: Generator) -> Indices:
        """Distinct images, uniformly."""
        if n_images > _MAX_PERMUTED:  # two draws seldom meet
            return torch.randint(n_images, (self.n_fitted,), generator=generator).unique()
        return torch.randperm(n_images, generator=generator)[: self.n_fitted]

    def fit(self, tokens: Tokens) -> None:
        """Principal axes in float64; the largest element of each points up."""
        self.mean = tokens.mean(0, dtype=torch.float64)[:, None]  # (t, 1, e)
        scatter = torch.zeros((), dtype=torch.float64, device=tokens.device)
        for some in tokens.split(_FITTED_AT_ONCE):
            centred = some.double().transpose(0, 1) - self.mean
            scatter = scatter + centred.transpose(1, 2) @ centred
        axes = torch.linalg.eigh(scatter).eigenvectors[..., -1:]
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        self.axes = axes * torch.where(largest < 0, -1.0, 1.0)

    def __call__(self, tokens: Tokens) -> Codes:
        return torch.cat([self._project(some) for some in tokens.split(_FITTED_AT_ONCE)])

    def _project(self, tokens: Tokens) -> Codes:
        projected = (tokens.double().transpose(0, 1) - self.mean) @ self.axes
        return projected.squeeze(-1).T.float()


class PcaAll(Pca):
    """The same, fitted on all images of the data set, or on 500,000 of them if there are more."""

    n_fitted = 500_000


REDUCERS: Mapping[str, type[Reducer]] = {"flatten": Flatten, "pca": Pca, "pca_all": PcaAll}


@dataclass(frozen=True)
class Encoder:
    """A model on a device, fed from a data set.

    Args:
        model: what to call.
        dataset: serves pixels by index.
        device: where images go.
        batch_size: images a call; None for a size that suits the device. Halved when the device's memory is short.
        input_range: what the model wants black and full brightness to be.
        progress: show a bar on stderr.
    """

    model: Model
    dataset: Dataset
    device: torch.device
    batch_size: int | None = None
    input_range: tuple[float, float] = (0.0, 1.0)
    progress: bool = False

    def table(self, images: Indices, reducer: Reducer | None = None, fit_on: Indices | None = None) -> Codes:
        """Codes float32 (m, d) of distinct images (m,), on the device.

        32 of the images are encoded a second time, in other company: codes that then differ depend on the batch.

        Args:
            images: int64 (m,), positions in the data set.
            reducer: makes codes of tokens.
            fit_on: the images that the reducer is fitted on.

        Raises:
            DisbenchError: the model raised, returned something of the wrong shape or not finite, or its codes depend
                on the batch.
        """
        if reducer is None or fit_on is None or not len(fit_on):
            with self.model.ready(self.device):
                return self._encode(images, reducer, wants_tokens=reducer is not None, probe=_Probe(images, self))
        return self.tables(images, reducer, fit_on)[0]

    def tokens(self, images: Indices) -> Tokens:
        """Tokens float32 (m, t, e) of distinct images (m,), ascending, on the device; probed and checked like codes."""
        with self.model.ready(self.device):
            return self._encode(images, None, wants_tokens=True, probe=_Probe(images, self))

    def tables(
        self, images: Indices, reducer: Reducer, fit_on: Indices, tokens_of: Indices | None = None
    ) -> tuple[Codes, Tokens]:
        """Codes of some images, and tokens of others, each image encoded once.

        Args:
            images: int64 (m,), distinct, ascending: whose codes are wanted.
            reducer: makes codes of tokens.
            fit_on: the images that it is fitted on.
            tokens_of: int64 (s,), distinct, ascending: whose tokens are wanted.

        Returns:
            float32 (m, d) and (s, t, e).
        """
        tokens_of = fit_on[:0] if tokens_of is None else tokens_of
        first = torch.cat([fit_on, tokens_of]).unique()
        tokens = self.tokens(first)
        if len(fit_on):
            reducer.fit(tokens[torch.searchsorted(first, fit_on.sort().values).to(self.device)])
        known = torch.isin(images, first)
        reduced = reducer(tokens[torch.searchsorted(first, images[known]).to(self.device)])
        table = reduced.new_empty(len(images), reduced.shape[1])
        table[known.to(self.device)] = reduced
        if not bool(known.all()):
            with self.model.ready(self.device):
                rest = self._encode(images[~known], reducer, wants_tokens=True, probe=None)
            table[~known.to(self.device)] = rest
        return table, tokens[torch.searchsorted(first, tokens_of).to(self.device)]

    def probe(self) -> None:
        """Check, on 64 images, that codes depend neither on the batch nor on chance, where no table is wanted.

        Raises:
            DisbenchError: they do, or are not usable.
        """
        images = torch.arange(min(2 * N_PROBE, len(self.dataset)))
        with self.model.ready(self.device):
            wants_tokens = self._output(images[:2]).ndim == 3
            self._encode(images, None, wants_tokens=wants_tokens, probe=_Probe(images, self))

    def returns_tokens(self) -> bool:
        """Whether the model makes tokens rather than codes, from a call on the first two images."""
        with self.model.ready(self.device):
            return self._output(torch.arange(min(2, len(self.dataset)))).ndim == 3

    def _encode(self, images: Indices, reducer: Reducer | None, *, wants_tokens: bool, probe: _Probe | None) -> Tensor:
        """The model's checked output for all images, reduced if there is a (fitted) reducer.

        Written into one table as it comes: small results kept between large temporaries would keep the allocator from
        giving those back, by gigabytes.
        """
        table: Tensor | None = None
        size = self.batch_size or BATCH_SIZE.get(self.device.type, BATCH_SIZE["cpu"])
        start = 0
        with tqdm(total=len(images), desc="encode", unit="image", unit_scale=True, disable=not self.progress) as bar:
            while start < len(images):
                batch = images[start : start + size]
                try:
                    output = self.call(batch, wants_tokens)
                    if probe is not None:
                        probe.compare(batch, output)
                except torch.OutOfMemoryError:
                    if size == 1:
                        raise DisbenchError(f"{self.device} has too little memory for a single image.") from None
                    size = max(1, size // 2)
                    torch.cuda.empty_cache()
                    continue
                codes = reducer(output) if reducer is not None else output
                if table is None:
                    table = codes.new_empty(len(images), *codes.shape[1:])
                _check_same_width(codes, table)
                table[start : start + len(batch)] = codes
                start += len(batch)
                bar.update(len(batch))
        assert table is not None  # a plan has images
        return table

    def call(self, index: Indices, wants_tokens: bool) -> Tensor:
        """The model's output float32 for one batch, checked for shape and finiteness."""
        return self._checked(self._output(index), index, wants_tokens)

    def _output(self, index: Indices) -> Tensor:
        if self.model.by_index is not None:
            return self.model.by_index(index)
        images = to_images(serve(self.dataset, index, self.device), self.input_range)
        try:
            return as_tensor(self.model(images))
        except (DisbenchError, torch.OutOfMemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise DisbenchError(
                f"the model raised {type(error).__name__} on images float32 {tuple(images.shape)}: {first_line(error)}"
            ) from error

    def _checked(self, output: Tensor, index: Indices, wants_tokens: bool) -> Tensor:
        """The output as float32 on the device, if it has the right shape, is real and finite."""
        expected = 3 if wants_tokens else 2
        shape = tuple(output.shape)
        if output.ndim == 3 and not wants_tokens:
            known = ", ".join(REDUCERS)
            raise DisbenchError(
                f"the model returned tokens {shape}; name a reducer (--reducer) to make codes of them: {known}."
            )
        if output.ndim == 2 and wants_tokens:
            raise DisbenchError(f"the model returned codes {shape}, not tokens (n, t, e); leave the reducer out.")
        if output.ndim != expected or shape[0] != len(index) or 0 in shape:
            raise DisbenchError(
                f"the model returned shape {shape} for {len(index)} images; expected codes ({len(index)}, d) "
                f"or tokens ({len(index)}, t, e)."
            )
        if output.is_complex() or output.dtype == torch.bool:
            raise DisbenchError(f"the model returned {output.dtype}; expected real numbers.")
        codes = output.to(self.device, torch.float32)
        usable = codes.abs() <= MAX_CODE  # False for NaN
        if not bool(usable.all()):
            image, position = (~usable).reshape(len(index), -1).nonzero()[0].tolist()
            value = output.reshape(len(index), -1)[image, position].item()
            raise DisbenchError(
                f"the model returned {value} in code {position} of image {int(index[image])}; codes must be finite, "
                f"and within ±{MAX_CODE:g}."
            )
        return codes


class _Probe:
    """Some images encoded a second time, in batches of their own, to be compared when their turn comes."""

    def __init__(self, images: Indices, encoder: Encoder) -> None:
        at_random = torch.randperm(len(images), generator=Generator().manual_seed(0))
        self.images = images[at_random[:N_PROBE].sort().values]
        self.encoder = encoder
        self.codes: Tensor | None = None

    def compare(self, batch: Indices, output: Tensor) -> None:
        """Check the rows of a batch that the probe holds.

        Raises:
            DisbenchError: a code differs by more than rounding explains: 1 % of its spread, and a little for codes
                that hardly vary.
        """
        if self.codes is None:
            self.codes = self._encode(len(batch), wants_tokens=output.ndim == 3)
        _check_same_width(output, self.codes)
        here = torch.isin(batch, self.images)
        if not bool(here.any()):
            return
        expected = self.codes[torch.searchsorted(self.images, batch[here]).to(output.device)]
        difference = (output[here.to(output.device)] - expected).abs()
        spread = self.codes.std(0, correction=0)
        rounding = 1e-5 * self.codes.abs().amax(0) + 1e-6 * self.codes.abs().max()
        allowed = 0.01 * spread + 0.001 * spread.quantile(0.75, interpolation="lower") + rounding
        if bool((difference > allowed).any()):
            raise DisbenchError(
                "the codes of an image depend on the batch it is in, or on chance: encoded twice in different company, "
                f"they differ by up to {difference.max().item():.3g}. Put batch normalisation and dropout in eval "
                "mode, and return means rather than samples."
            )

    def _encode(self, size: int, wants_tokens: bool) -> Tensor:
        """The probe's codes, in batches of at most `size` that are not those of the table."""
        # Every second image, then the others: the same images in the same company would prove nothing.
        order = torch.cat([torch.arange(len(self.images))[start::2] for start in (0, 1)])
        size = min(size, max(1, len(self.images) // 2))
        pieces = [self.encoder.call(piece, wants_tokens) for piece in self.images[order].split(size)]
        return torch.cat(pieces)[order.argsort().to(pieces[0].device)]


def _check_same_width(output: Tensor, before: Tensor) -> None:
    if output.shape[1:] != before.shape[1:]:
        raise DisbenchError(
            f"the model returned {tuple(output.shape[1:])} codes per image for one batch and {tuple(before.shape[1:])} "
            "for another; their number must not change."
        )
