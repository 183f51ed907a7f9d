import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from disbench.carriers import CARRIES, DEAD, MOST_SEVERAL, carriers, matrices
from disbench.errors import DisbenchError
from disbench.evaluation import evaluate, score_codes
from disbench.heat_maps import MOST_CODES
from disbench.markup import breakable, tag, text
from disbench.neighbours import Neighbour
from disbench.report_page import page
from disbench.scales import Scale
from tests.conftest import FACTORS_OF_TINY, SMALL, TinyDataset, perfect_codes

METRICS = "mig,dci,factor_vae,sap,irs,modularity,mutual_information,tad,mse"
FACTORS = ("hue", "x", "y")
HOSTILE = ['<script>alert(1)</script>', '" onmouseover="alert(1)', "javascript:alert(1)", "</style><img src=//x.y/z>",
           "\x1b[31m\u202e\ud800", "&lt;b&gt;"]  # fmt: skip
VOID = {"meta", "img", "wbr"}


class Seen(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in self.elements if tag != "wbr"]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """The record of perfect codes on the tiny data set, with two eval seeds."""
    settings = {path: size for path, size in SMALL.items() if path.split(".")[0] in METRICS.split(",")}
    report = evaluate(
        perfect_codes, TinyDataset(), metrics=METRICS, settings=settings, repeats=2, command="disbench score"
    )
    return json.loads(report.to_json())


@pytest.fixture
def record(made: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(made)


def png(width: int = 3, height: int = 2) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height)).save(buffer, format="PNG")
    return buffer.getvalue()


def written(record: dict[str, Any], **changes: Any) -> str:
    arguments: dict[str, Any] = {"neighbours": {}, "images": {}, "factor_names": FACTORS}
    return page(record, **arguments | changes)


def with_information(shares: list[list[float]], **record: Any) -> dict[str, Any]:
    """A record of which carriers() reads: shares (d, k) of entropies of 1 nat, of so many samples that chance is 0."""
    details = {"mig": {"mutual_information": shares, "entropy": [1.0] * len(shares[0])}}
    metrics = {"mig": {"settings": {"bins": 20, "num_train": 10**9}}}
    return {"details": details, "key": {"metrics": metrics}, "sample": {}, "model": {"n_codes": len(shares)}} | record


def test_a_page_says_what_was_scored_how_and_what_came_out(record: dict[str, Any]) -> None:
    seen = Seen(written(record))
    assert "perfect_codes on tiny" in seen.text
    assert "locatello2019+custom, version" in seen.text
    assert "0 ... 1 (2; means of them)" in seen.text
    assert "A single model. " in seen.text
    record["model"]["train"] = {"train_seed": 0, "steps": 3000}
    assert "3,000 steps, train seed 0" in Seen(written(record)).text
    assert "Single training seed. " in Seen(written(record)).text
    for name, entry in record["scores"].items():
        assert name in seen.text
        if entry["status"] == "ok":
            assert f"{entry['value']:.4f}" in seen.text
            assert "{:.4f} ... {:.4f}".format(*entry["interval"]) in seen.text
    for part in (record["identity"], record["key"]["dataset"]["content_hash"], record["sample"]["indices_sha256"]):
        assert part in seen.text
    assert "disbench score" in seen.text
    assert "Record's hashf00d" in Seen(written(record | {"hash": "f00d"})).text


def test_what_was_not_computed_is_grouped_by_its_reason(record: dict[str, Any]) -> None:
    seen = Seen(written(record))
    missing = [name for name, entry in record["scores"].items() if entry["status"] != "ok"]
    assert {"tad", "tad.captured", "mse"} <= set(missing)
    assert "tad, tad.captured" in seen.text
    for name in missing:
        assert record["scores"][name]["reason"] in seen.text
    for entry in record["scores"].values():
        entry.update(value=0.5, status="ok", reason="")
    assert f"Nothing: all {len(record['scores'])} values have a number." in Seen(written(record)).text
    for entry in record["scores"].values():
        entry.update(value=None, status="undefined", reason="no luck")
    nothing = Seen(written(record)).text
    assert "Nothing was computed" in nothing
    assert ", ".join(record["scores"]) in nothing


