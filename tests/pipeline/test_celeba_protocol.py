"""celeba_encdiff2024 from end to end, on drawn faces in CelebA's own file format."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import disbench
from disbench.datasets import celeba
from disbench.datasets._prepared import open_prepared
from disbench.datasets._preparing import prepare
from disbench.protocols import PROTOCOLS
from disbench.types import Dataset
from tests.datasets.miniatures import recipe_for

N = 400
DRAWN = ("Wearing_Hat", "Eyeglasses", "Smiling", "Blond_Hair")  # what a face shows; the others are chance
PROTOCOL = "celeba_encdiff2024"


def face(bits: dict[str, int], rng: np.random.Generator) -> bytes:
    """178 x 218 pixels in colour, as a JPEG."""
    picture = Image.new("RGB", (178, 218), tuple(rng.integers(60, 200, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    skin = tuple((np.array([220, 180, 150]) + rng.integers(-25, 25, 3)).tolist())
    pen.ellipse((35, 50, 143, 200), fill=(230, 210, 90) if bits["Blond_Hair"] else (60, 40, 30))
    pen.ellipse((45, 70, 133, 195), fill=skin)
    pen.rectangle((25, 57, 153, 75), fill=(160, 20, 30) if bits["Wearing_Hat"] else skin)
    for left in (60, 95):
        pen.ellipse((left, 100, left + 24, 118), fill=(20, 20, 20) if bits["Eyeglasses"] else (240, 240, 240))
    pen.rectangle((65, 150, 113, 175), fill=(255, 255, 255) if bits["Smiling"] else (150, 60, 60))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=90)
    return content.getvalue()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Prepared from a zip of pictures and the text of attributes, as published."""
    folder = tmp_path_factory.mktemp("celeba")
    rng = np.random.default_rng(0)
    bits = (rng.random((N, 40)) < rng.uniform(0.05, 0.6, 40)).astype(int)
    columns = [celeba.ATTRIBUTES.index(name) for name in DRAWN]
    bits[:, columns] = rng.random((N, len(DRAWN))) < 0.4
    bits[:, celeba.ATTRIBUTES.index("Bald")] = 0  # an attribute with one class
    male, moustache = (celeba.ATTRIBUTES.index(name) for name in ("Male", "Mustache"))
    bits[:, moustache] = bits[:, male] & bits[:, moustache]
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for i, row in enumerate(bits, 1):
            shown = {name: int(row[column]) for name, column in zip(DRAWN, columns, strict=True)}
            archive.writestr(f"img_align_celeba/{i:06d}.jpg", face(shown, rng))
    rows = [f"{i:06d}.jpg" + "".join(f"{2 * bit - 1:3d}" for bit in row) for i, row in enumerate(bits, 1)]
    text = "\n".join([str(N), " ".join(celeba.ATTRIBUTES) + " ", *rows]) + "\n"
    (folder / "list_attr_celeba.txt").write_text(text)
    recipe = celeba.RECIPES["celeba"]
    small = recipe_for(replace(recipe, n_images=N), recipe.spec, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        prepare(small, source=folder)
        dataset = open_prepared(small, None)
    assert len(dataset) == N
    return dataset


class Mosaic:
    """Sees an image as 8 x 8 fields: 64 tokens, the mean colour of each; paints them back."""

    generated_from = "fields of random colours"

    def __call__(self, images: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(images, 8).flatten(2).transpose(1, 2).contiguous()

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).unflatten(2, (8, 8)).repeat_interleave(8, 2).repeat_interleave(8, 3)

    def generate(self, n: int, generator: torch.Generator) -> Tensor:
        return self.decode(torch.rand(n, 64, 3, generator=generator))


def colours(images: Tensor) -> Tensor:
    """A feature extractor: colours of 4 x 4 fields."""
    return torch.nn.functional.avg_pool2d(images, 16).flatten(1)


def small(**more: int) -> dict[str, object]:
    """Settings for 400 images and the extractor above."""
    changes: dict[str, object] = {}
    for name, settings in PROTOCOLS[PROTOCOL].settings.items():
        if name.startswith("tad"):
            changes[f"{name}.num_train"] = 200
        elif name != "lpips":
            changes[f"{name}.num_images"] = 300
        if "fid" in name:
            assert settings == {"num_images": 10_000}
            changes[f"{name}.features"] = f"{__file__}:colours"
    return changes | more


@pytest.fixture(scope="module")
def report(faces: Dataset) -> disbench.Report:
    return disbench.evaluate(Mosaic(), faces, protocol=PROTOCOL, settings=small())


def test_every_value_is_there(report: disbench.Report) -> None:
    assert report.complete
    names = {"tad", "tad@nashae", "tad@disdiff", "tad@encdiff", "tad@dyga", "tad@infodiffusion"}
    expected = names | {f"{name}.captured" for name in names} | {"mse", "psnr", "ssim", "rfid", "fid", "fid@disdiff"}
    assert {name for name, value in report.values.items() if value.status == "ok"} >= expected
    assert report.record["key"]["protocol"]["name"] == f"{PROTOCOL}+custom"


def test_what_is_drawn_is_captured(report: disbench.Report, faces: Dataset) -> None:
    rows = {row["attribute"]: row for row in report.details["tad"]["attributes"]}
    assert {name for name in DRAWN if rows[name]["captured"]} == set(DRAWN)
    assert report.scores["tad.captured"] == sum(row["captured"] for row in rows.values())
    assert not rows["Bald"]["captured"]
    assert any("Bald" in remark for remark in report.details["tad"]["remarks"])
    assert "Bald" in str(report)
    assert report.scores["tad"] == pytest.approx(
        sum(row["difference"] for row in rows.values() if row["captured"]), abs=1e-9
    )


def test_tokens_are_reduced_as_each_procedure_has_it(report: disbench.Report) -> None:
    """64 tokens of 3 colours: one code each, or three."""
    for name, n_codes in {"tad": 64, "tad@dyga": 64, "tad@encdiff": 192, "tad@disdiff": 192}.items():
        best = {row["code"] for row in report.details[name]["attributes"] if row.get("code") is not None}
        assert max(best) < n_codes
        assert report.record["key"]["metrics"][name]["reducer"] is None
    assert max(row["code"] for row in report.details["tad@encdiff"]["attributes"] if row["captured"]) >= 64


def test_images_are_compared_with_their_own_kind(report: disbench.Report) -> None:
    scores = report.scores
    assert scores["mse"] < 0.02
    assert scores["psnr"] > 17
    assert 0.3 < scores["ssim"] < 0.6
    assert scores["rfid"] < 1e-3 < 0.1 < scores["fid"]  # the mosaic keeps the colours of its fields
    assert scores["fid@disdiff"] == scores["fid"]  # with features of its own, it is the same


def test_the_record_says_what_was_conditioned_on_what(report: disbench.Report) -> None:
    made = json.loads(report.to_json())["sample"]["made"]
    assert made["reconstructions"]["by"] == "decode"
    assert made["reconstructions"]["conditioned_on"] == "the codes of the images that they are compared with"
    assert made["generation"]["conditioned_on"] == "fields of random colours"
    assert made["generation"]["num_images"] == 300
    assert "made     300 by generate from fields of random colours" in str(report)


def test_without_the_small_settings_it_says_what_is_too_few(faces: Dataset) -> None:
    report = disbench.evaluate(Mosaic(), faces, protocol=PROTOCOL)
    assert {value.status for value in report.values.values()} == {"not applicable"}
    assert "10,000 different images are wanted, and there are 400; --set '*.num_images=400'" in str(report)
    assert not report.complete  # nothing was computed


def test_fifty_thousand_images_are_a_protocol_of_their_own() -> None:
    few, many = (PROTOCOLS[name].settings for name in (PROTOCOL, f"{PROTOCOL}_50k"))
    assert {name: settings for name, settings in few.items() if name.startswith("tad")} == {
        name: settings for name, settings in many.items() if name.startswith("tad")
    }
    assert few["fid"]["num_images"] == 10_000
    assert many["fid"]["num_images"] == 50_000
    assert few.keys() == many.keys()
