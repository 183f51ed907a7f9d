"""What `--model` and `evaluate` accept, made into one thing: a `Model` that maps images to codes or tokens."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from disbench import checkpoint, registry
from disbench.baselines import BASELINES
from disbench.errors import DisbenchError, UsageError, did_you_mean, first_line
from disbench.settings import override
from disbench.types import Codes, Dataset, Images, Indices

Array = Literal["torch", "numpy"]


@dataclass(frozen=True)
class Model:
    """A representation ready to be called.

    Args:
        name: what records and tables call it.
        call: Images -> Codes or Tokens, in torch or numpy as `array` says.
        module: the torch module behind `call`, if one is known: it is put in eval mode and on the device.
        content_hash: of config and tensors, or of an archive; None where the code that runs cannot be known.
        train: how it was trained (train_seed, data set, ...), as far as known.
        array: what `call` and `decode` take and return.
        decode: codes or tokens, as `call` returns them -> images, in the range that `call` takes them in; None if the
            model cannot go back.
        generate: (n, generator) -> n images likewise; None if it cannot.
        generated_from: what `generate` starts from, as the model has it in an attribute of this name.
        fit: makes the model for a data set, where it is one that has to be fitted (`disbench.baselines`).
        kind: of model, a name of the registry; empty for what is not of ours.
        config: of the kind.
        method: of the module, in place of its call; empty for its call.
        by_index: codes of a data set's images by their positions alone, in place of `call`; None for a model that
            looks at images.
    """

    name: str
    call: Callable[[Any], Any]
    module: nn.Module | None = None
    content_hash: str | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    array: Array = "torch"
    decode: Callable[[Any], Any] | None = None
    generate: Callable[[int, Any], Any] | None = None
    generated_from: str = ""
    fit: Callable[[Dataset], Model] | None = None
    kind: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    by_index: Callable[[Indices], Codes] | None = None

    def fitted(self, dataset: Dataset) -> Model:
        """The model for a data set: itself, unless it is to be fitted first."""
        return self if self.fit is None else self.fit(dataset)

    def __call__(self, images: Images) -> Any:
        """Codes or Tokens of images float32 (n, c, h, w), as the model returns them."""
        if self.array == "numpy":
            return self.call(images.cpu().numpy())
        return self.call(images)

    @property
    def device(self) -> torch.device | None:
        """Where the module's parameters are; None without a module or without parameters."""
        first = next(self.module.parameters(), None) if self.module is not None else None
        return None if first is None else first.device

    @contextlib.contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """In eval mode, on the device, without gradients; everything as before afterwards."""
        modules = self.module.modules() if self.module is not None else ()
        modes = {m: m.training for m in modules if hasattr(m, "training")}  # a frozen TorchScript module has none
        home = self.device
        try:
            if self.module is not None:
                self.module.to(device)
                if modes:
                    self.module.eval()
            with torch.no_grad():
                yield
        finally:
            for module, was_training in modes.items():
                module.training = was_training
            if self.module is not None and home is not None:
                self.module.to(home)


def load_model(source: Any, *, array: Array = "torch", trust: bool = False) -> Model:
    """Make a `Model` of whatever stands for one.

    Args:
        source: a callable; a torch module, or one of its methods; the path of a checkpoint; the name of a shipped
            checkpoint or of a baseline; either with `:METHOD`, another method of the checkpoint's module than the one
            that is scored by default; `FILE.py:CALLABLE` or `PACKAGE.MODULE:CALLABLE`.
        array: "numpy" if the callable takes and returns numpy arrays.
        trust: load TorchScript and torch.export archives, which can run code.

    Raises:
        UsageError: nothing of this name or at this path.
        DisbenchError: the file cannot be read, does not fit its model, or would run code when loaded.
    """
    if array not in get_args(Array):
        raise UsageError(f"array is torch or numpy; got {array!r}.")
    if isinstance(source, Model):
        return source
    if isinstance(source, str | Path):
        return _from_text(str(source), array, trust)
    if not callable(source):
        raise UsageError(
            f"a model is a callable from images to codes, a path or a name; got {type(source).__name__}. "
            "To score codes that exist already, use disbench.score_codes."
        )
    return _from_callable(source, array)


def _from_callable(source: Callable[..., Any], array: Array, name: str | None = None) -> Model:
    if isinstance(source, type):
        raise UsageError(f"{source.__name__} is a class; give an instance of it, or a function from images to codes.")
    owner = source if isinstance(source, nn.Module) else getattr(source, "__self__", None)
    module = owner if isinstance(owner, nn.Module) else None
    kind = getattr(source, "__qualname__", type(source).__qualname__)
    return Model(name or kind, source, module, array=array, **_ways_back(source, owner))