def test_remarks_are_said_once_with_the_metrics_that_make_them(record: dict[str, Any]) -> None:
    assert "Remarks of the metrics" not in written(record)
    for metric in ("mig", "dci"):
        record["details"][metric]["remarks"] = ["few samples."]
    assert "mig, dci: few samples." in Seen(written(record)).text


def test_the_page_needs_nothing_else(record: dict[str, Any]) -> None:
    seen = Seen(written(record, images={"traversals": png()}))
    assert not {tag for tag, _ in seen.elements} & {"script", "link", "iframe", "object", "embed", "form", "base", "a"}
    policy = next(a["content"] for _, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    for _, attributes in seen.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "style", "srcset")]
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import|https?:", written(record))


def strings_replaced(found: Any, by: Iterator[str]) -> Any:
    """The same with every text replaced."""
    if isinstance(found, str):
        return next(by)
    if isinstance(found, list):
        return [strings_replaced(one, by) for one in found]
    return {key: strings_replaced(one, by) for key, one in found.items()} if isinstance(found, dict) else found


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_record_becomes_markup(record: dict[str, Any], text: str) -> None:
    def hardened(word: str) -> Seen:
        def words() -> Iterator[str]:
            while True:
                yield word

        one = copy.deepcopy(record)
        reason = one["scores"]["tad"]
        for part in ("model", "run", "identity", "sample"):
            one[part] = strings_replaced(one[part], words())
        one |= {"hash": word}
        train = {"command": word, "dataset": word, "train_seed": word, "versions": {word: word}}
        one["model"] |= {"kind": word, "train": train}
        for part in ("protocol", "dataset"):
            one["key"][part] = strings_replaced(one["key"][part], words())
        one["key"]["metrics"][word] = {"version": word, "settings": {word: word}, "identity": word}
        one["key"]["reducer"] = word
        one["scores"][word] = {"value": 0.5, "status": "ok", "reason": ""}
        one["scores"][word + "2"] = {"value": None, "status": word, "reason": word}
        reason["reason"] = word
        one["details"][word] = {"remarks": [word], "of_codes": one["details"]["mig"]["mutual_information"]}
        one["details"]["mig"]["remarks"] = [word]
        around = {"mig": [Neighbour(word, kind, 0.5, word) for kind in ("trained", "published", "floor")]}
        return Seen(written(one, neighbours=around, factor_names=(word, "x", "y"), no_images=word))

    harmless, seen = hardened("harmless"), hardened(text)
    assert seen.shape == harmless.shape
    assert text.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd").replace("\ud800", "\ufffd") in seen.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", seen.text)


def test_text_is_escaped_and_markup_is_not() -> None:
    assert (
        tag("p", "<b>", tag("i", "&"), None, [1, "'"], class_='"')
        == '<p class="&quot;">&lt;b&gt;<i>&amp;</i>1&#x27;</p>'
    )
    assert text("a\x00b\u2066") == "a\ufffdb\ufffd"
    assert breakable("a_b.<c>") == "a_<wbr>b.<wbr>&lt;c&gt;"


