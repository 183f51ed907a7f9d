"""Data sets that hide factors or serve signals, and the baselines that can be scored on any of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from disbench import UsageError, evaluate, load_dataset, load_model
from disbench.baselines import BASELINES
from disbench.images import to_images
from disbench.pictures import samples_and_traversals
from disbench.testing import check_dataset
from disbench.types import Factor, FactorSpace
from tests.conftest import TINY, TinyDataset, perfect_codes


class HiddenBackground(TinyDataset):
    """Seven backgrounds that are no factor."""

    spec = replace(TinyDataset.spec, n_hidden=7)

    def __len__(self) -> int:
        return self.spec.n_images

    def factors(self, index: Tensor) -> Tensor:
        return self.spec.values(index)

    def images(self, index: Tensor) -> Tensor:
        pixels = super().images(index % len(TINY))
        self.served[-1] = index
        return torch.maximum(pixels, (index // len(TINY)).to(torch.uint8)[:, None, None, None])


def test_what_a_grid_hides_is_drawn_anew_for_each_image(tmp_path: Path) -> None:
    dataset = HiddenBackground()
    report = evaluate(perfect_codes, dataset, metrics="mig", settings={"mig.num_train": 2000}, codes_out=tmp_path / "c")
    assert report.scores["mig"] > 0.9
    table = np.load(tmp_path / "c")
    hidden, counts = np.unique(table["index"] // len(TINY), return_counts=True)
    assert hidden.tolist() == list(range(7))
    assert counts.min() > 0.6 * counts.max()
    assert (TINY.values(torch.from_numpy(table["index"] % len(TINY))).numpy() == table["factors"]).all()
    again = evaluate(perfect_codes, dataset, metrics="mig,dci", settings={"mig.num_train": 2000, "dci.num_train": 50})
    assert again.scores["mig"] == report.scores["mig"]


class Signals:
    """A ramp of one of three slopes and five offsets, float32 (n, 32, 1)."""

    spec = replace(
        TinyDataset.spec,
        name="signals",
        space=FactorSpace((Factor("slope", 3, "ordinal"), Factor("offset", 5, "ordinal"))),
        image_shape=(32, 1),
        dtype="float32",
    )
    content_hash = "1" * 64

    def __len__(self) -> int:
        return 15

    def factors(self, index: Tensor) -> Tensor:
        return self.spec.values(index)

    def images(self, index: Tensor) -> Tensor:
        slope, offset = self.factors(index).float().unbind(1)
        return (slope[:, None] * torch.arange(32) + 100 * offset[:, None])[..., None]


def test_signals_reach_the_model_as_they_are() -> None:
    def encode(images: Tensor) -> Tensor:
        assert images.dtype == torch.float32
        assert images.shape[1:] == (1, 32)
        return torch.stack([images[:, 0, 1] - images[:, 0, 0], images[:, 0, 0]], dim=1)

    check_dataset(Signals())
    report = evaluate(encode, Signals(), metrics="mig", settings={"mig.num_train": 300}, input_range=(-1, 1))
    assert report.scores["mig"] > 0.9


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_score_any_data_set(name: str, tiny: TinyDataset) -> None:
    for dataset, metric in ((tiny, "mig"), (Signals(), "mig")):
        reports = [evaluate(name, dataset, metrics=metric, settings={"mig.num_train": 300}) for _ in range(2)]
        assert reports[0].scores == reports[1].scores
        described = reports[0].record["model"]
        assert described["name"] == name
        assert described["content_hash"] == reports[1].record["model"]["content_hash"]
        assert described["train"]["dataset"] == dataset.spec.name


def test_a_baseline_is_the_same_model_whatever_the_machine_rounds(
    tiny: TinyDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content hash is that of recipe and data set: another number of threads makes other last bits."""
    first = load_model("pca10").fitted(tiny).content_hash
    assert load_model("random_conv10").fitted(tiny).content_hash != first
    monkeypatch.setattr(TinyDataset, "content_hash", "2" * 64)
    assert load_model("pca10").fitted(TinyDataset()).content_hash != first


def test_pca_finds_the_axes_of_most_variance(tiny: TinyDataset) -> None:
    """Uncorrelated codes with the variances of the covariance's largest eigenvalues, in float64."""
    for dataset in (tiny, Signals()):
        images = to_images(dataset.images(torch.arange(len(dataset))))
        codes = BASELINES["pca10"].make(dataset)(images).double().numpy()
        covariance = np.cov(codes.T)
        expected = np.linalg.eigvalsh(np.cov(images.flatten(1).double().numpy().T))[::-1][:10]
        np.testing.assert_allclose(np.diag(covariance), expected, rtol=0.05, atol=1e-6 * expected[0])
        np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3 * expected[0])


def test_sheets_of_signals_and_of_hidden_factors() -> None:
    """Samples, samples, a row a factor, and one more where something is hidden."""
    assert samples_and_traversals(Signals()).height == 4 * (64 + 2)
    assert samples_and_traversals(HiddenBackground()).height == 6 * (8 + 2)


def test_small_data_sets_bring_a_caution(tiny: TinyDataset, capsys: pytest.CaptureFixture[str]) -> None:
    for n_train, is_said in ((255, False), (256, True)):
        sizes = {"dci.num_train": n_train, "dci.num_test": 50, "dci.stages": 1}
        evaluate(perfect_codes, tiny, metrics="dci", settings=sizes, progress=True)
        assert ("test samples are training samples, too" in capsys.readouterr().err) == is_said


def test_random_codes_vary(tiny: TinyDataset) -> None:
    """Or no code would vote in a FactorVAE score."""
    for dataset in (tiny, Signals()):
        codes = BASELINES["random_conv10"].make(dataset)(to_images(dataset.images(torch.arange(len(dataset)))))
        assert codes.std(0).min() > 0.5


def test_what_is_no_data_set_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got tuple. Arrays become one by disbench.datasets.from_arrays"):
        evaluate(perfect_codes, (1, 2))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"there is no data file or folder at nowhere.npz"):
        evaluate(perfect_codes, "nowhere.npz")
    with pytest.raises(UsageError, match="there is no folder /nowhere"):
        load_dataset("rooms3d", "/nowhere")
    with pytest.raises(UsageError, match="did you mean 'rooms3d'"):
        load_dataset("Rooms3D")
