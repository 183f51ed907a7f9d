"""What to cite: BibTeX of metrics, data sets and methods, each entry once.

Metrics and data sets say themselves what is cited for them; methods and papers are in `papers.bib` of the boards
folder, by the keys of `disbench.published_numbers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from disbench import checkpoint, published, records, registry
from disbench.entries import folder
from disbench.errors import DisbenchError, UsageError, did_you_mean
from disbench.published_numbers import OTHER_DATASETS, OTHER_METRICS, PAPERS

# Methods and kinds of models that have no entry of their own name, and what is cited for them.
CITED_FOR: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "encdiff_v": ("encdiff",),
        "encdiff_concat": ("encdiff", "encdiff_replication"),
        "encdiff-encoder": ("encdiff",),
        "disdiff_vq": ("disdiff",),
        "disdiff-encoder": ("disdiff",),
        "disco_gan": ("disco",),
        "disco_vae": ("disco",),
        "dyga_sd": ("dyga",),
        "ae": ("identifiability",),
        "ae_ica": ("identifiability",),
        "dip_vae_i": ("dip_vae",),
        "dip_vae_ii": ("dip_vae",),
        "kl": ("ldm",),
    }
)
_OF_ANY_VARIANT = {"MPI3D": "mpi3d_toy"}  # as papers print it; its variants are cited alike


@dataclass(frozen=True)
class Entry:
    """A BibTeX entry: its kind, as `inproceedings`, its key and its fields."""

    kind: str
    key: str
    fields: Mapping[str, str]

    @property
    def work(self) -> str:
        """The title in small letters and digits alone, by which two entries are known to be the same."""
        return re.sub(r"[^a-z0-9]", "", self.fields.get("title", self.key).lower())

    def __str__(self) -> str:
        fields = "".join(f"  {name} = {{{value}}},\n" for name, value in self.fields.items())
        return f"@{self.kind}{{{self.key},\n{fields}}}\n"


@dataclass(frozen=True)
class Subjects:
    """What is cited: names of metrics or their values, of data sets, and of methods, kinds of models or papers."""

    metrics: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    def __add__(self, other: Subjects) -> Subjects:
        return Subjects(self.metrics + other.metrics, self.datasets + other.datasets, self.methods + other.methods)


def parse(text: str) -> list[Entry]:
    """The entries of BibTeX, whose values stand in braces; what is between entries is passed over.

    Raises:
        DisbenchError: an entry is not closed.
    """
    found = []
    at = 0
    while begin := re.compile(r"@(\w+)\{([^,\s]+),").search(text, at):
        kind, key = begin.groups()
        end = _closing(text, begin.end(1))
        found.append(Entry(kind, key, _fields(text[begin.end() : end])))
        at = end + 1
    return found


def _closing(text: str, opening: int) -> int:
    """Where the brace at `opening` is closed."""
    depth = 0
    for brace in re.compile(r"[{}]").finditer(text, opening):
        depth += 1 if brace.group() == "{" else -1
        if not depth:
            return brace.start()
    raise DisbenchError(f"BibTeX lacks a closing brace after {text[opening : opening + 40]!r}.")


def _fields(body: str) -> dict[str, str]:
    fields = {}
    at = 0
    while begin := re.compile(r"(\w+)\s*=\s*(?=\{)").search(body, at):
        at = _closing(body, begin.end())
        fields[begin.group(1).lower()] = body[begin.end() + 1 : at]
    return fields


@cache
def papers() -> Mapping[str, Entry]:
    """The entries of `papers.bib` by key.

    Raises:
        UsageError: the file is not there.
    """
    path = folder() / "papers.bib"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    return {entry.key: entry for entry in parse(text)}


def of_metric(name: str) -> list[Entry]:
    """What is cited for a metric, by its name or that of one of its values.

    Raises:
        UsageError: there is no such metric.
    """
    found = registry.values().get(name)
    metric = found[0] if found is not None else registry.pick("metric", name, registry.metrics())
    return parse(metric.citation)


def of_dataset(name: str) -> list[Entry]:
    """What is cited for a data set, by its name.

    Raises:
        UsageError: there is no such data set.
    """
    return [papers()[name]] if name in OTHER_DATASETS else parse(registry.pick_dataset(name).spec.citation)


def of_method(name: str) -> list[Entry]:
    """What is cited for a method, a kind of model, a paper (by its key or a name in papers), or a shipped model.

    Raises:
        UsageError: there is no such method, or nothing is known to cite for it.
    """
    known = (set(papers()) | set(CITED_FOR)) - set(OTHER_DATASETS)
    if name in registry.checkpoints():
        name = checkpoint.load(registry.checkpoints()[name].path).model
    elif name not in known:
        name = {number.method: number.method_key for number in published.shipped()}.get(name, name)
    if name in known:
        return [papers()[key] for key in CITED_FOR.get(name, (name,))]
    if name in registry.models():
        raise UsageError(f"nothing is known to cite for the model {name!r}; see the package that it came with.")
    raise UsageError(f"there is no method called {name!r}; {did_you_mean(name, known)}")


def of_tables(paper: str, table: str | None = None) -> Subjects:
    """What a paper's table is made of, or all its tables: its paper, the methods, data sets and metrics.

    Raises:
        UsageError: there is no such paper or table.
    """
    tables = registry.pick("paper", paper, PAPERS).tables if table is None else (table,)
    numbers = [number for at in tables for number, _ in published.printed(published.shipped(), paper, at)]
    datasets = (number.dataset or _OF_ANY_VARIANT.get(number.dataset_as_reported or "") for number in numbers)
    return Subjects(
        tuple(number.metric for number in numbers if number.metric not in OTHER_METRICS),
        tuple(name for name in datasets if name),
        (paper, *(number.method_key for number in numbers)),
    )


def of_records(paths: Iterable[str | Path]) -> tuple[Subjects, list[str]]:
    """What records of scores used, and of what there is nothing to cite, in words.

    Raises:
        UsageError: a file is not there.
        DisbenchError: a file holds something else.
    """
    found = Subjects()
    unknown: list[str] = []
    for record in (record for path in paths for record in records.read(path)):
        model = record["model"]
        trained_on = (model.get("train") or {}).get("dataset")
        used = {
            "metric": list(record["key"]["metrics"]),
            "data set": [record["key"]["dataset"]["name"], *([trained_on] if trained_on else [])],
            "model": [model["kind"]] if model.get("kind") else [],
        }
        known = {kind: [name for name in names if _is_known(kind, name)] for kind, names in used.items()}
        unknown += [f"{kind} {name}" for kind, names in used.items() for name in names if name not in known[kind]]
        found += Subjects(tuple(known["metric"]), tuple(known["data set"]), tuple(known["model"]))
    return found, list(dict.fromkeys(unknown))


def _is_known(kind: str, name: str) -> bool:
    if kind == "metric":
        return name in registry.metrics()
    if kind == "data set":
        return name in registry.datasets()
    return name in papers() or name in CITED_FOR


def bibtex(subjects: Subjects) -> str:
    """BibTeX of everything, each work once, under comments that name the groups.

    Where a work is cited for something under another key already, a comment says which.

    Raises:
        UsageError: one of the names is not known.
    """
    given: dict[str, Entry] = {}
    groups = (
        ("metrics", subjects.metrics, of_metric),
        ("data sets", subjects.datasets, of_dataset),
        ("methods", subjects.methods, of_method),
    )
    parts = []
    for title, names, entries_of in groups:
        entries = [entry for name in dict.fromkeys(names) for entry in entries_of(name)]
        if entries:
            parts.append(f"% {title}\n\n" + "\n".join(_once(entries, given)))
    return "\n".join(parts)


def _once(entries: Iterable[Entry], given: dict[str, Entry]) -> Iterator[str]:
    """Entries that were not given yet, as text."""
    said = set()
    for entry in entries:
        if entry.work not in given:
            given[entry.work] = entry
            yield str(entry)
        elif given[entry.work].key != entry.key and entry.key not in said:
            yield f"% {entry.key}: see {given[entry.work].key}\n"
        said.add(entry.key)