def test_neighbours_stand_where_their_numbers_are_and_published_ones_apart(record: dict[str, Any]) -> None:
    around = {
        "mig": [
            Neighbour("random codes", "floor", 0.02), Neighbour("the factors", "ceiling", 1.0),
            Neighbour("another", "trained", 0.25, "3 train seeds"), Neighbour("pca10", "baseline", 0.125),
            Neighbour("a paper", "published", 0.75, "its title"), Neighbour("broken", "published", float("nan")),
        ]
    }  # fmt: skip
    seen = Seen(written(record, neighbours=around))
    marks = [
        a for tag, a in seen.elements if tag == "svg" and (a["class"] or "").startswith("mark ") and a.get("x") != "9"
    ]
    assert [(a["class"], a["x"]) for a in marks] == [
        ("mark trained", "25.00%"), ("mark baseline", "12.50%"), ("mark floor", "2.00%"), ("mark ceiling", "100.00%"),
        ("mark published", "75.00%"),
    ]  # fmt: skip
    assert len({a["y"] for a in marks[:4]}) == 1 < len({a["y"] for a in marks})
    assert "beside floor 0.0200, ceiling 1.0000, 1 trained, 1 baseline, 1 published" in seen.text
    assert "published, not comparable in identity" in seen.text
    assert "another 3 train seeds" in seen.text
    assert "There is nothing to set these numbers beside" in Seen(written(record)).text


def test_scales_without_an_end_reach_well_beyond_the_numbers() -> None:
    assert Scale.of(0, 1, [0.5]) == Scale(0, 1)
    assert Scale.of(0, float("inf"), [3.1, 19.2]) == Scale(0, 40, False, True)
    assert Scale.of(float("-inf"), 1, [-0.3, 0.5]) == Scale(-0.35, 1, True, False)
    assert Scale.of(float("-inf"), float("inf"), []) == Scale(0, 1, True, True)
    assert [Scale(0, 4).place(number) for number in (-1, 1, 9)] == ["0.00%", "25.00%", "100.00%"]


def test_perfect_codes_carry_a_factor_each(record: dict[str, Any]) -> None:
    told = carriers(record, FACTORS)
    assert [re.sub(r" \(.*", "", sentence) for sentence in told.sentences] == [
        f"{name} is carried by code {k}" for k, name in enumerate(FACTORS)
    ]
    assert not told.dead
    assert "(mig)" in told.rule
    del record["details"]["mig"]
    told = carriers(record, FACTORS)
    assert told.sentences[0].startswith("hue is carried by code 0 (")
    assert told.sentences[0].endswith(" of its importance)")
    del record["details"]["dci"]
    assert carriers(record, FACTORS) == type(told)([], frozenset(), "")


def test_words_follow_from_the_shares() -> None:
    shares = [[0.71, 0.04, 0.30, 0.2], [0.22, 0.03, 0.16, 0.0], [0.101, 0.02, 0.29, 0.0], [0.0, 0.0499, 0.0, 0.0]]
    told = carriers(with_information(shares), ["hue", "scale", "shape", "pose"])
    assert told.sentences == [
        "hue is carried by code 0 (0.71 of its entropy), and less by codes 1 (0.22) and 2 (0.10)",
        "no code carries scale (at most 0.05 of its entropy, by code 3)",
        "shape is shared by codes 0 (0.30 of its entropy), 2 (0.29) and 1 (0.16)",
        "pose is carried by code 0 (0.20 of its entropy)",
        "code 0 carries 3 factors: hue, shape and pose",
        "code 1 carries 2 factors: hue and shape",
        "code 2 carries 2 factors: hue and shape",
        "code 3 is dead",
    ]
    assert told.dead == {3}


def test_long_lists_of_codes_are_cut_short() -> None:
    shares = [[0.9 - 0.01 * k] for k in range(8)] + [[0.4 - 0.01 * k] for k in range(5)]
    assert carriers(with_information(shares), ["hue"]).sentences == [
        "hue is shared by codes 0 (0.90 of its entropy), 1 (0.89), 2 (0.88), 3 (0.87), 4 (0.86), 5 (0.85) and 2 more, "
        "and less by codes 8 (0.40), 9 (0.39), 10 (0.38) and 2 more"
    ]
    told = carriers(with_information([[0.5, 0.5]] * 15), ["hue", "x"]).sentences[2:]
    assert told[0] == "code 0 carries 2 factors: hue and x"
    assert told[MOST_SEVERAL:] == [f"{15 - MOST_SEVERAL} more codes carry several factors each"]


