"""`prepare` makes a data set whole or not at all, whatever happens meanwhile; MappedRows reads it in little memory."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import disbench
from disbench.datasets import _preparing as preparing
from disbench.datasets._prepared import MappedRows, open_prepared
from disbench.datasets._preparing import prepare
from disbench.datasets._recipe import Recipe, Slabs, Source, read_notes
from disbench.errors import DisbenchError, UsageError
from disbench.sources import SourceFile
from disbench.types import DatasetSpec, Factor, FactorSpace
from tests.datasets.miniatures import pictures

SPEC = DatasetSpec(
    name="toy",
    summary="noise",
    space=FactorSpace((Factor("row", 4), Factor("column", 5))),
    image_shape=(8, 8, 3),
    licence="none",
    citation="none",
    homepage="none",
)
N = len(SPEC.space)
IMAGES = pictures(N, SPEC.image_shape)
CONTENT = b"the source file"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = SourceFile("set.bin", urls=("http://127.0.0.1:9/set.bin",), size=len(CONTENT), sha256=SHA256)
FOLDER = SourceFile("pictures", page="its page", is_folder=True)


def in_slabs(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    for start in range(0, N, 3):
        yield IMAGES[start : start + 3]


def recipe_of(read: Callable[[Mapping[str, Path], DatasetSpec], Slabs] = in_slabs) -> Recipe:
    return Recipe(SPEC, (Source((FILE,), read), Source((FOLDER,), read)), resize="to 8 x 8, bilinear")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the source file; the cache beside it."""
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DISBENCH_DATA", raising=False)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "set.bin").write_bytes(CONTENT)
    return tmp_path / "here"


def left(recipe: Recipe) -> set[str]:
    """What lies where data sets are prepared, locks apart."""
    return {path.name for path in recipe.folder.parent.iterdir() if path.suffix != ".lock"}


def assert_whole(recipe: Recipe, images: np.ndarray = IMAGES) -> None:
    notes = read_notes(recipe)
    assert notes is not None
    rows = np.load(recipe.folder / "images.npy")
    np.testing.assert_array_equal(rows, images)
    assert notes["arrays"]["images.npy"]["sha256"] == hashlib.sha256(rows.tobytes()).hexdigest()
    assert left(recipe) == {"toy"}


def test_rows_in_order_and_notes_of_what_they_were_made_of(folder: Path) -> None:
    recipe = recipe_of()
    assert read_notes(recipe) is None
    assert prepare(recipe, source=folder / "set.bin", progress=False) == recipe.folder
    assert_whole(recipe)
    notes = json.loads((recipe.folder / "prepared.json").read_text())
    assert notes["sources"] == [{"name": "set.bin", "bytes": 15, "sha256": SHA256, "verified_by": "hash"}]
    assert notes["recipe"]["resize"] == "to 8 x 8, bilinear"
    assert notes["recipe"]["factors"] == [["row", 4], ["column", 5]]
    assert notes["versions"]["disbench"] == disbench.__version__
    assert notes["versions"]["numpy"] == np.__version__
    assert set(notes["versions"]) == {"disbench", "numpy", "pillow", "h5py"}
    np.testing.assert_allclose(notes["mean"], IMAGES.mean((0, 1, 2)) / 255, rtol=1e-12)
    dataset = open_prepared(recipe)
    number = 3 * 5 + 2
    assert dataset.factors(torch.tensor([number])).tolist() == [[3, 2]]
    np.testing.assert_array_equal(dataset.images(torch.tensor([number])).numpy()[0], IMAGES[number])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, MemoryError, DisbenchError])
@pytest.mark.parametrize("is_there", [False, True])
def test_an_error_half_way_leaves_what_was_there(folder: Path, error: type[BaseException], is_there: bool) -> None:
    def broken(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
        yield IMAGES[:7]
        raise error("half-way")

    recipe = recipe_of(broken)
    if is_there:
        prepare(recipe_of(), source=folder, progress=False)
    with pytest.raises(error, match="half-way"):
        prepare(recipe, source=folder, progress=False)
    assert left(recipe) == ({"toy"} if is_there else set())
    if not is_there:
        assert read_notes(recipe) is None
    prepare(recipe_of(), data_dir=folder, progress=False)
    assert_whole(recipe)


def test_a_full_disk_half_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DisbenchError, match=r"toy could not be prepared in .*No space left.*DISBENCH_CACHE"):
        prepare(recipe_of(), source=folder, progress=False)
    assert left(recipe_of()) == set()


