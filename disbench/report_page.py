"""One model's evaluation as one HTML page that needs nothing else: no network, no script, no other file.

Whatever a record says reaches the page as text only (`disbench.markup`), and the page forbids itself to load anything.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disbench import registry
from disbench.carriers import Matrix, carriers, matrices, names_for, pruned
from disbench.errors import DisbenchError
from disbench.heat_maps import heat_map
from disbench.markup import Html, breakable, joined, tag
from disbench.scales import KINDS, Scale, drawn, symbol
from disbench.types import ValueSpec

if TYPE_CHECKING:
    from disbench.neighbours import Neighbour

MOST_MAPS_OPEN = 2  # kinds of heat map that are not folded away
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PICTURES = {
    "reconstructions": "Random images, and below each what the model makes of its codes.",
    "traversals": "An image and its reconstruction, then one row per code, in which that code alone goes from its 1 % "
    "to its 99 % quantile over random images. What changes the image most comes first.",
}


def page(
    record: Mapping[str, Any],
    *,
    neighbours: Mapping[str, Sequence[Neighbour]],
    images: Mapping[str, bytes],
    factor_names: Sequence[str] | None = None,
    no_images: str = "",
) -> str:
    """The page about a record.

    Args:
        record: valid, as `disbench.records.read` gives them.
        neighbours: by value name, the numbers that it is set beside.
        images: PNG files by what they show, as traversals.
        factor_names: of the data set; None where they are not known.
        no_images: why there are none.

    Raises:
        DisbenchError: the record is of the right schema and does not keep to it.
    """
    try:
        sections = [
            _head(record),
            _scores(record, neighbours),
            _codes(record, factor_names),
            _pictures(images, no_images),
            _missing(record),
            _remarks(record),
            _origin(record),
        ]
        title = f"{record['model']['name']} on {record['key']['dataset']['name']}"
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DisbenchError(
            f"the record does not keep to its schema ({type(error).__name__}: {error}); it was not written by disbench."
        ) from error
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} - disbench report"),
        tag("style", _style()),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", tag("main", *sections)), lang="en") + "\n"


def _style() -> Html:
    """Our own style sheet."""
    return Html((Path(__file__).parent / "pages" / "report.css").read_text(encoding="utf-8"))


def _section(title: str, *children: Html | None) -> Html:
    return tag("section", tag("h2", title), *children)


def _facts(facts: Mapping[str, str]) -> Html:
    """Pairs of a name and what there is to say; nothing for empty ones."""
    return tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", said)) for name, said in facts.items() if said), class_="facts"
    )


def _head(record: Mapping[str, Any]) -> Html:
    model, key, sample, run = (record[part] for part in ("model", "key", "sample", "run"))
    train, seeds = model["train"] or {}, sample["eval_seeds"]
    steps = train.get("steps")
    facts = {
        "Data set": key["dataset"]["name"],
        "Protocol": f"{key['protocol']['name']}, version {key['protocol']['version']}",
        "Eval seeds": str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} ... {seeds[-1]} ({len(seeds)}; means of them)",
        "Kind of model": model.get("kind") or "",
        "Codes": f"{model['n_codes']}" if model.get("n_codes") is not None else "",
        "Reducer": key["reducer"] or "",
        "Trained": _joined([
            f"{steps:,} steps" if isinstance(steps, int) else "",
            f"train seed {train['train_seed']}" if train.get("train_seed") is not None else "",
            f"on {train['dataset']}" if train.get("dataset") else "",
        ]) or "the record does not say how",
        "Trained with": _versions(train.get("versions") or {}),
        "Scored with": _versions(run["versions"]),
        "Scored on": _joined([str(run["device"]), str(run["time"])]),
    }  # fmt: skip
    return tag(
        "header",
        tag("p", "disbench report", class_="kicker"),
        tag("h1", breakable(model["name"]), " ", tag("span", f"on {key['dataset']['name']}", class_="on")),
        _facts(facts),
        _command("Trained by", train.get("command")),
        _notice(bool(train.get("steps") or train.get("train_seed") is not None), len(seeds)),
    )


def _notice(is_trained: bool, n_seeds: int) -> Html:
    what = (
        "Single training seed. ", "These numbers are of one trained model: how far another training seed would move "
        "them cannot be known from this page. ",
    ) if is_trained else ("A single model. ", "")  # fmt: skip
    return tag("p", tag("strong", what[0]), what[1] + _spread(n_seeds), class_="notice")


def _spread(n_seeds: int) -> str:
    if n_seeds == 1:
        return "It was evaluated with one eval seed, so there are no intervals."
    return f"Its intervals are 95\u00a0% confidence intervals of the mean over {n_seeds} eval seeds: evaluation noise."


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(part for part in parts if part)


def _versions(versions: Mapping[str, str]) -> str:
    return _joined([f"{name} {version}" for name, version in versions.items()])


def _command(what: str, command: object) -> Html | None:
    """A command under its caption; None where there is none."""
    return joined(tag("p", what, class_="label"), tag("pre", tag("code", str(command)))) if command else None


def _scores(record: Mapping[str, Any], neighbours: Mapping[str, Sequence[Neighbour]]) -> Html:
    groups: dict[bool, list[Html]] = {False: [], True: []}
    kinds: set[str] = set()
    for name, entry in record["scores"].items():
        if entry["status"] != "ok":
            continue
        metric, spec = registry.values().get(name, (None, None))
        of_images = metric is not None and metric.needs in ("reconstructions", "generation")
        around = [one for one in neighbours.get(name, ()) if math.isfinite(one.value)]
        kinds |= {one.kind for one in around}
        groups[of_images].append(_score(name, entry, spec, around))
    if not any(groups.values()):
        return _section("Scores", tag("p", "Nothing was computed; see below."))
    parts: list[Html] = [_legend(kinds)]
    for of_images, title in ((False, "Of the codes"), (True, "Of the images that the model makes")):
        if groups[of_images]:
            parts += [tag("h3", title)] * all(groups.values()) + groups[of_images]
    return _section("Scores", *parts)


def _legend(kinds: set[str]) -> Html:
    shown = {"this": "this model", **{kind: said for kind, said in KINDS.items() if kind in kinds}}
    legend = tag("ul", *(tag("li", symbol(kind), said) for kind, said in shown.items()), class_="legend")
    caption = (
        "Each scale spans what the number can be. Measured numbers share protocol, data, metric, version and settings "
        "with this one."
        if kinds
        else "Each scale spans what the number can be. There is nothing to set these numbers beside: no record of the "
        "same identity is known, and nothing published of this data set."
    )
    published = (
        " Published ones were printed in papers for a data set and metric of this name; what they were computed with "
        "is not known as exactly, so they are shown beside, and not ranked."
        if "published" in kinds
        else ""
    )
    return joined(legend, tag("p", caption + published, class_="quiet"))


def _score(name: str, entry: Mapping[str, Any], spec: ValueSpec | None, around: Sequence[Neighbour]) -> Html:
    value = float(entry["value"])
    interval = (float(entry["interval"][0]), float(entry["interval"][1])) if entry.get("interval") else None
    numbers = [value, *(interval or ()), *(one.value for one in around)]
    low, high = (spec.low, spec.high) if spec else (-math.inf, math.inf)
    scale = Scale.of(low, high, numbers)
    number = tag(
        "p",
        tag("span", f"{value:.4f}", class_="number"),
        tag("span", f"{interval[0]:.4f} ... {interval[1]:.4f}", class_="within") if interval else None,
    )
    return tag(
        "article",
        tag("div", tag("h4", breakable(name)), tag("p", spec.meaning, class_="quiet") if spec else None, class_="what"),
        tag("div", number, class_="value"),
        tag(
            "div",
            drawn(value, interval, around, scale, name),
            _ends(scale, spec),
            _beside(value, around, spec),
            class_="where",
        ),
        class_="score",
    )


def _ends(scale: Scale, spec: ValueSpec | None) -> Html:
    """What stands at the ends of a scale, and which is the better one."""
    low, high = (f"{scale.low:g}", f"{scale.high:g}")
    low, high = ("... " * scale.is_open_low + low, high + " ..." * scale.is_open_high)
    better = "of a metric that is not installed here"
    if spec is not None:
        better = "\u2190 lower is better" if spec.direction == "lower" else "higher is better \u2192"
    return tag("p", tag("span", low), tag("span", better), tag("span", high), class_="ends")


def _beside(value: float, around: Sequence[Neighbour], spec: ValueSpec | None) -> Html | None:
    """The neighbours as a table that unfolds, behind a line that sums them up; the best of each kind first."""
    if not around:
        return None
    of_kind = {kind: [one for one in around if one.kind == kind] for kind in KINDS}
    said = [f"{kind} {found[0].value:.4f}" for kind, found in of_kind.items() if kind in ("floor", "ceiling") and found]
    said += [
        f"{len(found)} {kind}{'s' * (kind == 'baseline' and len(found) > 1)}"
        for kind, found in of_kind.items()
        if kind not in ("floor", "ceiling") and found
    ]
    sign = 1 if spec is not None and spec.direction == "lower" else -1
    own = tag(
        "tr", tag("td", symbol("this"), "this"), tag("td", "this model"), tag("td", f"{value:.4f}", class_="digits")
    )
    rows = [own] + [
        tag(
            "tr",
            tag("td", symbol(kind), kind),
            tag("td", one.label, tag("span", f" {one.note}", class_="quiet") if one.note else None),
            tag("td", f"{one.value:.4f}", class_="digits"),
            class_=kind,
        )
        for kind, found in of_kind.items()
        for one in sorted(found, key=lambda one: sign * one.value)
    ]
    header = tag("tr", *(tag("th", title, scope="col") for title in ("kind", "what", "value")))
    table = tag("table", tag("thead", header), tag("tbody", *rows), class_="beside")
    return tag("details", tag("summary", "beside " + ", ".join(said)), tag("div", table, class_="wide"))


def _codes(record: Mapping[str, Any], names: Sequence[str] | None) -> Html:
    found = matrices(record)
    if not found:
        return _section("What the codes hold", tag("p", "No metric that ran leaves a matrix of codes and factors."))
    told = carriers(record, names)
    parts: list[Html] = []
    if len(record["sample"]["eval_seeds"]) > 1:
        parts.append(tag("p", "All of this is of the first eval seed.", class_="quiet"))
    if told.sentences:
        parts.append(tag("ul", *(tag("li", sentence) for sentence in told.sentences), class_="told"))
        parts.append(tag("p", told.rule, class_="quiet"))
    if (passed := pruned(record)) is not None and passed[0]:
        numbers = ", ".join(map(str, passed[0]))
        said = f"The FactorVAE score passes over codes whose standard deviation is below {passed[1]:g}: {numbers}."
        parts.append(tag("p", said, class_="quiet"))
    first = [matrix for at, matrix in enumerate(found) if matrix.title not in [other.title for other in found[:at]]]
    shown = first[:MOST_MAPS_OPEN]
    more = [matrix for matrix in found if matrix not in shown]
    parts += [heat_map(matrix, names_for(matrix, names), told.dead) for matrix in shown]
    if more:
        maps = [heat_map(matrix, names_for(matrix, names), told.dead) for matrix in more]
        parts.append(tag("details", tag("summary", f"{len(more)} more, of {_metrics(more)}"), *maps))
    return _section("What the codes hold", *parts)


def _metrics(found: Sequence[Matrix]) -> str:
    return ", ".join(dict.fromkeys(matrix.metric for matrix in found))


def _pictures(images: Mapping[str, bytes], no_images: str) -> Html:
    if not images:
        return _section("What the model makes", tag("p", no_images or "There are no pictures."))
    shown = []
    for what, content in images.items():
        source = "data:image/png;base64," + base64.b64encode(content).decode()
        width, height = (str(side) for side in struct.unpack(">II", content[16:24]))  # PNG's header
        drawing = tag("img", src=source, alt=what, width=width, height=height)
        picture = tag("div", drawing, class_="wide", tabindex="0", role="region", aria_label=what)
        shown.append(
            tag("figure", tag("figcaption", tag("strong", what.capitalize()), f" {_PICTURES.get(what, '')}"), picture)
        )
    return _section("What the model makes", *shown, tag("p", no_images, class_="quiet") if no_images else None)


def _missing(record: Mapping[str, Any]) -> Html:
    missing: dict[tuple[str, str], list[str]] = {}
    for name, entry in record["scores"].items():
        if entry["status"] != "ok":
            missing.setdefault((str(entry["status"]), str(entry["reason"])), []).append(name)
    if not missing:
        return _section(
            "What was not computed", tag("p", f"Nothing: all {len(record['scores'])} values have a number.")
        )
    rows = [
        tag("tr", tag("td", breakable(", ".join(names))), tag("td", status, class_="status"), tag("td", reason))
        for (status, reason), names in missing.items()
    ]
    header = tag("tr", *(tag("th", title, scope="col") for title in ("values", "status", "why")))
    table = tag("table", tag("thead", header), tag("tbody", *rows), class_="plain")
    return _section("What was not computed", tag("div", table, class_="wide"))


def _remarks(record: Mapping[str, Any]) -> Html | None:
    said: dict[str, list[str]] = {}
    for metric, detail in record["details"].items():
        for remark in detail.get("remarks", ()):
            said.setdefault(str(remark), []).append(metric)
    if not said:
        return None
    remarks = [tag("li", tag("strong", ", ".join(metrics)), f": {remark}") for remark, metrics in said.items()]
    return _section("Remarks of the metrics", tag("ul", *remarks))


def _origin(record: Mapping[str, Any]) -> Html:
    key, model, sample = record["key"], record["model"], record["sample"]
    facts = {
        "Identity": record["identity"],
        "Record's hash": record.get("hash", ""),
        "Model's content": model["content_hash"] or "not known: the model was a function",
        "Data set's content": key["dataset"]["content_hash"],
        "Indices drawn": sample["indices_sha256"],
        "Images": f"{sample['n_encoded']:,} encoded for the {sample['n_asked']:,} that the draws ask for"
        if sample["n_encoded"]
        else "",
    }
    rows = [
        tag(
            "tr",
            tag("th", breakable(name), scope="row"),
            tag("td", described["version"]),
            tag("td", ", ".join(f"{setting} = {value}" for setting, value in described["settings"].items())),
            tag("td", str(described["identity"])[:12], title=described["identity"], class_="hash"),
        )
        for name, described in key["metrics"].items()
    ]
    header = tag("tr", *(tag("th", title, scope="col") for title in ("metric", "version", "settings", "identity")))
    table = tag("table", tag("thead", header), tag("tbody", *rows), class_="plain")
    folded = tag("summary", f"versions and settings of {len(rows)} metrics")
    return _section(
        "Where these numbers come from",
        _command("The command that made them, as the record says", record["run"]["command"]),
        _facts(facts),
        tag("details", folded, tag("div", table, class_="wide")),
    )
