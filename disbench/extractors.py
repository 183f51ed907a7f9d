"""What turns pixels into the features that two sets of images are compared by: Inception, or any network."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from disbench import inception, registry
from disbench.cache import cache_dir
from disbench.errors import DisbenchError, UsageError, did_you_mean, first_line
from disbench.features import Collector, Features, Statistics
from disbench.files import replacing
from disbench.image_sets import ImageSet
from disbench.images import to_images
from disbench.models import Model, as_tensor, check_device, load_model, pick_device
from disbench.types import Indices, Pixels

DEFAULT = "inception"
_RULES = {  # how each feeds the network; part of its name
    "inception": (inception.features, "TF1 bilinear to 299"),
    "inception@disdiff": (inception.features_disdiff, "bilinear to 299, input -1 ... 509"),
}
NAMES = tuple(_RULES)
BATCH_SIZE = {"cpu": 32, "cuda": 256}


@dataclass(frozen=True)
class Extractor:
    """Turns pixels into features.

    Args:
        name: what records and files of statistics call it; with the weights' hash and the resize rule, where known.
        model: what is called.
        device: where.
        content_hash: of the weights and of how images reach them; None where the code that runs cannot be known.
        code_hash: sha256 of the file that a callable was named in; the code that it imports has no part in it.
        scales: whether images reach it as floats in [0, 1], channel first, rather than as Pixels.
    """

    name: str
    model: Model
    device: torch.device
    content_hash: str | None = None
    code_hash: str | None = None
    scales: bool = True

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """In eval mode and on the device for many calls, rather than anew for each."""
        with self.model.ready(self.device):
            yield

    def __call__(self, pixels: Pixels) -> Tensor:
        """Features float32 (n, d), on the device, of pixels uint8 (n, h, w, c).

        Raises:
            DisbenchError: these are no pictures, or the network raised or returned something else.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise DisbenchError(
                f"features are found in pictures, uint8 (n, h, w, c); got {pixels.dtype} {tuple(pixels.shape)}."
            )
        pixels = pixels.to(self.device)
        with self.ready():
            try:
                found = as_tensor(self.model(to_images(pixels) if self.scales else pixels))
            except (DisbenchError, torch.OutOfMemoryError):
                raise
            except (Exception, SystemExit) as error:
                shape = tuple(pixels.movedim(-1, 1).shape)
                raise DisbenchError(
                    f"{self.name} raised {type(error).__name__} on images float32 {shape}: {first_line(error)}"
                ) from error
        return self._checked(found, len(pixels))

    def _checked(self, found: Tensor, n: int) -> Tensor:
        shape = tuple(found.shape)
        if found.ndim == 4 and shape[2:] == (1, 1):
            found = found.flatten(1)
        if found.ndim != 2 or found.shape[0] != n or 0 in shape:
            raise DisbenchError(
                f"{self.name} returned shape {shape} for {n} images; expected features ({n}, d) or ({n}, d, 1, 1)."
            )
        if found.is_complex() or found.dtype == torch.bool:
            raise DisbenchError(f"{self.name} returned {found.dtype}; expected real numbers.")
        return found.to(self.device, torch.float32)


def load_extractor(
    source: Any = DEFAULT,
    *,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    data_dir: str | Path | None = None,
    trust: bool = False,
) -> Extractor:
    """Make an extractor of whatever stands for one.

    Args:
        source: `inception`; `inception@disdiff`, which feeds it [-1, 509] as DisDiff's and EncDiff's released scripts
            do; or anything that `load_model` takes (a callable, a torch module, a path, `FILE.py:CALLABLE`) from
            images float32 (n, c, h, w) in [0, 1] to features (n, d).
        weights: file of Inception's weights other than the published one; its hash becomes part of the name.
        device: where to run; by default where a module is, a GPU for Inception if there is one, else the CPU.
        data_dir: folder that the weights are looked for in first.
        trust: load TorchScript and torch.export archives, which can run code.

    Raises:
        UsageError: nothing of this name; weights or a package are missing, and which.
        DisbenchError: the file of weights, or the user's code, is not usable.
    """
    if isinstance(source, Extractor):
        return source
    if is_inception(source):
        return _inception(source, _path(weights), _path(data_dir), device)
    _check_name(source)
    if weights is not None:
        raise UsageError(f"a file of weights is for Inception; leave it out with the features {source!s}.")
    model = load_model(source, trust=trust)
    if model.fit is not None:
        raise UsageError(f"{model.name} would have to be fitted to a data set first; it cannot find features here.")
    code_hash = _digest_of_code(source)
    digest = model.content_hash or code_hash
    name = f"{model.name} ({digest[:8]})" if digest else model.name
    return Extractor(name, model, pick_device(model, device), model.content_hash, code_hash)


def on_weights(name: str, network: torch.nn.Module, digest: str, device: torch.device) -> Extractor:
    """An extractor of Inception's that is built already.

    Args:
        name: one of NAMES.
        network: what `inception.build` made.
        digest: sha256 of its weights' file.
        device: where to run.
    """
    find, rule = _RULES[name]
    model = Model(name, partial(_of_pictures, find, network), network)
    content_hash = hashlib.sha256(f"{name} 1, {rule}, {digest}".encode()).hexdigest()
    full = f"{name} ({digest[:8]}, {rule})"
    return Extractor(full, model, device, content_hash, scales=False)


