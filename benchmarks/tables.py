"""Generated tables inside hand-written pages, between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    python -m benchmarks.tables

writes the tables that need no measurement: metrics, data sets and protocols from their specifications.
"""

import dataclasses
from pathlib import Path

from tabulate import tabulate

from disbench import registry
from disbench.protocols import PROTOCOLS

ROOT = Path(__file__).parent.parent


def replace_table(page: Path, name: str, table: str) -> None:
    """Put a table between the marks called `name`."""
    page.write_text(with_table(page.read_text(), name, table))


def with_table(text: str, name: str, table: str) -> str:
    """The text with the table between the marks called `name`."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page has no marks called {name!r}")
    return f"{before}{begin}{table}\n{end}{after}"


def values_table() -> str:
    """One row per value: range, direction, chance to be moved, meaning."""
    rows = [
        (f"`{v.name}`", f"{v.low:g} … {v.high:g}", v.direction, m.needs, m.version, v.meaning)
        for m in registry.metrics().values()
        for v in m.values
    ]
    return tabulate(rows, ("value", "range", "better", "needs", "version", "meaning"), tablefmt="github")


def protocols_table() -> str:
    """One row per setting: what each protocol sets it to."""
    rows = []
    for name, metric in registry.metrics().items():
        for field in dataclasses.fields(metric.settings):
            used = [
                _shown(getattr(metric.settings(**p.settings[name]), field.name)) if name in p.settings else ""
                for p in PROTOCOLS.values()
            ]
            rows.append((f"`{name}.{field.name}`", *used))
    return tabulate(rows, ("setting", *PROTOCOLS), tablefmt="github", disable_numparse=True)


def _shown(setting: object) -> str:
    return f"{setting:,}" if isinstance(setting, int) and not isinstance(setting, bool) else str(setting)


def datasets_table() -> str:
    """One row per data set."""
    rows = [(f"`{name}`", entry.summary) for name, entry in registry.datasets().items()]
    return tabulate(rows, ("data set", "about"), tablefmt="github")


TABLES = {
    "values": (ROOT / "docs" / "metrics.md", values_table),
    "protocols": (ROOT / "docs" / "metrics.md", protocols_table),
    "data sets": (ROOT / "README.md", datasets_table),
}

if __name__ == "__main__":
    for name, (page, make) in TABLES.items():
        replace_table(page, name, make())
