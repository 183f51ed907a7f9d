"""The encoder of a trained diffusion model by itself: what is scored, at a fortieth of the size.

    python -m reference_models.diffusion.alone RUN FILE

RUN is a run folder or its checkpoint. Codes are the same, to the bit; it decodes nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from disbench import checkpoint, registry
from disbench.errors import DisbenchError, UsageError


def encoder_alone(whole: checkpoint.Checkpoint) -> checkpoint.Checkpoint:
    """The checkpoint of the encoder that another one holds.

    Raises:
        UsageError: its kind of model has no encoder that is a kind of its own.
    """
    kind = f"{whole.model}-encoder"
    if kind not in registry.models():
        raise UsageError(f"a {whole.model} holds no encoder that is a kind of model of its own.")
    tensors = {k.removeprefix("encoder."): v for k, v in whole.state_dict.items() if k.startswith("encoder.")}
    return checkpoint.Checkpoint(kind, whole.config, tensors, whole.train)


def main() -> int:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m reference_models.diffusion.alone", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("file", type=Path, help="to be written")
    arguments = parser.parse_args()
    place = arguments.run / "ckpt.pt" if arguments.run.is_dir() else arguments.run
    try:
        checkpoint.save(encoder_alone(checkpoint.load(place)), arguments.file)
    except DisbenchError as error:
        print(f"disbench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
