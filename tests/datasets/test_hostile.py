"""Files that are damaged, wrong or meant to do harm: each is refused in a sentence, leaves nothing, takes no memory.

One small data set comes in four forms (npz, HDF5, a zip and a tar.gz of pictures); every bad file goes through the real
readers and `prepare`.
"""

from __future__ import annotations

import gzip
import io
import os
import resource
import struct
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from disbench import archives, arrays
from disbench.datasets import sprites
from disbench.datasets._preparing import prepare
from disbench.datasets._recipe import Recipe, Slabs, Source
from disbench.errors import DisbenchError, UsageError
from disbench.sources import SourceFile
from disbench.types import DatasetSpec, Factor, FactorSpace
from tests.datasets.miniatures import pictures

SPEC = DatasetSpec(
    name="toy",
    summary="noise",
    space=FactorSpace((Factor("row", 2), Factor("column", 3))),
    image_shape=(8, 8, 3),
    licence="none",
    citation="none",
    homepage="none",
)
N = len(SPEC.space)
SHAPE = (N, *SPEC.image_shape)
IMAGES = pictures(N, SPEC.image_shape)
LIMIT = 1 << 20  # bytes that the tar may unpack to
MEMBER_LIMIT = 1 << 12
MUCH = 256 << 20  # bytes that a bomb unpacks to