def _ways_back(source: Any, owner: Any) -> dict[str, Any]:
    """`decode` and `generate` of a model, where it has them; those of a bound `encode` are its owner's."""
    is_of_owner = owner is not None and getattr(source, "__name__", "") in ("encode", "forward", "__call__")
    has = owner if is_of_owner else source
    found = {name: getattr(has, name, None) for name in ("decode", "generate")}
    said = getattr(has, "generated_from", "")
    return {name: way if callable(way) else None for name, way in found.items()} | {
        "generated_from": said if isinstance(said, str) else ""
    }


def _from_text(text: str, array: Array, trust: bool) -> Model:
    if text in BASELINES:
        return Model(text, call=_unfitted, fit=lambda dataset: _from_baseline(text, dataset))
    if (found := _file_of(text)) is not None:
        path, name = found
        return (
            _from_archive(path, trust)
            if _kind_of_archive(path)
            else of_checkpoint(checkpoint.load(path), name, str(path))
        )
    where, _, method = text.rpartition(":")
    if where and (found := _file_of(where)) is not None:
        return _with_method(*found, method)
    path = Path(text)
    if path.is_dir():
        is_begun = (path / "state.pt").exists()
        hint = f"finish its training with: disbench train --resume {text}" if is_begun else "has its training finished?"
        raise UsageError(f"the folder {text} holds no ckpt.pt; {hint}")
    if "/" in where and not where.endswith(".py"):
        reason = "has its training finished?" if Path(where).is_dir() else f"there is no {where}."
        raise UsageError(f"there is no checkpoint whose method {method!r} could be scored: {reason}")
    if ":" in text:
        return _from_callable(
            _import_callable(text), array, name=Path(text.rpartition(":")[0]).name + ":" + text.rpartition(":")[2]
        )
    if path.suffix == ".py":
        raise UsageError(f"{text} is a Python file; name the callable in it, as {text}:CALLABLE.")
    if path.suffix or "/" in text:
        raise UsageError(f"there is no model file at {text}.")
    if text in registry.models():
        raise UsageError(
            f"{text!r} is a kind of model, not a trained one; train it first: disbench train {text} --dataset NAME."
        )
    raise UsageError(
        f"there is no model called {text!r}; {did_you_mean(text, [*registry.checkpoints(), *BASELINES])} "
        "A path of a checkpoint or FILE.py:CALLABLE will do as well."
    )


def _file_of(text: str) -> tuple[Path, str] | None:
    """The file that a shipped name, a run folder or a path stands for, and the model's name; None if there is none."""
    if text in registry.checkpoints():
        return registry.checkpoints()[text].path, text
    path = Path(text)
    if path.is_dir() and (path / "ckpt.pt").is_file():
        path = path / "ckpt.pt"
    return (path, _name_of(path)) if path.is_file() and path.suffix != ".py" else None


def _name_of(path: Path) -> str:
    return path.resolve().parent.name if path.name == "ckpt.pt" else path.stem