SLOW = """
import sys, time
from pathlib import Path
from tests.datasets import test_preparing as t

def slowly(paths, spec):
    print("begun", flush=True)
    for start in range(0, t.N, 2):
        yield t.IMAGES[start : start + 2]
        time.sleep(float(sys.argv[2]))

t.prepare(t.recipe_of(slowly), data_dir=Path(sys.argv[1]), progress=False)
print("done", flush=True)
"""


def start(folder: Path, pause: float) -> subprocess.Popen[str]:
    """Another process that prepares slowly."""
    script = folder / "slow.py"
    script.write_text(SLOW)
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(pause)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_killed_at_any_moment(folder: Path) -> None:
    recipe = recipe_of()
    moments = random.Random(0)
    for _ in range(3):
        shutil.rmtree(recipe.folder, ignore_errors=True)
        with start(folder, 0.01) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "begun\n"
            time.sleep(moments.uniform(0, 0.15))
            child.kill()
        if read_notes(recipe) is None:
            assert not recipe.folder.exists()
            prepare(recipe, data_dir=folder, progress=False)
        assert_whole(recipe)


@pytest.mark.parametrize("n_renames", [0, 1])
def test_killed_while_taking_the_place_of_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n_renames: int
) -> None:
    class Killed(BaseException):
        pass

    recipe = recipe_of()
    prepare(recipe, data_dir=folder, progress=False)
    rename, calls = os.rename, iter(range(10))

    def killed(old: Path, new: Path) -> None:
        if next(calls) == n_renames:
            raise Killed
        rename(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        patched.setattr(shutil, "rmtree", lambda *args, **options: None)  # a killed process cleans nothing up
        with pytest.raises(Killed):
            prepare(recipe, source=folder, progress=False)
    assert left(recipe) == ({"toy", "toy.part"} if n_renames == 0 else {"toy.old", "toy.part"})
    assert (read_notes(recipe) is None) == (n_renames == 1)
    prepare(recipe, source=folder, progress=False)
    assert_whole(recipe)


def test_leftovers_go_before_room_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of()
    for name in ("toy.part", "toy.old"):
        (recipe.folder.parent / name).mkdir(parents=True)
        (recipe.folder.parent / name / "images.npy").write_bytes(b"left")
    measured: list[set[str]] = []

    def usage(_: Path) -> object:
        measured.append(left(recipe))
        return Usage(0, 0, 1 << 40)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    prepare(recipe, data_dir=folder, progress=False)
    assert measured[-1] == set()
    assert_whole(recipe)


def _truncate(folder: Path) -> None:
    os.truncate(folder / "images.npy", 1000)


def _lengthen(folder: Path) -> None:
    with open(folder / "images.npy", "ab") as file:
        file.write(b"x")


def _cut_notes(folder: Path) -> None:
    os.truncate(folder / "prepared.json", 200)


def _empty_notes(folder: Path) -> None:
    (folder / "prepared.json").write_text("[]")


def _no_notes(folder: Path) -> None:
    (folder / "prepared.json").unlink()


def _no_images(folder: Path) -> None:
    (folder / "images.npy").unlink()


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


@pytest.mark.parametrize("damage", [_truncate, _lengthen, _cut_notes, _empty_notes, _no_notes, _no_images, _a_file])
def test_what_is_damaged_is_not_taken_for_whole(folder: Path, damage: Callable[[Path], None]) -> None:
    recipe = recipe_of()
    for _ in range(2):
        prepare(recipe, data_dir=folder, progress=False)
        damage(recipe.folder)
        assert read_notes(recipe) is None
    open_prepared(recipe, folder)
    assert_whole(recipe)


def test_another_version_of_the_recipe_is_made_anew(folder: Path) -> None:
    prepare(recipe_of(), data_dir=folder, progress=False)
    newer = replace(recipe_of(lambda paths, spec: iter([IMAGES[::-1]])), version=2)
    assert read_notes(newer) is None
    prepare(newer, data_dir=folder, progress=False)
    assert_whole(newer, IMAGES[::-1])


def test_two_processes_at_once(folder: Path) -> None:
    first = start(folder, 0.05)
    assert first.stdout is not None
    assert first.stdout.readline() == "begun\n"
    second = start(folder, 0.05)
    outputs = [child.communicate(timeout=60)[0] for child in (first, second)]
    assert outputs == ["done\n", "done\n"]  # the second waited and had nothing to begin
    assert (first.returncode, second.returncode) == (0, 0)
    assert_whole(recipe_of())


def never(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    raise AssertionError("files were read")


Usage = namedtuple("Usage", "total used free")


def test_no_room_is_said_before_anything_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(recipe_of(never), n_images=1 << 20)  # 201 MB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 200 << 20))
    monkeypatch.setattr(preparing.sources, "verify", never)
    with pytest.raises(UsageError, match=r"preparing toy takes 201.3 MB, and .* has 209.7 MB free; make room"):
        prepare(recipe, source=folder, progress=False)
    assert left(recipe) == set()


def test_no_room_for_the_download_and_the_prepared_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = Source((replace(FILE, size=300 << 20),), never)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 300 << 20))
    monkeypatch.setattr(preparing.sources, "download", never)
    with pytest.raises(UsageError, match=r"downloading and preparing toy takes 314.6 MB.*make room"):
        prepare(replace(recipe_of(), sources=(large,)), progress=False)


