"""The command line's part about looking at what a model makes: show."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from disbench.models import Model
    from disbench.types import Dataset

SHOW_STEPS = 50  # of a sampler, at most, unless more are asked for

SHOW_EXAMPLES = """sheets, each OUT/WHAT.png
  reconstructions   random images above what is decoded of their codes
  traversals        one row per code, in which it alone goes from its 1 % to its 99 % quantile over random images (a
                    token: along its first principal component); what changes the image most comes first
  swaps             pairs of images A and B, and A with each of B's codes in turn
  attention         where each token is looked at while an image is sampled; of encdiff with cross-attention

examples:
  disbench show runs/beta_vae-rooms3d-seed0
  disbench show runs/encdiff-rooms3d-seed0 --what swaps,attention --images 8 --steps 100
  disbench show beta_vae-rooms3d --what traversals --out sheets

"""


def add_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `disbench show`."""
    parser.add_argument("model", metavar="RUN", help="a run folder, a checkpoint or the name of a shipped one")
    parser.add_argument(
        "--what", metavar="A,B", help="sheets, as traversals,swaps; see below (default: all that the model has)"
    )
    parser.add_argument("--dataset", metavar="NAME", help="whose images are shown (default: what it was trained on)")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files, where it needs any")
    parser.add_argument(
        "--out", metavar="DIR",
        help="folder for the sheets, where those of the same name are replaced (default: that of the checkpoint; of a "
        "shipped one, the current folder)",
    )  # fmt: skip
    parser.add_argument(
        "--images", type=int, metavar="N",
        help="columns of reconstructions (default: 12) and traversals (11), pairs of swaps (6), rows of attention (6)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, metavar="N",
        help=f"predictions a sample, of diffusion models (default: as trained for, {SHOW_STEPS} at most)",
    )  # fmt: skip
    parser.add_argument(
        "--eta", type=float, metavar="E",
        help="share of fresh noise in a step, 0 ... 1, of diffusion models; the same noise in all images (default: 0)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which images (default: %(default)s)")
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 ... (default: a GPU, if there is one)")
    parser.set_defaults(run=_show)


def _show(arguments: argparse.Namespace) -> int:
    from disbench.models import pick_device
    from disbench.pictures import save_png
    from disbench.sheets import Subject, check, draw, possible

    if not 0 <= arguments.seed < 2**63:
        raise UsageError(f"--seed must lie in 0 ... 2^63 - 1; got {arguments.seed}.")
    asked = _asked(arguments.what)
    with redirect_stdout(sys.stderr):  # what a model prints is no data of ours
        model = _model(arguments.model)
        dataset = _dataset(model, arguments)
        model = model.fitted(dataset)
        subject = Subject(
            model,
            dataset,
            pick_device(model, arguments.device),
            arguments.seed,
            progress=True,
            **_sampling(model, arguments),
        )
    wanted = asked or possible(model) or ["reconstructions"]
    for what in wanted:
        check(what, model, arguments.images)
    folder = _folder(arguments)
    for what in wanted:
        with redirect_stdout(sys.stderr):
            page = draw(what, subject, arguments.images)
        path = folder / f"{what}.png"
        save_png(page, path)
        print(path, flush=True)
    return 0


def _asked(words: str | None) -> list[str]:
    """The sheets that --what names, each once; none for all."""
    from disbench.sheets import SHEETS

    if words is None:
        return []
    names = list(dict.fromkeys(name.strip() for name in words.split(",") if name.strip()))
    if not names:
        raise UsageError(f"--what names sheets: {', '.join(SHEETS)}; got {words!r}.")
    for name in names:
        if name not in SHEETS:
            raise UsageError(f"there is no sheet called {name!r}; {did_you_mean(name, SHEETS)}")
    return names


def _model(source: str) -> Model:
    """The trained model that RUN stands for.

    Raises:
        UsageError: it is the folder of no run, or of one that is not finished.
    """
    from disbench import registry
    from disbench.models import load_model

    path = Path(source)
    if source not in registry.checkpoints() and path.is_dir() and not (path / "ckpt.pt").is_file():
        if (path / "config.json").is_file():
            raise UsageError(
                f"{source} holds an unfinished run, without a ckpt.pt; go on with: "
                f"disbench train --resume {shlex.quote(source)}"
            )
        raise UsageError(f"{source} is no folder of a run: it holds no ckpt.pt.")
    return load_model(source)


def _dataset(model: Model, arguments: argparse.Namespace) -> Dataset:
    """What --dataset names, or what the model was trained on.

    Raises:
        UsageError: it cannot be told, or its images are not such as the model was trained on.
    """
    from disbench import registry

    known = {*registry.datasets(), *registry.aliases()}
    trained_on = str(model.train.get("dataset", ""))
    if arguments.dataset is None and trained_on not in known:
        why = f"it was trained on {trained_on!r}, which has no name here" if trained_on else "it does not say itself"
        raise UsageError(f"name the --dataset (a name or a path) that {model.name} is to be shown with: {why}.")
    dataset = registry.load_dataset(arguments.dataset or trained_on, arguments.data_dir)
    spec = dataset.spec
    if len(spec.image_shape) != 3:
        raise UsageError(f"sheets show pictures, and {spec.name} has signals of shape {spec.image_shape}.")
    if trained_on in known and (wanted := registry.pick_dataset(trained_on).spec).image_shape != spec.image_shape:
        shapes = [" x ".join(map(str, shape)) for shape in (wanted.image_shape, spec.image_shape)]
        raise UsageError(
            f"{model.name} was trained on images of {shapes[0]} ({wanted.name}); those of {spec.name} are {shapes[1]}."
        )
    return dataset


def _sampling(model: Model, arguments: argparse.Namespace) -> dict[str, Any]:
    """How a sampler samples.

    Raises:
        UsageError: something was asked for, and the model does not sample.
    """
    cost = getattr(model.module, "decoding_cost", 0) if hasattr(model.module, "sampling") else 0
    if not cost:
        if given := [f"--{name}" for name in ("steps", "eta") if getattr(arguments, name) is not None]:
            raise UsageError(f"{model.name} decodes without sampling; leave out {' and '.join(given)}.")
        return {}
    return {
        "n_steps": min(cost, SHOW_STEPS) if arguments.steps is None else arguments.steps,
        "eta": arguments.eta or 0.0,
    }


def _folder(arguments: argparse.Namespace) -> Path:
    """Where the sheets go; made if it is not there."""
    from disbench import registry

    path = Path(arguments.model)
    if arguments.out is not None:
        folder = Path(arguments.out)
    elif arguments.model in registry.checkpoints() or not path.exists():
        folder = Path()
    else:
        folder = path if path.is_dir() else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}.") from None
    return folder
