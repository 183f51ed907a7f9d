"""Sheets of what a model makes that can go back from codes to images.

What is asked of a model: `decode(codes)`. What is taken where a module has it: `sampling` (a `Sampler`), `attention`
(an `Attentive`), `generate`, and `scored`, False where what it returns is no representation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol, cast

import torch
from PIL import Image
from torch import Generator, Tensor
from tqdm import tqdm

from disbench.encode import Encoder, Pca
from disbench.errors import DisbenchError, UsageError, first_line
from disbench.images import serve, to_pixels
from disbench.models import Model, as_tensor
from disbench.pictures import heated, sheet
from disbench.types import Codes, Dataset, Images, Indices, Pixels, Tokens

N_RANGED = 512  # random images whose codes say how far a traversal goes
RANGE = (0.01, 0.99)  # quantiles of them
N_AT_ONCE = 64  # images decoded together
MOST_IMAGES = 100  # columns or rows
NARROW = 52  # pixels of a label such as "pair 12"


class Sampler(Protocol):
    """A module whose `decode` or `generate` samples, as diffusion models do."""

    decoding_cost: int  # predictions of its network that `decode` makes for an image; 0: it does not sample

    def sampling(self, n_steps: int | None, eta: float | None) -> contextlib.AbstractContextManager[None]:
        """While the block lasts it samples in so many steps, with this share of fresh noise; None: as it would."""


class Attentive(Protocol):
    """A module that looks at the tokens of an image while it decodes them."""

    has_attention: bool  # whether it does, as it is configured

    def attention(self, codes: Codes | Tokens) -> tuple[Images, Tensor]:
        """What `decode` makes (n, c, h, w), and how much each place looked at each token (n, t, h', w').

        The latter is a mean over time steps and sums to 1 over the tokens.
        """


@dataclass(frozen=True)
class Subject:
    """A model on a device, and the data set whose images it is shown with.

    Args:
        model: with `decode`.
        dataset: of pictures.
        device: where it computes.
        seed: of which images are drawn, and of what the model draws from torch's default generators.
        n_steps: of a `Sampler`; None for as many as it takes by itself.
        eta: likewise, the share of fresh noise.
        progress: show bars on stderr.
    """

    model: Model
    dataset: Dataset
    device: torch.device
    seed: int = 0
    n_steps: int | None = None
    eta: float | None = None
    progress: bool = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The model in eval mode, on the device, without gradients, seeded and sampling as asked for."""
        module: Any = self.model.module
        sampling = module.sampling(self.n_steps, self.eta) if hasattr(module, "sampling") else contextlib.nullcontext()
        devices = [self.device] if self.device.type == "cuda" else []
        with self.model.ready(self.device), torch.random.fork_rng(devices), sampling:
            torch.default_generator.manual_seed(self.seed)
            if devices:
                with torch.cuda.device(self.device):
                    torch.cuda.manual_seed(self.seed)
            yield

    def drawn(self, n: int) -> Indices:
        """Random images, with replacement; the first of them do not depend on n."""
        return torch.randint(len(self.dataset), (n,), generator=Generator().manual_seed(self.seed))

    def pixels(self, index: Indices) -> Pixels:
        """Images (n,) as bytes on the CPU; floats are taken to lie in 0 ... 1."""
        pixels = serve(self.dataset, index, self.device).cpu()
        return pixels if pixels.dtype == torch.uint8 else (pixels.clamp(0, 1) * 255).round().to(torch.uint8)

    def codes(self, index: Indices) -> Codes | Tokens:
        """What the model returns for images (n,): (n, d), or (n, t, e) of tokens.

        Raises:
            DisbenchError: it raised, or returned something else.
        """
        encoder = Encoder(self.model, self.dataset, self.device)
        return torch.cat([encoder.call(batch, self._returns_tokens) for batch in index.split(N_AT_ONCE)])

    def decoded(self, codes: Codes | Tokens, title: str, decode: Callable[[Tensor], Any] | None = None) -> Pixels:
        """Images (n, h, w, c) as bytes on the CPU.

        Args:
            codes: as `codes` returns them.
            title: of the bar.
            decode: makes images of a batch of them; the model's own by default.

        Raises:
            DisbenchError: the model raised, or made something other than images like the data set's.
        """
        decode = decode or self.model.decode
        assert decode is not None  # asked for only where it is there
        with tqdm(total=len(codes), desc=title, unit="image", disable=not self.progress) as bar:
            pictures: list[Pixels] = []
            for batch in codes.split(N_AT_ONCE):
                pictures.append(self.made("decode", len(batch), partial(decode, batch)))
                bar.update(len(batch))
        return torch.cat(pictures)

    def made(self, what: str, n: int, make: Callable[[], Any]) -> Pixels:
        """n images as bytes on the CPU, of what a call returned that is named in messages."""
        try:
            images = as_tensor(make())
        except (DisbenchError, torch.OutOfMemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise DisbenchError(f"{what} raised {type(error).__name__}: {first_line(error)}") from error
        height, width, n_channels = self.dataset.spec.image_shape
        if images.shape != (n, n_channels, height, width):
            raise DisbenchError(
                f"{what} returned shape {tuple(images.shape)} for {n} images; expected "
                f"{(n, n_channels, height, width)}, as of {self.dataset.spec.name}."
            )
        if not bool(torch.isfinite(images).all()):
            raise DisbenchError(f"{what} returned values that are not finite; expected images in 0 ... 1.")
        return to_pixels(images.float()).cpu()

    @cached_property
    def _returns_tokens(self) -> bool:
        return Encoder(self.model, self.dataset, self.device).returns_tokens()


def reconstructions(subject: Subject, n_images: int = 12) -> Image.Image:
    """Random images above what is decoded of their codes."""
    with subject.running():
        index = subject.drawn(n_images)
        rebuilt = subject.decoded(subject.codes(index), "reconstructions")
        return sheet([("images", subject.pixels(index)), ("reconstructions", rebuilt)])


def traversals(subject: Subject, n_images: int = 11) -> Image.Image:
    """A random image and its reconstruction, then one row per code in which it alone changes, in n_images steps.

    A code goes from its 1 % to its 99 % quantile over random images, which suits codes of any distribution: N(0, 1) is
    what a VAE's prior says, and nothing that a diffusion model's codes keep to. A token goes as far along its first
    principal component, and stays as it is across it. What changes the image most comes first.
    """
    with subject.running():
        index = subject.drawn(N_RANGED)
        codes = subject.codes(index)
        axes = _axes(codes)
        moved = _moved(codes[0], axes, n_images)
        first, pixels = subject.decoded(torch.cat([codes[:1], moved.flatten(0, 1)]), "traversals").tensor_split([1])
        first = torch.cat([subject.pixels(index[:1]), first])
    pixels = pixels.unflatten(0, (-1, n_images))
    change = pixels.float().std(1).flatten(1).mean(1)
    rows = [
        (f"{_kind(codes)} {k}\n{axes.low[k]:.3g} to {axes.high[k]:.3g}", pixels[k])
        for k in change.argsort(descending=True, stable=True).tolist()
    ]
    return sheet([("an image, rebuilt", first), *rows])


def swaps(subject: Subject, n_images: int = 6) -> Image.Image:
    """Pairs of random images A and B, both rebuilt, then A with each code of B's in turn; n_images pairs."""
    with subject.running():
        index = subject.drawn(2 * n_images)
        codes = subject.codes(index)
        ours, theirs = codes[::2], codes[1::2]
        mixed = [ours, theirs]
        for k in range(codes.shape[1]):
            swapped = ours.clone()
            swapped[:, k] = theirs[:, k]
            mixed.append(swapped)
        made = subject.decoded(torch.stack(mixed, 1).flatten(0, 1), "swaps").unflatten(0, (n_images, -1))
        pixels = torch.cat([subject.pixels(index).unflatten(0, (n_images, 2)), made], 1)
    columns = ["A", "B", "A rebuilt", "B rebuilt", *(f"{_kind(codes)} {k}" for k in range(codes.shape[1]))]
    rows = [(f"pair {k + 1}", row) for k, row in enumerate(pixels)]
    return sheet(rows, columns=columns, label_width=NARROW)


def attention(subject: Subject, n_images: int = 6) -> Image.Image:
    """Random images, what is sampled of their tokens, and where each token was looked at meanwhile.

    A column's colours go from the least to the greatest weight in it, which stand above it: a token's maps can be
    compared with each other, and with another token's by those numbers.
    """
    module: Any = subject.model.module
    with subject.running():
        index = subject.drawn(n_images)
        codes = subject.codes(index)
        found: list[Tensor] = []

        def attend(batch: Tensor) -> Images:
            images, weights = module.attention(batch)
            found.append(weights.cpu())
            return cast(Images, images)

        sampled = subject.decoded(codes, "attention", attend)
        pixels = subject.pixels(index)
    weights = torch.cat(found)
    low, high = weights.amin((0, 2, 3)), weights.amax((0, 2, 3))
    shown = [p.expand(-1, -1, -1, 3) for p in (pixels, sampled)]
    heat = (weights - low.view(-1, 1, 1)) / (high - low).clamp_min(1e-12).view(-1, 1, 1)
    rows = [
        (f"image {k + 1}", torch.cat([torch.stack([p[k] for p in shown]), heated(sampled[k], heat[k])]))
        for k in range(n_images)
    ]
    columns = [f"token {k}\n{a:.3f}-{b:.3f}" for k, (a, b) in enumerate(zip(low, high, strict=True))]
    return sheet(rows, columns=["image", "sampled", *columns], label_width=NARROW + 8)


def samples(subject: Subject, n_images: int = 48, n_columns: int = 12) -> Image.Image:
    """Images that the model makes of nothing but chance, by `generate`."""
    generate = subject.model.generate
    assert generate is not None  # asked for only where it is there
    with subject.running():
        generator = Generator().manual_seed(subject.seed)
        made = subject.made("generate", n_images, lambda: generate(n_images, generator))
    return sheet([("samples" * (not k), row) for k, row in enumerate(made.split(n_columns))])


SHEETS: Mapping[str, Callable[[Subject, int], Image.Image]] = {
    "reconstructions": reconstructions, "traversals": traversals, "swaps": swaps, "attention": attention,
}  # fmt: skip
N_IMAGES = {"reconstructions": 12, "traversals": 11, "swaps": 6, "attention": 6}


def possible(model: Model) -> list[str]:
    """The names of the sheets that a model has everything for."""
    if model.decode is None:
        return []
    names = ["reconstructions"]
    if getattr(model.module, "scored", True):
        names += ["traversals", "swaps"]
    return names + ["attention"] * bool(getattr(model.module, "has_attention", False))


def check(what: str, model: Model, n_images: int | None = None) -> None:
    """Refuse a sheet that cannot be drawn, before anything is computed.

    Raises:
        UsageError: the model has not what it takes, or n_images lies outside.
    """
    if model.decode is None:
        raise UsageError(f"{model.name} has no decode(codes), which makes images of codes and which every sheet needs.")
    if what == "attention" and what not in possible(model):
        raise UsageError(
            f"{model.name} has no attention to show: it does not look at tokens by cross-attention, as encdiff with "
            "conditioning=cross_attention does."
        )
    if what not in possible(model):
        raise UsageError(f"{model.name} has no {what}: what it returns is no representation. It has: reconstructions.")
    least = 2 if what == "traversals" else 1
    if n_images is not None and not least <= n_images <= MOST_IMAGES:
        raise UsageError(f"the number of images of {what} must lie in {least} ... {MOST_IMAGES}; got {n_images}.")


def draw(what: str, subject: Subject, n_images: int | None = None) -> Image.Image:
    """The sheet of that name.

    Args:
        what: one of `SHEETS`.
        subject: shown in it.
        n_images: columns of reconstructions and traversals, rows of the others; None for the sheet's own number.

    Raises:
        UsageError: as `check`.
        DisbenchError: the model made something other than codes and images.
    """
    check(what, subject.model, n_images)
    return SHEETS[what](subject, N_IMAGES[what] if n_images is None else n_images)


def _kind(codes: Codes | Tokens) -> str:
    return "code" if codes.ndim == 2 else "unit"


class _Axes(NamedTuple):
    """What a traversal follows, float64 on the CPU: of a token its first principal component, of a code the code."""

    directions: Tensor  # (t, e), of length 1
    low: Tensor  # (t,), where it begins
    high: Tensor  # (t,), where it ends


def _axes(codes: Codes | Tokens) -> _Axes:
    """Of codes (n, d) or tokens (n, t, e) of random images."""
    tokens = (codes.unsqueeze(2) if codes.ndim == 2 else codes).double().cpu()
    pca = Pca()
    pca.fit(tokens)
    directions = pca.axes.squeeze(2)
    positions = torch.einsum("nte,te->nt", tokens, directions)
    low, high = positions.quantile(torch.tensor(RANGE, dtype=torch.float64), dim=0)
    return _Axes(directions, low, high)


def _moved(code: Tensor, axes: _Axes, n_steps: int) -> Tensor:
    """The code of one image (d,) or (t, e), n_steps times for each part of it (t, n_steps, ...), which alone moves."""
    token = (code.unsqueeze(1) if code.ndim == 1 else code).double().cpu()
    begin = (token * axes.directions).sum(1)
    moved = token.repeat(len(token), n_steps, 1, 1)
    for k in range(len(token)):
        wanted = torch.linspace(float(axes.low[k]), float(axes.high[k]), n_steps, dtype=torch.float64)
        moved[k, :, k] += (wanted - begin[k])[:, None] * axes.directions[k]
    return moved.view(len(token), n_steps, *code.shape).to(code)