def test_what_is_prepared_needs_no_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(recipe_of(), data_dir=folder, progress=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 0))
    assert prepare(recipe_of(never), data_dir=folder, progress=False) == recipe_of().folder


@pytest.mark.parametrize("where", ["file/cache", "file", "/proc/disbench"])
def test_a_cache_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    if where.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("needs /proc")
    (folder / "file").write_text("a regular file")
    monkeypatch.setenv("DISBENCH_CACHE", str(folder / where))
    with pytest.raises(UsageError, match=r"cannot be written \(.*\); name another with DISBENCH_CACHE"):
        prepare(recipe_of(never), source=folder, progress=False)
    with pytest.raises(UsageError, match="DISBENCH_CACHE"):
        open_prepared(recipe_of(never), folder)


def test_a_folder_in_the_cache_that_cannot_be_written(folder: Path) -> None:
    recipe = recipe_of(never)
    recipe.folder.parent.parent.mkdir()
    recipe.folder.parent.write_text("a regular file")
    with pytest.raises(UsageError, match=r"prepared cannot be written \(.*\); name another with DISBENCH_CACHE"):
        prepare(recipe, source=folder, progress=False)


@pytest.mark.parametrize(
    ("slabs", "message"),
    [
        ([IMAGES[:-1]], "toy holds 19 images and should hold 20"),
        ([], "toy holds 0 images and should hold 20"),
        ([IMAGES, IMAGES[:1]], "toy holds more than 20 images and should hold 20"),
        ([IMAGES[:7], np.concatenate([IMAGES, IMAGES])], "toy holds more than 20 images and should hold 20"),
        ([IMAGES.astype(np.int64)], r"toy: rows came as int64 \(8, 8, 3\); expected uint8 \(8, 8, 3\)"),
        ([IMAGES.astype(np.float32)], "toy: rows came as float32"),
        ([IMAGES[:, :7]], r"toy: rows came as uint8 \(7, 8, 3\); expected uint8 \(8, 8, 3\)"),
        ([IMAGES[:3], IMAGES[3:, ..., 0]], r"toy: rows came as uint8 \(8, 8\); expected uint8 \(8, 8, 3\)"),
    ],
)
def test_other_rows_than_expected(folder: Path, slabs: list[np.ndarray], message: str) -> None:
    recipe = recipe_of(lambda paths, spec: iter(slabs))
    with pytest.raises(DisbenchError, match=message):
        prepare(recipe, source=folder, progress=False)
    assert left(recipe) == set()
    assert read_notes(recipe) is None


