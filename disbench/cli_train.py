"""The command line's part about training: train."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disbench.errors import Stopped, UsageError

if TYPE_CHECKING:
    from disbench.registry import ModelEntry
    from disbench.types import DatasetSpec

TRAIN_EXAMPLES = """examples:
  disbench train beta_vae --dataset rooms3d --preset cpu-minutes
  disbench train factor_vae --dataset shapes3d --set gamma=20 --train-seed 3
  disbench train --resume runs/beta_vae-rooms3d-seed0
  torchrun --nproc-per-node 4 -m disbench train beta_vae --dataset shapes3d --device cuda

"""


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `disbench train`."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="kind of model: disbench list models")
    parser.add_argument("--dataset", metavar="NAME", help="disbench list datasets")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the data set's files, where it needs any")
    parser.add_argument("--preset", metavar="NAME", help="a set of changes to the model's config: disbench list models")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the model's config; may be repeated"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="short for --set steps=N")
    parser.add_argument("--train-seed", type=int, metavar="S", help="seed (default: 0)")
    parser.add_argument("--out", metavar="DIR", help="folder for the run's folder (default: runs)")
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with the run in this folder; --dataset PATH where it was trained on your own file",
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda ... (default: %(default)s)")
    parser.add_argument(
        "--score-every",
        type=int,
        default=0,
        metavar="N",
        help="score before the first step and every N steps, too, into curve.jsonl; the last is in score.jsonl",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be trained, as JSON, and train nothing"
    )
    parser.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from disbench import registry

    is_begun = arguments.resume is not None
    name, dataset_name, config, train_seed = _of_run(arguments) if is_begun else _of_words(arguments)
    entry = registry.pick("kind of model", name, registry.models())
    if entry.train is None:
        raise UsageError(f"{name!r} cannot be trained here.")
    if arguments.dry_run:
        spec = registry.spec_of(dataset_name, arguments.data_dir)
        _describe(entry, name, config, spec, train_seed, _folder(arguments, name, spec.name, train_seed))
        return 0
    dataset = registry.load_dataset(dataset_name, arguments.data_dir)
    out = _folder(arguments, name, dataset.spec.name, train_seed)
    if is_begun and (out / "ckpt.pt").exists() and not (out / "state.pt").exists():
        print("disbench: the run is finished; there is nothing to go on with.", file=sys.stderr)
    try:
        path = entry.train(
            name,
            config,
            dataset,
            train_seed=train_seed,
            out=out,
            device=arguments.device,
            command=arguments.command,
            resume=is_begun,
            **({"score_every": arguments.score_every} if arguments.score_every else {}),
        )
    except Stopped as stopped:  # the message ends with what to type, which lacks what the trainer does not know
        raise Stopped(f"{stopped}{_told_again(arguments)}", stopped.signal) from stopped
    print(path)
    return 0


def _folder(arguments: argparse.Namespace, name: str, dataset_name: str, train_seed: int) -> Path:
    if arguments.resume is not None:
        return Path(arguments.resume)
    return Path(arguments.out or "runs") / f"{name}-{dataset_name}-seed{train_seed}"


def _told_again(arguments: argparse.Namespace) -> str:
    """The options that a run's folder does not keep, as they were given."""
    is_path = arguments.dataset is not None and Path(arguments.dataset).exists()
    given = {
        "--dataset": arguments.dataset if is_path else None,
        "--data-dir": arguments.data_dir,
        "--device": None if arguments.device == "cpu" else arguments.device,
        "--score-every": str(arguments.score_every) if arguments.score_every else None,
    }
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given.items() if value is not None)


def _describe(entry: ModelEntry, name: str, config: Any, spec: DatasetSpec, train_seed: int, out: Path) -> None:
    """Print what would be trained, with what the data set decides of its config."""
    import torch

    decided = {"n_channels": spec.image_shape[-1], "n_images": spec.n_images if spec.kind == "grid" else 0}
    known = {field.name for field in dataclasses.fields(config)}
    config = dataclasses.replace(config, **{key: value for key, value in decided.items() if key in known})
    with torch.device("meta"):
        module = entry.build(config)
    described = {
        "model": name,
        "dataset": spec.name,
        "train_seed": train_seed,
        "out": str(out),
        "parameters": sum(p.numel() for p in module.parameters()),
        "config": dataclasses.asdict(config),
    }
    print(json.dumps(described, indent=1))


def _of_words(arguments: argparse.Namespace) -> tuple[str, str, Any, int]:
    """Model, data set, config and seed as the words name them."""
    from disbench import registry
    from disbench.settings import override, parse_pairs

    if arguments.model is None or arguments.dataset is None:
        raise UsageError("name a MODEL and its --dataset, or a run to --resume.")
    entry = registry.pick("kind of model", arguments.model, registry.models())
    config = entry.config()
    if arguments.preset is not None:
        config = override(config, registry.pick("preset", arguments.preset, entry.presets))
    changes = parse_pairs(arguments.set) | ({} if arguments.steps is None else {"steps": str(arguments.steps)})
    return arguments.model, arguments.dataset, override(config, changes), arguments.train_seed or 0


def _of_run(arguments: argparse.Namespace) -> tuple[str, str, Any, int]:
    """The same of a run that was begun."""
    from disbench import registry
    from disbench.settings import override

    given = ("model", "preset", "steps", "train_seed", "out")
    if idle := [name for name in given if getattr(arguments, name) is not None]:
        words = ", ".join("MODEL" if name == "model" else "--" + name.replace("_", "-") for name in idle)
        raise UsageError(f"--resume goes on as the run was begun; leave out {words}.")
    if arguments.set:
        raise UsageError("--resume goes on as the run was begun; leave out --set.")
    out = Path(arguments.resume)
    try:
        begun = json.loads((out / "config.json").read_text())
        name, dataset, train_seed = (begun.pop(key) for key in ("model", "dataset", "train_seed"))
    except (OSError, ValueError, KeyError):
        if not out.exists():
            raise UsageError(f"there is no folder {out}.") from None
        raise UsageError(f"{out} is no folder of a run: it holds no config.json that can be read.") from None
    begun.pop("dataset_hash", None)
    entry = registry.pick("kind of model", name, registry.models())
    return name, arguments.dataset or dataset, override(entry.config(), begun), train_seed