@pytest.mark.parametrize(("share", "sentence", "is_dead"), [
    (DEAD - 1e-6, "no code carries", True), (DEAD, "no code carries", False),
    (CARRIES - 1e-6, "no code carries", False), (CARRIES, "factor 0 is carried by code 0", False),
])  # fmt: skip
def test_limits_are_where_the_rule_says(share: float, sentence: str, is_dead: bool) -> None:
    told = carriers(with_information([[share], [0.0]], key={"metrics": {"mig": {"settings": {}}}}))
    assert told.sentences[0].startswith(sentence)
    assert told.dead == ({0, 1} if is_dead else {1})


def test_few_samples_raise_the_limits_by_what_chance_shows() -> None:
    few = {"metrics": {"mig": {"settings": {"bins": 20, "num_train": 100}}}}
    chance = 19 * (2.718281828 - 1) / 200
    assert carriers(with_information([[chance + DEAD - 0.001]], key=few)).dead == {0}
    told = carriers(with_information([[chance + DEAD + 0.001]], key=few))
    assert not told.dead
    assert f"by chance alone: up to {chance:.3f}" in told.rule


def test_independent_codes_of_few_rows_carry_nothing() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(256, 3, generator=generator)
    report = score_codes(codes, FACTORS_OF_TINY, metrics="mig,modularity")
    told = carriers(json.loads(report.to_json()), FACTORS)
    assert told.dead == {0, 1, 2}
    assert all(sentence.startswith("no code carries") for sentence in told.sentences[:3])


def test_maps_are_of_factors_by_codes_with_dead_codes_marked(record: dict[str, Any]) -> None:
    found = {matrix.metric: matrix for matrix in matrices(record)}
    assert [matrix.metric for matrix in matrices(record)][:2] == ["mig", "dci"]
    assert set(found) == {"mig", "dci", "factor_vae", "sap", "irs", "modularity"}  # not what codes know of each other
    importance = record["details"]["dci"]["importance"]
    assert found["dci"].cells == [list(column) for column in zip(*importance, strict=True)]
    votes = record["details"]["factor_vae"]["votes_eval"]
    assert found["factor_vae"].cells[1] == [n / sum(votes[1]) for n in votes[1]]
    for rows in (record["details"]["mig"]["mutual_information"], importance):
        rows[2] = [0.0, 0.0, 0.0]
    seen = Seen(written(record))
    assert "code 2 is dead" in seen.text
    assert "2dead" in seen.text
    cells = [a for tag, a in seen.elements if tag == "td" and (a.get("title") or "").startswith("code 2, ")]
    assert cells
    assert all("dead" in (a["class"] or "") for a in cells if a["class"] != "none")


def test_robustness_leaves_constant_codes_out(record: dict[str, Any]) -> None:
    record["details"]["irs"] = {"codes": [0, 2], "matrix": [[0.9, 0.1, 0.2], [0.0, 0.3, 0.8]]}
    matrix = next(matrix for matrix in matrices(record) if matrix.metric == "irs")
    assert matrix.cells == [[0.9, None, 0.0], [0.1, None, 0.3], [0.2, None, 0.8]]
    assert "code 1, x: no number" in written(record)


@pytest.mark.parametrize("broken", [[], [[]], [[1.0], [1.0, 2.0]], [["a"]], [[True, False, True]] * 3, 3, None,
                                    [[float("nan")] * 3] * 3])  # fmt: skip
def test_details_that_are_no_matrix_are_passed_over(record: dict[str, Any], broken: Any) -> None:
    record["details"] = {metric: dict.fromkeys(detail, broken) for metric, detail in record["details"].items()}
    record["details"] = {
        metric: {k: v for k, v in d.items() if k != "remarks"} for metric, d in record["details"].items()
    }
    assert matrices(record) == []
    assert "No metric that ran leaves a matrix" in written(record)