def _read_npz(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    shape = (len(spec.space), *spec.image_shape)
    yield from arrays.npz_array(paths["set.npz"], "images", shape, ("uint8",)).slabs()


def _read_hdf5(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    path, shape = paths["set.h5"], (len(spec.space), *spec.image_shape)
    with arrays.open_hdf5(path) as file:
        yield from arrays.hdf5_slabs(arrays.hdf5_array(path, file, "images", shape, ("uint8",)))


def _read_zip(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    with archives.open_zip(paths["set.zip"]) as archive:
        for number in range(len(spec.space)):
            with archive.open(f"{number}.png") as file:
                yield np.asarray(archives.open_picture(file, f"{number}.png", spec.image_shape[:2]))[None]  # type: ignore[arg-type]


def _read_tar(paths: Mapping[str, Path], spec: DatasetSpec) -> Slabs:
    for name, file in archives.tar_members(
        paths["set.tar.gz"], lambda name: name.endswith(".png"), LIMIT, MEMBER_LIMIT
    ):
        yield np.asarray(archives.open_picture(file, name, spec.image_shape[:2]))[None]  # type: ignore[arg-type]


RECIPE = Recipe(
    SPEC,
    (
        Source((SourceFile("set.npz"),), _read_npz),
        Source((SourceFile("set.h5"),), _read_hdf5),
        Source((SourceFile("set.zip"),), _read_zip),
        Source((SourceFile("set.tar.gz"),), _read_tar),
    ),
)


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "png")
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npy_header(shape: tuple[int, ...], descr: object = "|u1", is_fortran: bool = False) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": is_fortran, "shape": shape})
    return out.getvalue()


def write_zip(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def claim(path: Path, *, size: int | None = None, crc: int | None = None, flags: int | None = None) -> Path:
    """Let the directory of a zip file say something else of its only member."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    for offset, value, form in ((24, size, "<I"), (16, crc, "<I"), (8, flags, "<H")):
        if value is not None:
            struct.pack_into(form, content, at + offset, value)
    path.write_bytes(content)
    return path


def write_tar(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


PNGS = {f"{number}.png": png(IMAGES[number]) for number in range(N)}


def write_good(folder: Path, name: str) -> Path:
    """The data set as it should be."""
    path = folder / name
    if name == "set.npz":
        return write_zip(path, {"images.npy": npy(IMAGES)})
    if name == "set.zip":
        return write_zip(path, PNGS)
    if name == "set.tar.gz":
        return write_tar(path, PNGS)
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "images", data=IMAGES, chunks=(4, 8, 8, 3), compression="gzip", shuffle=True, fletcher32=True
        )
    return path


FORMS = [form.files[0].name for form in RECIPE.sources]
Refuse = Callable[[Path, str], None]


def left(cache: Path) -> list[str]:
    """What lies in the cache, locks apart."""
    return [str(path) for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Checks that a file is refused with a sentence that matches, leaving nothing, in little memory."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("DISBENCH_CACHE", str(cache))

    def check(path: Path, message: str) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tracemalloc.start()
        try:
            with pytest.raises(DisbenchError, match=message) as caught:
                prepare(RECIPE, source=path, progress=False)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 200 << 20
        if sys.platform == "linux":  # kilobytes there; of the whole process, so what C allocates counts
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10
        assert left(cache) == []
        assert isinstance(caught.value, UsageError) or (
            "\n" not in str(caught.value) and str(caught.value).endswith(".")
        )

    return check


@pytest.mark.parametrize("name", FORMS)
def test_the_good_file_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    folder = prepare(RECIPE, source=write_good(tmp_path, name), progress=False)
    np.testing.assert_array_equal(np.load(folder / "images.npy"), IMAGES)


@pytest.mark.parametrize("name", FORMS)
def test_truncated_anywhere(tmp_path: Path, refuse: Refuse, name: str) -> None:
    path = write_good(tmp_path, name)
    content = path.read_bytes()
    for length in np.linspace(1, len(content) - 1, 12).astype(int):
        path.write_bytes(content[:length])
        refuse(path, "fetch it again|Fetch it again|holds no array")


@pytest.mark.parametrize("name", FORMS)
def test_empty_and_not_what_its_name_says(tmp_path: Path, refuse: Refuse, name: str) -> None:
    path = tmp_path / name
    for content in (b"", bytes(5000), b"P" * 5000, b"\x1f\x8b" + bytes(5000)):
        path.write_bytes(content)
        refuse(path, "cannot be read as a|holds 0 images and should hold 6")
    path.unlink()
    path.mkdir()
    refuse(path, "is not what toy is made of; expected a file or a folder with\n  set.npz")
    with pytest.raises(DisbenchError, match=r"Is a directory|[Ii]s a directory|cannot be read"):
        next(iter(RECIPE.sources[FORMS.index(name)].read({name: path}, SPEC)))


@pytest.mark.parametrize("name", ["set.npz", "set.zip", "set.tar.gz", "stored"])
def test_a_flipped_byte_is_seen_or_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    if name == "stored":
        path = write_zip(tmp_path / "set.npz", {"images.npy": npy(IMAGES)}, zipfile.ZIP_STORED)
    else:
        path = write_good(tmp_path, name)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    n_refused = 0
    for position in random.choice(len(content), 60, replace=False):
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            folder = prepare(RECIPE, source=path, progress=False)
        except DisbenchError:
            n_refused += 1
        else:
            np.testing.assert_array_equal(np.load(folder / "images.npy"), IMAGES)
    assert n_refused > 40


def test_a_flipped_byte_in_hdf5_numbers(tmp_path: Path, refuse: Refuse) -> None:
    path = write_good(tmp_path, "set.h5")
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(1)
    content = path.read_bytes()
    for offset in range(0, chunk.size, 50):
        flipped = bytearray(content)
        flipped[chunk.byte_offset + offset] ^= 4
        path.write_bytes(flipped)
        refuse(path, "cannot be read as an HDF5 file")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickled_objects_are_not_unpickled(tmp_path: Path, refuse: Refuse) -> None:
    canary = tmp_path / "executed"
    array = np.empty(SHAPE, object)
    array[...] = Evil(canary)
    np.savez(tmp_path / "set.npz", images=array)
    refuse(tmp_path / "set.npz", r"images.npy holds pickled objects, which can run code.*save it as plain numbers")
    np.save(tmp_path / "set.npy", array)
    with pytest.raises(DisbenchError, match="holds pickled objects"):
        arrays.npy_file(tmp_path / "set.npy", SHAPE, ("uint8",))
    with (
        archives.open_zip(tmp_path / "set.npz") as archive,
        pytest.raises(DisbenchError, match="holds pickled objects"),
    ):
        arrays.npy_member(tmp_path / "set.npz", archive, "images.npy", SHAPE, ("uint8",))
    assert not canary.exists()
    np.load(tmp_path / "set.npy", allow_pickle=True)  # it would have
    assert canary.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_header((2**50, 8, 8, 3)), r"has shape \(1125899906842624, 8, 8, 3\).*expected \(6, 8, 8, 3\) and uint8"),
        (npy_header((2**70, 2**70)), "has shape"),
        (npy_header((-6, -8, 8, 3)) + IMAGES.tobytes(), r"has shape \(-6, -8, 8, 3\)"),
        (npy(IMAGES[:-1]), r"has shape \(5, 8, 8, 3\) and type uint8; expected \(6, 8, 8, 3\)"),
        (npy(IMAGES.transpose(0, 3, 1, 2).copy()), r"has shape \(6, 3, 8, 8\)"),
        (npy(IMAGES.astype("int64")), "and type int64; expected .* and uint8"),
        (npy(IMAGES.astype("int8")), "and type int8"),
        (npy(np.zeros(SHAPE, [("a", "u1")])), "and type void8"),
        (npy_header(SHAPE, [("a", "|O", (2,))]), "holds pickled objects"),
        (npy_header(SHAPE) + IMAGES.tobytes()[:-1], "unpacks to 1,279 bytes and its header says 1,280. It is damaged"),
        (npy(IMAGES) + b"more", "unpacks to 1,284 bytes and its header says 1,280. It is damaged"),
        (b"", "is no numpy array"),
        (b"\x93NUMPY\x07\x00" + bytes(100), "is no numpy array: it has version 7"),
        (b"\x93NUMPY\x01\x00\xff\xff", "is no numpy array"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'", "is no numpy array"),
        (b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10000, "is no numpy array"),
        (b"\x93NUMPY\x01\x00\x10\x27" + b"-" * 9999 + b"1", "is no numpy array"),
        (b"\x93NUMPY\x01\x00\x20\x00" + b"{'descr': '|u1', 'shape': (6, 8 ", "is no numpy array"),
        (b"\x93NUMPY\x01\x00\x1b\x00" + b"__import__('os').abort()   ", "is no numpy array"),
        (b"PK\x03\x04" + bytes(500), "is no numpy array"),
    ],
)
def test_arrays_that_are_not_what_is_expected(tmp_path: Path, refuse: Refuse, content: bytes, message: str) -> None:
    refuse(write_zip(tmp_path / "set.npz", {"images.npy": content}), message)
    path = tmp_path / "images.npy"
    path.write_bytes(content)
    with pytest.raises(DisbenchError, match=message.replace("unpacks to", "has")):
        arrays.npy_file(path, SHAPE, ("uint8",))
    with (
        archives.open_zip(tmp_path / "set.npz") as archive,
        pytest.raises(DisbenchError, match=message),
    ):
        arrays.npy_member(tmp_path / "set.npz", archive, "images.npy", SHAPE, ("uint8",))


def test_arrays_stored_by_column_are_read_if_they_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "set.npz", {"images.npy": npy(np.asfortranarray(IMAGES))})
    (slab,) = arrays.npz_array(path, "images", SHAPE, ("uint8",)).slabs()
    np.testing.assert_array_equal(slab, IMAGES)
    with archives.open_zip(path) as archive:
        np.testing.assert_array_equal(arrays.npy_member(path, archive, "images.npy", SHAPE, ("uint8",)), IMAGES)
    monkeypatch.setattr(arrays, "_MAX_SMALL", IMAGES.nbytes - 1)
    with pytest.raises(DisbenchError, match=r"stored column by column; expected .*\(C order\)"):
        arrays.npz_array(path, "images", SHAPE, ("uint8",))


@pytest.fixture(scope="module")
def zeros() -> bytes:
    """MUCH of them, as a gzip file."""
    return gzip.compress(bytes(MUCH), 1)


def test_a_member_that_unpacks_to_far_more(tmp_path: Path, refuse: Refuse) -> None:
    path = write_zip(tmp_path / "set.npz", {"images.npy": npy(IMAGES) + bytes(MUCH)})
    refuse(path, r"images.npy unpacks to 268,436,736 bytes and its header says 1,280")
    # ... and says that it does not
    refuse(claim(path, size=len(npy(IMAGES))), "cannot be read as a zip file: .*fetch it again")


def test_a_small_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", PNGS)
    with archives.open_zip(path) as archive:
        assert archives.zip_member(path, archive, "0.png", MEMBER_LIMIT).read() == PNGS["0.png"]
        with pytest.raises(DisbenchError, match=r"0.png has [0-9]+ bytes; expected at most 100"):
            archives.zip_member(path, archive, "0.png", 100)
    claim(write_zip(path, {"0.png": bytes(MUCH)}), size=1000)
    tracemalloc.start()
    try:
        with pytest.raises(DisbenchError, match="Bad CRC-32"), archives.open_zip(path) as archive:
            archives.zip_member(path, archive, "0.png", MEMBER_LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_an_array_of_another_name(tmp_path: Path, refuse: Refuse) -> None:
    refuse(write_zip(tmp_path / "set.npz", {"imgs.npy": npy(IMAGES)}), "holds no array 'images'; it holds imgs.npy")
    refuse(write_zip(tmp_path / "set.npz", {}), "holds no array 'images'; it holds nothing")


def test_a_directory_that_lies_about_what_a_member_unpacks_to(tmp_path: Path, refuse: Refuse) -> None:
    path, good = tmp_path / "set.npz", npy(IMAGES)
    damaged = "cannot be read as a zip file: .*It is damaged, cut off or something else; fetch it again"
    write_zip(path, {"images.npy": good + b"more"})
    refuse(claim(path, size=len(good)), damaged)  # goes on after the array
    write_zip(path, {"images.npy": good[:-100]})
    refuse(claim(path, size=len(good)), damaged)  # ends early
    refuse(claim(path, size=len(good), crc=zlib.crc32(good)), damaged)
    write_zip(path, {"images.npy": good})
    refuse(claim(path, crc=1), "Bad CRC-32")
    write_zip(path, {"images.npy": good})
    refuse(claim(path, flags=1), "encrypted")
    path = write_zip(tmp_path / "set.zip", {"0.png": PNGS["0.png"]})
    refuse(claim(path, size=3), "0.png cannot be read as a picture|cannot be read as a zip file")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_python_unpacks_without_a_limit(tmp_path: Path, refuse: Refuse, method: int) -> None:
    good = npy(IMAGES)
    path = write_zip(tmp_path / "set.npz", {"images.npy": good + bytes(MUCH >> 4)}, method)
    refuse(claim(path, size=len(good)), f"images.npy is packed by method {method}; expected it stored or deflated")


def test_arrays_of_any_length_are_bounded_too(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "any.npz", {"images.npy": npy_header((2**40, 2**40)) + bytes(10)})
    with pytest.raises(DisbenchError, match="its header says"):
        arrays.npz_array(path, "images", (None, None), ("uint8",))
    write_zip(path, {"images.npy": npy_header((-2, -5)) + bytes(10)})
    with pytest.raises(DisbenchError, match=r"has shape \(-2, -5\).*expected \(any, any\)"):
        arrays.npz_array(path, "images", (None, None), ("uint8",))
    write_zip(path, {"images.npy": npy_header((1, MUCH + 1)) + bytes(MUCH + 1)})
    stream = arrays.npz_array(path, "images", (None, None), ("uint8",))
    tracemalloc.start()
    try:
        with pytest.raises(DisbenchError, match=r"a row of images.npy has 268,435,457 bytes, too many"):
            next(stream.slabs())
        with pytest.raises(DisbenchError, match=r"images.npy has 268,435,457 bytes; expected at most 268,435,456"):
            stream.whole()
        with archives.open_zip(path) as archive, pytest.raises(DisbenchError, match="expected at most 268,435,456"):
            arrays.npy_member(path, archive, "images.npy", (None, None), ("uint8",))
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_entries_that_point_outside(tmp_path: Path, refuse: Refuse) -> None:
    for name in ("../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "\\evil.png", "C:\\evil.png"):
        for path in (
            write_zip(tmp_path / "set.zip", {name: PNGS["0.png"], **PNGS}),
            write_zip(tmp_path / "set.npz", {name: b"", "images.npy": npy(IMAGES)}),
            write_tar(tmp_path / "set.tar.gz", {name: PNGS["0.png"], **PNGS}),
        ):
            refuse(path, "holds the entry .*evil.png', which points outside the archive; it is not to be trusted")
    assert not list(tmp_path.parent.glob("evil*"))


# HDF5


def _other_file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["images"] = IMAGES
    (tmp_path / "other.raw").write_bytes(IMAGES.tobytes())
    return tmp_path / "other.h5"


def _external_link(file: Any, tmp_path: Path) -> None:
    file["images"] = h5py.ExternalLink(str(_other_file(tmp_path)), "images")


def _soft_link(file: Any, tmp_path: Path) -> None:
    file["elsewhere"] = IMAGES
    file["images"] = h5py.SoftLink("/elsewhere")


def _dangling_link(file: Any, tmp_path: Path) -> None:
    file["images"] = h5py.SoftLink("/images")


def _external_storage(file: Any, tmp_path: Path) -> None:
    _other_file(tmp_path)
    file.create_dataset("images", SHAPE, "u1", external=[(str(tmp_path / "other.raw"), 0, IMAGES.size)])


def _virtual(file: Any, tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[...] = h5py.VirtualSource(str(_other_file(tmp_path)), "images", SHAPE)
    file.create_virtual_dataset("images", layout)


def _absurd_chunks(file: Any, tmp_path: Path) -> None:
    file.create_dataset("images", SHAPE, "u1", chunks=(2_000_000, 8, 8, 3), maxshape=(None, 8, 8, 3))


def _bomb_in_a_chunk(file: Any, tmp_path: Path) -> None:
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(3 * MUCH >> 24)) + packer.flush()
    images = file.create_dataset("images", SHAPE, "u1", chunks=SHAPE, compression="gzip")
    images.id.write_direct_chunk((0, 0, 0, 0), packed)


def _packed_twice(file: Any, tmp_path: Path) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(SHAPE)
    plan.set_deflate(4)
    plan.set_deflate(4)
    h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, h5py.h5s.create_simple(SHAPE), plan)


def _half_written(file: Any, tmp_path: Path) -> None:
    file.create_dataset("images", SHAPE, "u1", chunks=(2, 8, 8, 3), compression="gzip")[:4] = IMAGES[:4]


def _never_written(file: Any, tmp_path: Path) -> None:
    file.create_dataset("images", SHAPE, "u1")


def _group(file: Any, tmp_path: Path) -> None:
    file["images/inner"] = IMAGES


def _nothing(file: Any, tmp_path: Path) -> None:
    file["imgs"] = IMAGES


def _null(file: Any, tmp_path: Path) -> None:
    file["images"] = h5py.Empty("u1")


def _absurd_shape(file: Any, tmp_path: Path) -> None:
    file.create_dataset("images", (2**40, 8, 8, 3), "u1", chunks=(1, 8, 8, 3))


def _floats(file: Any, tmp_path: Path) -> None:
    file["images"] = IMAGES / 255


def _strings(file: Any, tmp_path: Path) -> None:
    file["images"] = np.full(SHAPE, b"x", object)


def _other_axes(file: Any, tmp_path: Path) -> None:
    file["images"] = IMAGES.reshape(N, -1)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_external_link, "images is a link to something else, which is not followed"),
        (_soft_link, "images is a link to something else, which is not followed"),
        (_dangling_link, "images is a link to something else, which is not followed"),
        (_external_storage, "images keeps its numbers in other files, which are not read"),
        (_virtual, "images keeps its numbers in other files, which are not read"),
        (_absurd_chunks, r"images comes in chunks of \(2000000, 8, 8, 3\), too large to be read"),
        (_bomb_in_a_chunk, "images has a chunk that unpacks to more than its 1,152 bytes"),
        (_packed_twice, r"images is packed by the HDF5 filters \[1, 1\]; expected gzip"),
        (_half_written, "images has 2 of 3 chunks; it was not written to its end, or is damaged"),
        (_never_written, "images has 0 of 1,152 bytes; it was not written to its end"),
        (_group, "images is a folder; expected an array"),
        (_nothing, "holds no array 'images'; it holds imgs"),
        (_null, "images is empty; expected an array"),
        (_absurd_shape, r"images has shape \(1099511627776, 8, 8, 3\).*expected \(6, 8, 8, 3\)"),
        (_floats, "images has shape .* and type float64; expected .* and uint8"),
        (_strings, "and type object; expected .* and uint8"),
        (_other_axes, r"images has shape \(6, 192\) and type uint8; expected \(6, 8, 8, 3\)"),
    ],
)
def test_hdf5(tmp_path: Path, refuse: Refuse, write: Callable[[Any, Path], None], message: str) -> None:
    with h5py.File(tmp_path / "set.h5", "w") as file:
        write(file, tmp_path)
    refuse(tmp_path / "set.h5", message)


def test_large_hdf5_chunks_that_are_sound_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_MAX_CHUNK", 2000)  # so that chunks of 1,152 bytes are looked into
    for packing in ({}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True, "fletcher32": True}):
        with h5py.File(tmp_path / "set.h5", "w") as file:
            file.create_dataset("images", data=IMAGES, chunks=SHAPE, **packing)
        read = np.concatenate(list(_read_hdf5({"set.h5": tmp_path / "set.h5"}, SPEC)))
        np.testing.assert_array_equal(read, IMAGES)


# tar


def _entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_tar_entries_that_are_no_files(tmp_path: Path, refuse: Refuse, kind: bytes) -> None:
    path = write_tar(tmp_path / "set.tar.gz", PNGS | {"0.png": _entry("0.png", kind, "/etc/passwd")})
    refuse(path, r"0.png is a link or a folder; expected a file")


def test_tar_that_unpacks_past_its_limit(tmp_path: Path, refuse: Refuse, zeros: bytes) -> None:
    path = tmp_path / "set.tar.gz"
    path.write_bytes(gzip.compress(_raw_entry(b"readme", tarfile.REGTYPE, MUCH)) + zeros)
    refuse(path, "unpacks to more than 1,048,576 bytes, the size of what it should hold; refused")
    path = write_tar(tmp_path / "set.tar.gz", PNGS)
    path.write_bytes(path.read_bytes() + zeros)  # behind the end of the archive
    refuse(path, "unpacks to more than 1,048,576 bytes")


def test_tar_member_larger_than_its_limit(tmp_path: Path, refuse: Refuse) -> None:
    path = write_tar(tmp_path / "set.tar.gz", {"0.png": PNGS["0.png"] + bytes(MEMBER_LIMIT)})
    refuse(path, r"0.png has 4,[0-9]+ bytes; expected at most 4,096")


def _raw_entry(name: bytes, kind: bytes, size: int) -> bytes:
    """The header of a tar entry that claims a size."""
    header = bytearray(512)
    header[: len(name)] = name
    header[100:108] = header[108:116] = header[116:124] = b"0000644\x00"
    header[124:136] = b"%011o\x00" % size if size >= 0 else b"\xff" * 8 + struct.pack(">i", size)
    header[136:148] = b"00000000000\x00"
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    return bytes(header)


def test_tar_headers_that_claim_much(
    tmp_path: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, zeros: bytes
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", 1 << 40)
    path = tmp_path / "set.tar.gz"
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
        path.write_bytes(gzip.compress(_raw_entry(b"long", kind, MUCH)) + zeros)
        refuse(path, "cannot be read as a tar archive: an entry's header has 268,435,456 bytes")
    with gzip.open(path, "wb") as file:
        file.write(_raw_entry(b"0.png", tarfile.GNUTYPE_SPARSE, 100) + bytes(5000))
    refuse(path, "or the entry has holes")
    with gzip.open(path, "wb") as file:
        file.write(_raw_entry(b"0.png", tarfile.REGTYPE, -5) + bytes(5000))
    refuse(path, "cannot be read as a tar archive|has -5 bytes; expected at most")


def test_a_tar_of_very_many_entries_takes_little_memory(
    tmp_path: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", 1 << 30)
    path = tmp_path / "set.tar.gz"
    peaks = []
    for n_entries in (3000, 6000):
        path.write_bytes(gzip.compress(_raw_entry(b"empty", tarfile.REGTYPE, 0) * n_entries))
        tracemalloc.start()
        assert list(_read_tar({"set.tar.gz": path}, SPEC)) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)
    refuse(path, "holds 0 images and should hold 6")


def test_a_plain_tar_is_read_and_a_damaged_header_is_missed_rows(tmp_path: Path, refuse: Refuse) -> None:
    packed = write_tar(tmp_path / "set.tar.gz", PNGS)
    content = bytearray(gzip.decompress(packed.read_bytes()))
    packed.write_bytes(content)
    rows = np.concatenate(list(_read_tar({"set.tar.gz": packed}, SPEC)))
    np.testing.assert_array_equal(rows, IMAGES)
    content[content.index(b"4.png")] ^= 1
    packed.write_bytes(content)
    refuse(packed, "holds 4 images and should hold 6")


def test_gzip_alone(tmp_path: Path) -> None:
    path = tmp_path / "matrix.gz"
    content = np.random.default_rng(0).bytes(10_000)
    packed = gzip.compress(content)

    def read(limit: int, n: int = -1) -> bytes:
        with archives.gunzipped(path, limit) as stream:
            return stream.read(n)

    path.write_bytes(packed)
    assert read(10_000) == content
    assert read(10_000, 50) == content[:50]
    with pytest.raises(DisbenchError, match="unpacks to more than 9,999 bytes"):
        read(9_999)
    with pytest.raises(DisbenchError, match="unpacks to more than 9,999 bytes"):
        read(9_999, 50)
    for bad in (packed[:-1], packed[:5000], packed[:-8] + bytes(8), packed + b"garbage"):
        path.write_bytes(bad)
        for n in (-1, 50):
            with pytest.raises(DisbenchError, match=r"cannot be read as a gzip file.*fetch it again"):
                read(20_000, n)
    path.write_bytes(content)
    assert read(10_000) == content


# pictures


def _plain_png(side: int) -> bytes:
    """Black, a bit for each pixel: a few kilobytes, however large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(1)
    rows = bytes((1 + (side + 7) // 8) * 1000)
    pixels = b"".join(packer.compress(rows) for _ in range(side // 1000)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(evil) (w) file closefile\nshowpage\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_plain_png(30_000), "0.png cannot be read as a picture: Image size .900000000 pixels. exceeds limit"),
        (_plain_png(10_000), "0.png cannot be read as a picture: Image size .100000000 pixels. exceeds limit"),
        (_plain_png(2_000), "0.png is 2000 x 2000 pixels; expected 8 x 8"),
        (png(IMAGES[0, :7]), "0.png is 8 x 7 pixels; expected 8 x 8"),
        (EPS, "0.png cannot be read as a picture: cannot identify"),
        (b"", "0.png cannot be read as a picture"),
        (PNGS["0.png"][:100], "0.png cannot be read as a picture"),
        (npy(IMAGES), "0.png cannot be read as a picture"),
    ],
)
def test_pictures(tmp_path: Path, refuse: Refuse, content: bytes, message: str) -> None:
    refuse(write_zip(tmp_path / "set.zip", PNGS | {"0.png": content}), message)


def test_a_picture_of_any_size_is_bounded_too(tmp_path: Path) -> None:
    for side in (10_000, 30_000):
        (tmp_path / "0.png").write_bytes(_plain_png(side))
        with pytest.raises(DisbenchError, match="exceeds limit"):
            archives.open_picture(tmp_path / "0.png", "0.png", None)


def test_a_missing_picture(tmp_path: Path, refuse: Refuse) -> None:
    path = write_zip(tmp_path / "set.zip", {name: content for name, content in PNGS.items() if name != "3.png"})
    refuse(path, r"There is no item named '3.png' in the archive")


def test_pictures_too_many_and_too_few(tmp_path: Path, refuse: Refuse) -> None:
    refuse(
        write_tar(tmp_path / "set.tar.gz", PNGS | {"6.png": PNGS["0.png"]}),
        "holds more than 6 images and should hold 6",
    )
    refuse(write_tar(tmp_path / "set.tar.gz", {"0.png": PNGS["0.png"]}), "holds 1 images and should hold 6")


@pytest.mark.parametrize("kind", ["eps", "bomb", "text"])
def test_sprite_sheets_that_are_no_sheets(tmp_path: Path, kind: str) -> None:
    for layer, n_sheets in sprites.N_SHEETS.items():
        (tmp_path / layer).mkdir()
        for sheet in range(n_sheets):
            path = tmp_path / layer / f"{sheet}.png"
            if kind == "eps":  # PIL hands this format to another program
                path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 832 1344\n%%EndComments\n(x) run\n")
            else:
                path.write_bytes(b"no picture" if kind == "text" else _plain_png(30_000))
    dataset = sprites.Sprites(tmp_path)
    with pytest.raises(DisbenchError, match=r"0.png cannot be read as a picture"):
        dataset.images(torch.tensor([0]))


def test_large_chunks_of_lzf_cannot_be_checked(tmp_path: Path) -> None:
    """What they unpack to is not known before they are unpacked."""
    path = tmp_path / "large.h5"
    shape = (256, 64, 64, 3)
    with h5py.File(path, "w") as file:
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        file.create_dataset("images", data=noise, chunks=shape, compression="lzf")
    with (
        arrays.open_hdf5(path) as file,
        pytest.raises(DisbenchError, match="too large to be checked; write it anew with gzip"),
    ):
        arrays.hdf5_array(path, file, "images", shape, ("uint8",))
