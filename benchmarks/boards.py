"""How long boards take to be made of many records, and how large the page is.

    python -m benchmarks.boards [--records 100000] [--write]

Records are of three values and 10 train seeds a row, about 2 kB each. What a user would use instead is pandas: read the
lines as JSON, and group the scores by method. It checks no hash and keeps no origin.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd
from tabulate import tabulate

from benchmarks.tables import ROOT, replace_table
from disbench import records, registry
from disbench.board_page import page
from disbench.board_tables import MOST_ROWS, measured_table, render
from disbench.boards import make_boards
from disbench.cli_leaderboard import uncollected
from disbench.entries import read_entries

T = TypeVar("T")
VALUES = ("mig", "sap", "factor_vae")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    options = parser.parse_args()
    registry.metrics()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results" / "rooms3d" / "many.jsonl"
        path.parent.mkdir(parents=True)
        size = write(path, options.records)
        rows = in_disbench(Path(folder))
        _, theirs = timed(lambda: in_pandas(path))
    rows.append(("pandas: read and group", theirs))
    about = f"{options.records:,} records, {size / options.records / 1e3:.1f} kB each"
    table = tabulate(
        [(name, f"{s:.1f} s", f"{s / theirs:.2f}") for name, s in rows], (about, "time", "of pandas'"), "github"
    )
    print(table)
    if options.write:
        replace_table(ROOT / "benchmarks" / "README.md", "boards", table)


@uncollected()  # as the command is
def in_disbench(folder: Path) -> list[tuple[str, float]]:
    """Seconds of each step from the file to a text or a page."""
    entries, reading = timed(lambda: read_entries(folder))
    boards, ranking = timed(lambda: make_boards(entries))
    text, writing = timed(lambda: render([measured_table(board, MOST_ROWS) for board in boards], "text"))
    html, drawing = timed(lambda: page(boards, [], []))
    return [
        ("read, every hash checked", reading),
        ("rows, intervals, ranks", ranking),
        (f"text of {len(text):,} characters", writing),
        (f"page of {len(html) / 1e6:.1f} MB", drawing),
        ("from file to text", reading + ranking + writing),
        ("from file to page", reading + ranking + drawing),
    ]


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What work gives, and its seconds."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def write(path: Path, n: int) -> int:
    """Write n records; returns the bytes."""
    dataset = {"name": "rooms3d", "content_hash": "c" * 64}
    metrics = {value: {"version": 1, "settings": {"num_train": 10_000}} for value in VALUES}
    key = records.make_key({"name": "locatello2019", "version": 3}, dataset, metrics, None)
    with open(path, "w") as file:
        for k in range(n):
            train = {"dataset": "rooms3d", "train_seed": k % 10, "steps": 1_000, "command": "disbench train beta_vae"}
            score = {"value": (k * 7919 % 10_007) / 10_007, "status": "ok", "reason": ""}
            model = {"name": f"beta_vae-{k // 10}-seed{k % 10}", "kind": "beta_vae", "content_hash": f"{k:064x}"}
            record = {
                "schema": records.SCHEMA,
                "key": key,
                "identity": records.identity(key),
                "model": {**model, "train": train, "input_range": [0.0, 1.0], "n_codes": 10},
                "sample": {"eval_seeds": [0]},
                "scores": dict.fromkeys(VALUES, score),
                "details": {},
                "run": {"versions": {}, "device": "cpu", "seconds": {}, "command": "disbench score"},
            }
            file.write(records.to_line(record) + "\n")
    return path.stat().st_size


def in_pandas(path: Path) -> pd.DataFrame:
    """Means and deviations by method, without anything else."""
    with open(path) as file:
        found = [json.loads(line) for line in file]
    rows = [
        {"method": one["model"]["name"].rpartition("-seed")[0], **{v: one["scores"][v]["value"] for v in VALUES}}
        for one in found
    ]
    return pd.DataFrame(rows).groupby("method").agg(["mean", "std", "count"])


if __name__ == "__main__":
    main()