def test_endless_rows_are_not_written(folder: Path) -> None:
    def endless(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
        while True:
            yield IMAGES

    with pytest.raises(DisbenchError, match="more than 20 images"):
        prepare(recipe_of(endless), source=folder, progress=False)


def test_from(folder: Path, tmp_path: Path) -> None:
    seen: list[Mapping[str, Path]] = []

    def noted(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
        seen.append(paths)
        yield IMAGES

    recipe = recipe_of(noted)
    wanted = r"expected a file or a folder with\n  set.bin\n  or pictures"
    with pytest.raises(UsageError, match=f"there is nothing at {folder / 'gone'}; {wanted}"):
        prepare(recipe, source=folder / "gone", progress=False)
    (tmp_path / "empty").mkdir()
    (folder / "set.zip").write_bytes(CONTENT)
    with pytest.raises(UsageError, match=f"set.zip is not what toy is made of; {wanted}"):
        prepare(recipe, source=folder / "set.zip", progress=False)
    (folder / "mine.bin").write_bytes(CONTENT)
    prepare(recipe, source=folder / "mine.bin", progress=False)
    prepare(recipe, source=folder / "set.bin", progress=False)
    prepare(recipe, source=folder, progress=False)
    assert seen == [{"set.bin": folder / "mine.bin"}, {"set.bin": folder / "set.bin"}, {"set.bin": folder / "set.bin"}]
    (folder / "mine.bin").write_bytes(b"something else!")
    with pytest.raises(DisbenchError, match=r"mine.bin is not set.bin as it was published.*fetch it again"):
        prepare(recipe, source=folder / "mine.bin", progress=False)
    assert_whole(recipe)


def test_from_a_folder_without_the_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    recipe = replace(recipe_of(), sources=(Source((FILE, replace(FILE, name="more.bin")), never),))
    for path in (tmp_path / "empty", folder, folder / "set.bin"):
        with pytest.raises(UsageError, match=rf"{path} is not what toy is made of; .*\n  set.bin, more.bin"):
            prepare(recipe, source=path, progress=False)


def test_from_a_folder_of_pictures(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    seen: list[Path] = []

    def noted(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
        seen.append(paths["pictures"])
        yield IMAGES

    recipe = replace(recipe_of(), sources=(Source((FOLDER,), noted),))
    prepare(recipe, source=tmp_path / "mine", progress=False)
    (tmp_path / "pictures").mkdir()
    prepare(recipe, source=tmp_path, progress=False)
    assert seen == [tmp_path / "mine", tmp_path / "pictures"]


def test_files_that_no_program_can_fetch(folder: Path) -> None:
    by_hand = replace(FILE, urls=(), page="https://example.org/set")
    recipe = replace(recipe_of(), sources=(Source((by_hand,), never),))
    with pytest.raises(UsageError) as caught:
        prepare(recipe, progress=False)
    for part in (f"set.bin (15 bytes, sha256 {SHA256})", "from https://example.org/set", "downloads", "--from PATH"):
        assert part in str(caught.value)


# Reading


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 MB: row i is full of the bytes of the number i."""
    path = tmp_path_factory.mktemp("rows") / "images.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (N_ROWS, 32, 32, 4)}
        )
        for first in range(0, N_ROWS, 1000):
            numbers = np.arange(first, min(first + 1000, N_ROWS), dtype="<u4")
            file.write(np.repeat(numbers[:, None], 32 * 32, axis=1).tobytes())
    return path


N_ROWS = 300_000_000 // 4096


def mapped_kilobytes() -> int:
    """What this process holds of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("step", [1, 3])
def test_a_pass_in_order_gives_back_what_lies_behind(large: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(MappedRows, "_HELD", 32 << 20)
    rows = MappedRows(large)
    assert len(rows) == N_ROWS
    before, peak = mapped_kilobytes(), 0
    for index in torch.arange(0, N_ROWS, step).split(256):
        numbers = rows(index).numpy().reshape(len(index), -1).view("<u4")
        assert (numbers == index.numpy()[:, None]).all()
        peak = max(peak, mapped_kilobytes() - before)
    assert peak < 80 << 10


def test_rows_at_random(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MappedRows, "_HELD", 0)
    rows, generator = MappedRows(large), torch.Generator().manual_seed(0)
    for n in (1, 256, 1000):
        index = torch.randint(N_ROWS, (n,), generator=generator)
        numbers = rows(index).numpy().reshape(n, -1).view("<u4")
        assert (numbers == index.numpy()[:, None]).all()
    with pytest.raises(IndexError):
        rows(torch.tensor([2, N_ROWS]))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_reading_in_order_holds_little(large: Path) -> None:
    rows = MappedRows(large)
    before, peak, n_read = mapped_kilobytes(), 0, 0
    for some in rows.in_order(2000):
        numbers = some.reshape(len(some), -1).view("<u4")
        assert (numbers == np.arange(n_read, n_read + len(some))[:, None]).all()
        n_read += len(some)
        peak = max(peak, mapped_kilobytes() - before)
    assert n_read == N_ROWS
    assert peak < 32 << 10