def test_a_plug_ins_matrix_is_shown_if_it_is_of_codes_and_factors(record: dict[str, Any]) -> None:
    record["model"]["n_codes"] = 4
    record["details"]["theirs"] = {"how_much": [[0.0, 1.0, 2.0]] * 4, "other": [[1.0, 2.0]] * 4}
    assert [m.title for m in matrices(record) if m.metric == "theirs"] == ["how much"]
    record["scores"]["theirs"] = {"value": -3.0, "status": "ok", "reason": ""}
    assert "of a metric that is not installed here" in written(record)


def test_of_very_many_codes_those_that_hold_most_are_shown(record: dict[str, Any]) -> None:
    n = MOST_CODES + 5
    record["details"] = {
        "mig": {"mutual_information": [[0.001 * k, 0.0, 0.0] for k in range(n)], "entropy": [1.0, 1.0, 1.0]}
    }
    seen = Seen(written(record))
    assert "5 codes that hold less are left out." in seen.text
    shown = {(a.get("title") or "").split(",")[0] for tag, a in seen.elements if tag == "td"}
    assert f"code {n - 1}" in shown
    assert "code 4" not in shown


def test_factors_without_names_have_numbers(record: dict[str, Any]) -> None:
    assert "factor 2" in written(record, factor_names=None)
    assert "factor 2" in written(record, factor_names=("too", "few"))


def test_pictures_are_part_of_the_page(record: dict[str, Any]) -> None:
    seen = Seen(written(record, images={"reconstructions": png(), "traversals": png(5, 7)}))
    pictures = [a for tag, a in seen.elements if tag == "img"]
    assert [(a["alt"], a["width"], a["height"]) for a in pictures] == [
        ("reconstructions", "3", "2"),
        ("traversals", "5", "7"),
    ]
    assert "because" in Seen(written(record, no_images="because")).text


@pytest.mark.parametrize("part", ["model", "sample", "scores", "details", "run", "key"])
@pytest.mark.parametrize("instead", [[], {"a": 1}, "text", None])
def test_a_record_that_does_not_keep_to_its_schema_is_an_error(record: dict[str, Any], part: str, instead: Any) -> None:
    if part in ("details", "scores") and isinstance(instead, dict):
        instead = {"mig": 3}
    record[part] = instead
    with pytest.raises(DisbenchError, match="does not keep to its schema"):
        written(record)


def test_the_same_record_gives_the_same_page(record: dict[str, Any]) -> None:
    assert written(record) == written(json.loads(json.dumps(record)))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_phone_does_not_scroll_sideways(record: dict[str, Any], tmp_path: Path) -> None:
    record["model"]["name"] = "x" * 300
    record["details"]["mig"] = {"mutual_information": [[0.5] * 3] * 60, "entropy": [1.0] * 3}
    said = written(record, images={"traversals": png(900, 20)}, factor_names=("a_very_long_name_of_a_factor", "x", "y"))
    measuring = (
        "<script>parent.postMessage(innerWidth + ' ' + document.documentElement.scrollWidth, '*')</script></body>"
    )
    path, phone = tmp_path / "page.html", tmp_path / "phone.html"
    path.write_text(re.sub("<meta http-equiv[^>]*>", "", said).replace("</body>", measuring))
    phone.write_text(
        "<script>onmessage = event => { document.title = event.data }</script>"
        f"<iframe width=390 height=800 src={path.name}></iframe>"
    )
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path}/profile",
    ]
    command = ["chromium", *options, "--virtual-time-budget=3000", "--dump-dom", phone.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    width, scrolled = re.search(r"<title>(\d+) (\d+)</title>", found.stdout).groups()  # type: ignore[union-attr]
    assert (int(width), int(scrolled)) == (390, 390)
