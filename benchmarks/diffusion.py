"""What a training step of EncDiff costs, beside the layout of latent diffusion's own code, one difference at a time.

    python -m benchmarks.diffusion [--steps 10] [--batch-size 8] [--device cpu] [--threads 2] [--preset NAME] [--write]

The plain layout computes attention by its two products, recomputes the transformer layers in the backward pass
(gradient checkpointing), encodes every batch by the first stage, and calls the tokens' MLPs one after the other. Each
row runs in a process of its own, whose peak memory it shows. The network is the same, and so is what it computes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.tables import ROOT, replace_table
from disbench import registry
from disbench.settings import override
from reference_models.diffusion import diffusers_part
from reference_models.diffusion.encoders import ScalarTokens
from reference_models.diffusion.unet import TokenTransformer

SAVINGS = ("attention", "checkpointing", "latents", "tokens")
ROWS = {"disbench": SAVINGS, **{f"without its {name}": tuple(s for s in SAVINGS if s != name) for name in SAVINGS}}
ROWS["plain layout"] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--preset", default="encdiff-code")
    parser.add_argument("--rounds", type=int, default=3, help="of all rows; the best of each counts")
    parser.add_argument("--only", help="measure this row in this process, and print it as JSON")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(ROWS[options.only], options)))
        return
    found: dict[str, tuple[float, float]] = {}
    for _ in range(options.rounds):
        for name in ROWS:
            words = [sys.executable, "-m", "benchmarks.diffusion", *sys.argv[1:], "--only", name]
            seconds, memory = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            best = min(seconds, found.get(name, (seconds, 0))[0])
            found[name] = (best, memory)
    ours = found["disbench"][0]
    rows = [(n, f"{1e3 * s:,.0f} ms", f"{s / ours:.2f}", f"{m / 1e9:.2f} GB") for n, (s, m) in found.items()]
    table = tabulate(rows, ("step", "time", "of disbench's", "peak memory"), tablefmt="github", disable_numparse=True)
    print(table)
    if options.write:
        replace_table(ROOT / "benchmarks" / "README.md", "diffusion", table)


def measured(savings: tuple[str, ...], options: Any) -> tuple[float, float]:
    """Seconds of a step, the median, and the peak memory in bytes."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    entry = registry.models()["encdiff"]
    config = override(entry.config(), {**entry.presets[options.preset], "batch_size": options.batch_size})
    model: Any = entry.build(config)
    model.space.scale.fill_(1.0)
    make_plain(model, savings)
    model.to(options.device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(model.parameter_groups(), lr=1e-4)
    images = torch.rand(options.batch_size, 3, 64, 64, device=options.device)
    times = []
    for step in range(options.steps + 2):
        drawn = {k: v.to(options.device) for k, v in model.draw(options.batch_size, torch.Generator()).items()}
        if "latents" in savings:
            drawn["latents"] = torch.randn(drawn["noise"].shape, device=options.device).half()
        synchronise(options.device)
        started = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        model.losses(images, drawn, step)["loss"].backward()
        optimiser.step()
        synchronise(options.device)
        times.append(time.perf_counter() - started)
    if options.device.startswith("cuda"):
        memory = torch.cuda.max_memory_allocated()
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return sorted(times[2:])[len(times[2:]) // 2], memory


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def make_plain(model: nn.Module, savings: tuple[str, ...]) -> None:
    """Take out what is not among the savings."""
    processors = diffusers_part("models.attention_processor")
    for module in model.modules():
        if isinstance(module, processors.Attention) and "attention" not in savings:
            module.set_processor(processors.AttnProcessor())
        if isinstance(module, TokenTransformer) and "checkpointing" not in savings:
            recompute(module.layer)
        if isinstance(module, ScalarTokens) and "tokens" not in savings:
            module.forward = OneByOne(module)  # type: ignore[method-assign]


def recompute(layer: nn.Module) -> None:
    """Keep nothing of the layer's forward pass."""
    forward = layer.forward
    layer.forward = lambda *args, **options: checkpoint(forward, *args, use_reentrant=False, **options)  # type: ignore[method-assign]


class OneByOne:
    """The tokens' MLPs one after the other, of the same weights."""

    def __init__(self, tokens: Any) -> None:
        self.tokens = tokens

    def __call__(self, scalars: Tensor) -> Tensor:
        made = []
        for k in range(scalars.shape[1]):
            hidden = scalars[:, k : k + 1]
            for n, layer in enumerate(self.tokens.layers):
                hidden = nn.functional.elu(hidden) if n else hidden
                hidden = hidden @ layer.weight[k] + layer.bias[k]
            made.append(hidden)
        return torch.stack(made, 1)


if __name__ == "__main__":
    main()