def of_checkpoint(found: checkpoint.Checkpoint, name: str, where: str = "the checkpoint") -> Model:
    """The model that a checkpoint holds.

    Raises:
        UsageError: there is no such kind of model.
        DisbenchError: its tensors do not fit; the message says `where` they are.
    """
    entry = registry.pick("kind of model", found.model, registry.models())
    with torch.random.fork_rng():
        module = entry.build(override(entry.config(), found.config))
    weights = {key: value.float() if value.is_floating_point() else value for key, value in found.state_dict.items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise DisbenchError(
            f"the tensors in {where} do not fit the model {found.model!r} and the config that it names; "
            "was it written by another version of the model? (--debug lists the tensors)"
        ) from error
    module.to("cuda" if torch.cuda.is_available() else "cpu")
    ways = _ways_back(module, module)
    described = {"kind": found.model, "config": dict(found.config)}
    return Model(name, module, module, found.content_hash, dict(found.train), **described, **ways)  # type: ignore[arg-type]


def _with_method(path: Path, name: str, method: str) -> Model:
    """The model of a checkpoint, with another method of its module in place of the module."""
    if _kind_of_archive(path):
        raise UsageError(f"{path} is an archive, of which {method!r} cannot be taken; a method is one of a checkpoint.")
    model = of_checkpoint(checkpoint.load(path), name, str(path))
    kind = type(model.module)
    known = [n for n in dir(kind) if n[0] != "_" and not hasattr(nn.Module, n) and callable(getattr(kind, n))]
    if method not in known:
        raise UsageError(f"the model at {path} has no method {method!r}; {did_you_mean(method, known)}")
    call = getattr(model.module, method)
    content_hash = checkpoint.content_hash({"checkpoint": model.content_hash, "method": method}, {})
    ways = _ways_back(call, model.module)
    return replace(model, name=f"{name}:{method}", method=method, call=call, content_hash=content_hash, **ways)


def _from_baseline(name: str, dataset: Dataset) -> Model:
    module = BASELINES[name].make(dataset)
    # Not of its tensors, whose last bits depend on the machine: data set and recipe say what it is.
    made_of = {"baseline": name, "version": BASELINES[name].version, "dataset": dataset.content_hash}
    digest = checkpoint.content_hash(made_of, {})
    module.to("cuda" if torch.cuda.is_available() else "cpu")
    train = {"dataset": dataset.spec.name, "dataset_hash": dataset.content_hash}
    by_index = getattr(module, "by_index", None)
    return Model(name, module, module, digest, train, kind=name, by_index=by_index, **_ways_back(module, module))


def _unfitted(images: Images) -> Any:  # noqa: ARG001
    raise UsageError("this baseline is fitted to a data set first: model.fitted(dataset).")


def _kind_of_archive(path: Path) -> Literal["script", "export"] | None:
    """What a zip file is told to be by the folders in it: TorchScript holds `code/`, torch.export `models/`."""
    try:
        with zipfile.ZipFile(path) as archive:
            folders = {name.split("/")[1] for name in archive.namelist() if name.count("/") > 1}
    except (zipfile.BadZipFile, OSError):
        return None
    return "script" if "code" in folders else "export" if "models" in folders else None


def _from_archive(path: Path, trust: bool) -> Model:
    if not trust:
        raise DisbenchError(
            f"{path} is a TorchScript or torch.export archive, and loading one can run code; "
            "if you trust where it came from, say so with --trust (trust=True)."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself
            if _kind_of_archive(path) == "export":
                return Model(_name_of(path), torch.export.load(file).module(), content_hash=digest)
            module = torch.jit.load(file, map_location="cpu")
    except Exception as error:
        raise DisbenchError(f"{path} could not be loaded as an archive: {first_line(error)}") from error
    return Model(_name_of(path), module, module, digest, **_ways_back(module, module))


def _import_callable(text: str) -> Callable[..., Any]:
    """What FILE.py:CALLABLE or PACKAGE.MODULE:CALLABLE names; runs the user's own code."""
    where, _, attribute = text.rpartition(":")
    if where.endswith(".py") and not Path(where).is_file():
        raise UsageError(f"there is no Python file at {where}.")
    try:
        module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise DisbenchError(f"importing {where} failed: {type(error).__name__}: {first_line(error)}") from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"{where} has no {attribute!r}; {did_you_mean(part, [n for n in dir(found) if n[0] != '_'])}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{text} is not callable; it is of type {type(found).__name__}.")
    return found


def _import_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"disbench_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look themselves up
    _put_on_path(path.resolve().parent)
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> Any:
    _put_on_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(f"there is no module {error.name!r} to import {name} from.") from error
        raise


def _put_on_path(folder: Path) -> None:
    """As `python FILE` does: neighbours can be imported, now and when the model is called."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def pick_device(model: Model, asked: str | torch.device | None) -> torch.device:
    """The device to encode on: the one asked for, else the module's, else the CPU.

    Raises:
        UsageError: there is no such device here.
    """
    return check_device(asked) if asked is not None else model.device or torch.device("cpu")


def check_device(asked: str | torch.device) -> torch.device:
    """The device that a name means.

    Raises:
        UsageError: there is no such device here.
    """
    try:
        device = torch.device(asked)
        torch.empty(1, device=device).item()  # the meta device has no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {str(asked)!r} cannot be used here: {first_line(error)}") from None
    return device


def as_tensor(output: Any) -> Tensor:
    """A model's output as a tensor; numpy arrays and whatever converts to them will do."""
    import numpy as np

    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, tuple | list | dict):
        raise DisbenchError(
            f"the model returned a {type(output).__name__}; expected one array of codes (n, d) or tokens (n, t, e). "
            "Wrap it in a function that returns the codes alone."
        )
    try:
        return torch.from_numpy(np.array(output))
    except TypeError as error:
        raise DisbenchError(
            f"the model returned {type(output).__name__}; expected an array of codes (n, d)."
        ) from error
