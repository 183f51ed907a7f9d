"""Generated tables inside hand-written pages, between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    python -m benchmarks.tables

writes the tables that need no measurement: metrics, data sets and protocols from their specifications, boards from the
records.
"""

import dataclasses
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from disbench import boards, published, registry
from disbench.board_tables import measured_table, render
from disbench.entries import folder, read_entries
from disbench.leaderboard import Choice
from disbench.protocols import PROTOCOLS
from disbench.settings import override
from disbench.sources import sizes

ROOT = Path(__file__).parent.parent
CURVE = ("factor_vae", "dci.disentanglement")
ENCDIFF = ("encdiff-code", "encdiff-paper")


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
    """One row per data set: what it is, and how it comes."""
    rows = [(f"`{name}`", entry.spec.summary, _comes(entry)) for name, entry in registry.datasets().items()]
    return tabulate(rows, ("data set", "about", "comes"), tablefmt="github", disable_numparse=True)


def _comes(entry: registry.DatasetEntry) -> str:
    if entry.recipe is not None:
        files = entry.recipe.sources[0].files
        return f"downloaded, {sizes(files)[1]}" if all(file.urls for file in files) else "to be fetched by hand"
    return "from 39 sprite sheets, by hand" if entry.spec.name.startswith("sprites") else "generated"


def datasets_in_full() -> str:
    """A section per data set: everything that its specification says."""
    return "\n\n".join(_section(entry) for entry in registry.datasets().values())


def _section(entry: registry.DatasetEntry) -> str:
    spec = entry.spec
    factors = ", ".join(f"{f.name} ({f.size}, {f.kind})" for f in spec.space.factors)
    if spec.kind == "labelled":
        factors = f"{spec.space.n_factors} labels of two values each: " + ", ".join(spec.space.names)
    hidden = f"; {spec.n_hidden:,} images share each combination" if spec.n_hidden > 1 else ""
    lines = [
        f"### {spec.name}",
        "",
        f"{_sentence(spec.summary)}.",
        "",
        f"- Factors: {factors}{hidden}.",
        f"- Observation: {' x '.join(map(str, spec.image_shape))}, {spec.dtype}.",
    ]
    if entry.recipe is not None:
        forms = [" and ".join(f"`{file.name}`" for file in source.files) for source in entry.recipe.sources]
        lines += [f"- Files: {'; or '.join(forms)}. Resized: {entry.recipe.resize}."]
    lines += [f"- Licence: {spec.licence}. Homepage: <{spec.homepage}>."]
    lines += [f"- {_sentence(defect)}." for defect in spec.known_defects]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    """With a capital at its beginning, unless it begins with a name."""
    return (
        text
        if text.split(",")[0].split(":")[0] in registry.datasets() or text[:2] == "dS"
        else text[0].upper() + text[1:]
    )


def encdiff_presets() -> str:
    """What EncDiff's two full presets say of each setting that either changes, or that the papers name."""
    entry = registry.models()["encdiff"]
    configs = [override(entry.config(), entry.presets[name]) for name in ENCDIFF]
    named = ("n_codes", "ema", "weight_decay", "beta1", "beta2", "conditioning", "tokens", "space", "width", "heads")
    rows = []
    for field in dataclasses.fields(configs[0]):
        values = [_shown(getattr(config, field.name)) for config in configs]
        if field.name in named or values[0] != values[1]:
            rows.append((f"`{field.name}`", *values))
    return tabulate(rows, ("setting", *(f"`{name}`" for name in ENCDIFF)), tablefmt="github", disable_numparse=True)


def board_table() -> str:
    """The board of rooms3d under the 2019 study's settings: the values that papers print."""
    entries = read_entries(folder())
    choice = Choice(frozenset(["rooms3d"]), frozenset(["factor_vae", "dci.disentanglement", "mig", "sap", "beta_vae"]))
    chosen = [board for board in choice.boards(boards.make_boards(entries)) if board.protocol == "locatello2019"]
    newest = [replace(board, columns=tuple(c for c in board.columns if c.header == c.value)) for board in chosen]
    return render([measured_table(board) for board in newest], "md").rstrip()


def curve_table() -> str:
    """EncDiff scored along its training on rooms3d, and the published replication on 3D Shapes."""
    rows = []
    for curve in boards.make_curves(read_entries(folder())):
        if curve.label.startswith("encdiff") and curve.protocol == "quick":
            scores = [dict(curve.points[value]) for value in CURVE]
            batch = registry.models()["encdiff"].presets["cpu-hour"]["batch_size"]
            rows += [
                (step * batch, step, f"{curve.dataset}, `cpu-hour`", *(s.get(step) for s in scores))
                for step in scores[0]
            ]
    found: dict[int, dict[str, float]] = {}
    for number in published.shipped():
        is_step = number.variant.startswith("learning curve: step ") and number.source.paper == "encdiff_replication"
        if is_step and number.dataset == "shapes3d" and number.method_key == "encdiff":
            found.setdefault(int(number.variant.split()[-1]), {})[number.metric] = number.value
    rows += [(128 * step, step, "3D Shapes, published", *(at.get(v) for v in CURVE)) for step, at in found.items()]
    shown = [
        (f"{seen:,}", f"{step:,}", what, *("" if value is None else f"{value:.3f}" for value in values))
        for seen, step, what, *values in sorted(rows)
    ]
    headers = ("images seen", "steps", "run", *(f"`{value}`" for value in CURVE))
    return tabulate(
        shown, headers, tablefmt="github", disable_numparse=True, colalign=("right", "right", "left", "right", "right")
    )


TABLES = {
    "board": (ROOT / "README.md", board_table),
    "encdiff curve": (ROOT / "docs" / "diffusion.md", curve_table),
    "values": (ROOT / "docs" / "metrics.md", values_table),
    "protocols": (ROOT / "docs" / "metrics.md", protocols_table),
    "data sets": (ROOT / "README.md", datasets_table),
    "encdiff presets": (ROOT / "docs" / "diffusion.md", encdiff_presets),
    "data sets in full": (ROOT / "docs" / "datasets.md", datasets_in_full),
}

if __name__ == "__main__":
    for name, (page, make) in TABLES.items():
        replace_table(page, name, make())
