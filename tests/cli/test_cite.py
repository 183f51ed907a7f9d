"""`disbench cite`, as a user types it, and what it cites."""

import argparse
import re
from pathlib import Path

import pytest

from disbench import citations, published, records, registry
from disbench.cli_cite import CITE_EXAMPLES, add_cite
from disbench.entries import folder
from disbench.errors import DisbenchError, UsageError
from disbench.published_numbers import OTHER_DATASETS, PAPERS

RECORDS = folder() / "results" / "rooms3d"


def cite(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_cite(parser)
    arguments = parser.parse_args(words)
    return int(arguments.run(arguments))


def keys(text: str) -> dict[str, list[str]]:
    """Keys of the entries, by group."""
    groups: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line in ("% metrics", "% data sets", "% methods"):
            groups[line[2:]] = []
        elif found := re.match(r"@\w+\{(.+),$", line):
            list(groups.values())[-1].append(found[1])
    return groups


def test_names_are_cited_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert cite("--metric", "mig,dci.completeness, dci", "--dataset", "shapes3d", "--method", "encdiff") == 0
    out, err = capsys.readouterr()
    assert keys(out) == {
        "metrics": ["chen2018isolating", "eastwood2018framework"],
        "data sets": ["3dshapes18"],
        "methods": ["encdiff"],
    }
    assert "  author = {Yang, Tao and Lan, Cuiling and Lu, Yan and Zheng, Nanning},\n" in out
    assert out.endswith("}\n")
    assert not err


def test_a_work_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    cite("--metric", "factor_vae", "--method", "factor_vae,disco_gan,disco_vae", "--dataset", "mpi3d_toy,mpi3d_real")
    out = capsys.readouterr().out
    groups = keys(out)
    assert groups["metrics"] == ["kim2018disentangling"]
    assert groups["methods"] == ["disco"]
    assert groups["data sets"] == ["gondal2019transfer"]
    assert "% factor_vae: see kim2018disentangling\n" in out


def test_a_table_is_cited_with_all_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    cite("--paper", "encdiff", "--table", "1")
    groups = keys(capsys.readouterr().out)
    assert groups["metrics"] == ["kim2018disentangling", "eastwood2018framework"]
    assert groups["data sets"] == ["reed2015deep", "3dshapes18", "gondal2019transfer"]
    assert set(groups["methods"]) == {
        *("encdiff", "beta_tcvae", "infogan_cr", "latent_discovery", "ganspace", "disco", "disdiff")
    }
    cite("--paper", "bayes_qlae", "--table", "2")  # of a variant that is not stated
    assert keys(capsys.readouterr().out)["data sets"] == ["gondal2019transfer"]
    cite("--paper", "fdae", "--table", "3")
    groups = keys(capsys.readouterr().out)
    assert groups == {"data sets": ["market1501"], "methods": ["fdae", "dino", "vct", "diffae", "apr"]}
    cite("--paper", "fdae")
    assert "dava" in keys(capsys.readouterr().out)["methods"]


def test_records_are_cited_with_what_they_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = next(records.read(RECORDS / "factor_vae-cpu-minutes.jsonl"))
    path = tmp_path / "records.jsonl"
    other = {**record, "model": {**record["model"], "kind": "my_model", "train": {}}}
    lines = "".join(records.to_line(each) + "\n" for each in (record, other))
    path.write_text("\ufeff" + lines + lines[:100], encoding="utf-8")
    assert cite(str(path)) == 0
    out, err = capsys.readouterr()
    assert {"kim2018disentangling", "chen2018isolating", "eastwood2018framework"} <= set(keys(out)["metrics"])
    assert keys(out)["data sets"] == ["3dshapes18"]
    assert "% factor_vae: see kim2018disentangling" in out
    assert err.splitlines() == [
        f"disbench: {path}, line 3: passed over, as it is the beginning of a record.",
        "disbench: nothing is known to cite for the model my_model.",
    ]


def test_all_that_has_a_name_can_be_cited() -> None:
    for number in published.shipped():
        assert citations.of_method(number.method_key)
    for name in registry.metrics():
        assert citations.of_metric(name)
    for name in (*registry.datasets(), *OTHER_DATASETS):
        assert citations.of_dataset(name)
    for name in registry.models():
        assert citations.of_method(name)


def test_methods_go_by_the_names_of_papers_and_shipped_models() -> None:
    for name, key in (("EncDiff", "encdiff"), ("encdiff-rooms3d", "encdiff"), ("beta_vae-rooms3d", "beta_vae")):
        assert citations.of_method(name) == citations.of_method(key)


def test_papers_are_called_alike_everywhere() -> None:
    entries = citations.papers()
    for key, paper in PAPERS.items():
        assert entries[key].work == citations.Entry("", "", {"title": paper.title}).work
        assert entries[key].fields.get("eprint", "") == paper.arxiv
        if paper.venue[-4:].isdigit():
            assert paper.venue == "{booktitle} {year}".format(**entries[key].fields)
    methods = {key for n in published.shipped() for key in citations.CITED_FOR.get(n.method_key, (n.method_key,))}
    of_models = {key for name in registry.models() for key in citations.CITED_FOR.get(name, (name,))}
    assert set(entries) <= {*methods, *of_models, *PAPERS, *OTHER_DATASETS, "tripod"}
    assert len({entry.work for entry in entries.values()}) == len(entries)


def test_bibtex_is_read() -> None:
    text = "comment @here\n@misc{a-1, title={The {A} of {\\'e}}, year = {2018}} @book{b,\n author={B},\n}"
    first, second = citations.parse(text)
    assert (first.kind, first.key, first.work) == ("misc", "a-1", "theaofe")
    assert first.fields == {"title": "The {A} of {\\'e}", "year": "2018"}
    assert str(second) == "@book{b,\n  author = {B},\n}\n"
    assert citations.parse(str(first) + str(second)) == [first, second]
    with pytest.raises(DisbenchError, match="lacks a closing brace"):
        citations.parse("@misc{a, title={b}")


def test_wrong_usage(tmp_path: Path) -> None:
    for words, sentence in (
        ([], "say what to cite"),
        (["--metric", "dcii"], "there is no metric called 'dcii'; did you mean 'dci'"),
        (["--metric", ","], "--metric takes names with commas between them; got ','."),
        (["--dataset", "shapes"], "there is no data set called 'shapes'; did you mean 'shapes3d'"),
        (["--method", "encdif"], "there is no method called 'encdif'; did you mean 'encdiff'"),
        (["--paper", "dygga"], "there is no paper called 'dygga'; did you mean 'dyga'"),
        (["--paper", "dyga", "--table", "3"], "no numbers of a table '3' of dyga are known; known: 1, 2."),
        (["--table", "1"], "name the --paper, too"),
        ([str(tmp_path / "records.jsonl")], "cannot be read: No such file"),
    ):
        with pytest.raises(UsageError) as caught:
            cite(*words)
        assert sentence in str(caught.value)


def test_a_model_without_citation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "models", lambda: {"my_model": None})
    with pytest.raises(UsageError, match="nothing is known to cite for the model 'my_model'"):
        cite("--method", "my_model")


def test_examples_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    for line in re.findall(r"disbench cite (--.+)", CITE_EXAMPLES):
        assert cite(*line.split()) == 0
        assert capsys.readouterr().out.startswith("% metrics\n")
