"""Checkpoints: plain tensors in, plain tensors out, nothing executed."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from disbench import DisbenchError, UsageError, evaluate, load_model
from disbench.checkpoint import FORMAT, Checkpoint, load, save
from disbench.registry import models
from tests.conftest import TinyDataset


def a_checkpoint() -> Checkpoint:
    entry = models()["beta_vae"]
    state = {k: v.half() for k, v in entry.build(entry.config()).state_dict().items()}
    return Checkpoint("beta_vae", {"beta": 2.0}, state, {"train_seed": 3, "dataset": "rooms3d"})


def test_round_trip_and_content_hash(tmp_path: Path) -> None:
    checkpoint = a_checkpoint()
    for name in ("a.pt", "b.pt"):
        save(checkpoint, tmp_path / name)
    loaded = load(tmp_path / "a.pt")
    assert loaded.config == checkpoint.config
    assert loaded.content_hash == checkpoint.content_hash == load(tmp_path / "b.pt").content_hash
    other = Checkpoint(checkpoint.model, {"beta": 3.0}, checkpoint.state_dict, checkpoint.train)
    assert other.content_hash != checkpoint.content_hash
    model = load_model(tmp_path / "a.pt")
    assert (model.name, model.train["train_seed"]) == ("a", 3)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 10)


def test_a_run_folder_stands_for_its_checkpoint(tmp_path: Path) -> None:
    save(a_checkpoint(), tmp_path / "ckpt.pt")
    assert load_model(tmp_path).name == tmp_path.name


@pytest.mark.filterwarnings("ignore")  # of torch, about TorchScript
def test_another_method_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: TinyDataset) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "some:run"
    run.mkdir()
    save(a_checkpoint(), run / "ckpt.pt")
    whole = load_model(run)
    images = torch.rand(2, 3, 64, 64)
    monkeypatch.setattr(type(whole.module), "halves", lambda self, x: self(x).unflatten(1, (2, 5)), raising=False)
    assert load_model("some:run").name == "some:run"
    hashes = {whole.content_hash}
    for source in ("some:run:halves", f"{run / 'ckpt.pt'}:halves"):
        model = load_model(source)
        assert model.name == "some:run:halves"
        assert (model.decode, model.generate, model.train) == (None, None, whole.train)
        with model.ready(torch.device("cpu")), whole.ready(torch.device("cpu")):
            assert torch.equal(model(images).flatten(1), whole(images))
        hashes.add(model.content_hash)
    assert len(hashes) == 2
    torch.jit.script(torch.nn.Linear(2, 2)).save("archive.pt")
    (tmp_path / "runs/begun").mkdir(parents=True)
    for source, sentence in (
        ("some:run:halfs", "has no method 'halfs'; did you mean 'halves'"),
        ("some:run:_call_impl", "has no method '_call_impl'; known: "),
        ("some:run:parameters", "has no method 'parameters'"),
        ("archive.pt:halves", "is an archive, of which 'halves' cannot be taken"),
        ("runs/begun:halves", "whose method 'halves' could be scored: has its training finished"),
        ("runs/none:halves", "whose method 'halves' could be scored: there is no runs/none"),
    ):
        with pytest.raises(UsageError, match=sentence):
            load_model(source)


class Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": FORMAT, "model": Hostile()}, "hostile.pt")
    Path("bare.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("hostile.pt", "bare.pt"):
        with pytest.raises(DisbenchError, match="would run code"):
            load_model(name)
    assert not Path("executed").exists()


@pytest.mark.parametrize("kind", ["export", "script", "frozen"])
@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
@pytest.mark.filterwarnings("ignore")  # of torch, about TorchScript and file names
def test_archives_need_trust(kind: str, suffix: str, tmp_path: Path, tiny: TinyDataset) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    path = tmp_path / f"model{suffix}"
    if kind == "export":
        shapes = ({0: torch.export.Dim("n", min=1)},)
        torch.export.save(torch.export.export(module, (torch.rand(4, 1, 8, 8),), dynamic_shapes=shapes), path)
    else:
        script = torch.jit.script(module)
        torch.jit.save(torch.jit.freeze(script) if kind == "frozen" else script, path)
    with pytest.raises(DisbenchError, match="--trust"):
        load_model(path)
    few = {"metrics": "mig", "settings": {"mig.num_train": 100}}
    found = evaluate(str(path), tiny, trust=True, **few)  # type: ignore[arg-type]
    assert found.scores == evaluate(module, tiny, **few).scores  # type: ignore[arg-type]
    assert len(found.record["model"]["content_hash"]) == 64


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    save(a_checkpoint(), whole)
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(whole.read_bytes()[:5000])
    empty = tmp_path / "empty.pt"
    empty.write_bytes(b"")
    state_dict = tmp_path / "state_dict.pt"
    torch.save({"weight": torch.zeros(2)}, state_dict)
    a_zip = tmp_path / "zip.pt"
    with zipfile.ZipFile(a_zip, "w") as archive:
        archive.writestr("hello", "world")
    parts = {"format": FORMAT, "model": "beta_vae", "config": {}, "state_dict": {}, "train": {}}
    wrong_parts = []
    for part, value in (("model", 3), ("config", [1]), ("state_dict", {"a": "b"}), ("train", None)):
        wrong_parts.append(tmp_path / f"wrong_{part}.pt")
        torch.save({**parts, part: value}, wrong_parts[-1])
    for path in (truncated, empty, state_dict, a_zip, *wrong_parts):
        with pytest.raises(DisbenchError) as caught:
            load_model(path)
        assert str(path) in str(caught.value)
    with pytest.raises(UsageError, match="there is no model file"):
        load_model(tmp_path / "missing.pt")


def test_tensors_that_do_not_fit(tmp_path: Path) -> None:
    checkpoint = a_checkpoint()
    save(Checkpoint("beta_vae", {"n_codes": 3}, checkpoint.state_dict, {}), tmp_path / "a.pt")
    with pytest.raises(DisbenchError, match="do not fit"):
        load_model(tmp_path / "a.pt")
    save(Checkpoint("beta_vea", {}, {}, {}), tmp_path / "b.pt")
    with pytest.raises(UsageError, match="did you mean 'beta_vae'"):
        load_model(tmp_path / "b.pt")