def find_features(
    images: ImageSet,
    index: Indices,
    extractor: Extractor,
    *,
    keep_rows: bool = False,
    batch_size: int | None = None,
    progress: bool = False,
) -> Features:
    """Features of the images (n,) of a set, in ascending order; statistics, and every image's if `keep_rows`.

    Raises:
        DisbenchError: the extractor raised, or returned something of the wrong shape or not finite.
    """
    collector = Collector(keep_rows=keep_rows, extractor=extractor.name, of=images.name)
    size = batch_size or BATCH_SIZE.get(extractor.device.type, BATCH_SIZE["cpu"])
    what = f"features of {Path(images.name).name or images.name}"
    with extractor.ready(), tqdm(total=len(index), desc=what, unit="image", disable=not progress) as bar:
        for pixels in images.batches(size, index, extractor.device):
            try:
                collector.add(extractor(pixels))
            except torch.OutOfMemoryError:
                raise DisbenchError(
                    f"{extractor.device} has too little memory for {len(pixels)} images at a time; take fewer with "
                    "--batch-size (batch_size)."
                ) from None
            bar.update(len(pixels))
    return collector.features()


def reference_features(
    images: ImageSet,
    index: Indices,
    extractor: Extractor,
    *,
    keep_rows: bool = False,
    batch_size: int | None = None,
    progress: bool = False,
) -> Features:
    """As `find_features`, for a set that is compared with many others: its statistics are kept in the cache folder.

    They are found again by content: of the images, of which of them, and of the extractor, its weights and how it
    resizes. Where the extractor's code cannot be known, or every image's features are wanted, they are computed.
    """
    if extractor.content_hash is None:
        return find_features(images, index, extractor, keep_rows=keep_rows, batch_size=batch_size, progress=progress)
    path = _cache_file(images, index, extractor)
    if not keep_rows and (known := _cached(path, len(index), extractor)) is not None:
        return Features(known)
    found = find_features(images, index, extractor, keep_rows=keep_rows, batch_size=batch_size, progress=progress)
    if found.statistics.n < 2:  # without a covariance
        return found
    try:
        with replacing(path) as file:
            found.statistics.save(file)
    except (OSError, UsageError) as error:
        print(f"disbench: going on without a cache: {error}", file=sys.stderr)
        return found
    return Features(Statistics.load(path), found.rows)  # to the last bit what the next run will read


def _cache_file(images: ImageSet, index: Indices, extractor: Extractor) -> Path:
    parts = [images.content_hash, index_digest(index), extractor.name, str(extractor.content_hash)]
    return cache_dir() / "fid" / (hashlib.sha256("\n".join(parts).encode()).hexdigest() + ".npz")


def _cached(path: Path, n: int, extractor: Extractor) -> Statistics | None:
    try:
        found = Statistics.load(path)
    except DisbenchError:  # not there, or damaged
        return None
    return found if found.n == n and found.extractor == extractor.name else None


def index_digest(index: Indices) -> str:
    """sha256 of which images an index (n,) names, in whichever order."""
    return hashlib.sha256(index.sort().values.numpy().tobytes()).hexdigest()


def is_inception(source: Any) -> bool:
    """Whether an extractor's source is the Inception network, which is slow on a CPU."""
    return isinstance(source, str) and source in _RULES


def variant_of(name: str) -> str:
    """What is put behind the names of metrics on an extractor's features, as in fid@disdiff; empty for none."""
    word = name.partition(" ")[0]
    return word.partition("@")[2] if is_inception(word) else ""


def missing(source: Any, data_dir: str | Path | None = None) -> str:
    """What is not here of what an extractor needs, in a sentence or two; empty if nothing is known to be missing."""
    return (inception.missing(_path(data_dir)) or "") if is_inception(source) else ""


def _inception(name: str, given: Path | None, data_dir: Path | None, device: str | torch.device | None) -> Extractor:
    where = check_device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    path = given or inception.find_weights(data_dir)
    weights = inception.load_weights(path)
    digest = inception.PUBLISHED
    if given is not None and (digest := _digest(given)) != inception.PUBLISHED:
        print(
            f"disbench: {path} is not the published file of Inception's weights (its sha256 is {digest[:8]}..., that "
            f"one's {inception.PUBLISHED[:8]}...): values compare only with those from the same file.",
            file=sys.stderr,
        )
    return on_weights(name, inception.build(weights, str(path)), digest, where)


def _of_pictures(find: Callable[[torch.nn.Module, Pixels], Tensor], network: torch.nn.Module, pixels: Pixels) -> Tensor:
    """What Inception finds; grey pictures become grey ones of three channels."""
    if pixels.shape[-1] not in (1, 3):
        raise DisbenchError(f"Inception takes grey or RGB pictures; these have {pixels.shape[-1]} channels.")
    return find(network, pixels.expand(-1, -1, -1, 3))


def _check_name(source: Any) -> None:
    """Refuse a plain word that names nothing, before it is taken for a model's name."""
    if not isinstance(source, str) or ":" in source or "/" in source or Path(source).suffix or Path(source).exists():
        return
    if source not in registry.checkpoints():
        raise UsageError(
            f"there is no feature extractor called {source!r}; {did_you_mean(source, NAMES)} Your own is named as "
            "FILE.py:CALLABLE."
        )


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _digest_of_code(source: Any) -> str | None:
    """sha256 of the file in FILE.py:CALLABLE, so that a changed one has another name; None for anything else."""
    path = Path(str(source).rpartition(":")[0])
    return _digest(path) if isinstance(source, str) and path.suffix == ".py" and path.is_file() else None


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
