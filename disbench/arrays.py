"""Reading arrays that strangers wrote, numpy's and HDF5's, in slabs, with nothing in them executed.

Every reader is told what it is to find and stops where the file says something else, before it allocates anything of
the size that the file claims.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from disbench import archives
from disbench.errors import DisbenchError, first_line

SLAB = 64 << 20  # bytes read at a time
_MAX_CHUNK = 256 << 20  # bytes of an HDF5 chunk, which is read whole
_MAX_SMALL = 256 << 20  # bytes of an array that is read whole


def npz_array(path: Path, key: str, shape: Sequence[int | None], dtypes: Sequence[str]) -> NpyStream:
    """The array `key` of an npz file, to be read in slabs; see NpyStream."""
    return NpyStream(path, f"{key}.npy", shape, dtypes)


class NpyStream:
    """An array inside a zip file (stored or deflated), read in order without the rest of it in memory.

    Args:
        path: of the zip file.
        member: name of the .npy file in it.
        shape: what the header must say; None for an axis of any length.
        dtypes: types that it may have, as numpy names them.

    Raises:
        DisbenchError: there is no such array, it has another shape or type, holds objects, or its size is not what its
            header says.
    """

    def __init__(self, path: Path, member: str, shape: Sequence[int | None], dtypes: Sequence[str]) -> None:
        self.path, self.member = path, member
        with archives.open_zip(path) as archive:
            if member not in archive.namelist():
                there = ", ".join(sorted(archive.namelist())[:5]) or "nothing"
                raise DisbenchError(f"{path} holds no array {member.removesuffix('.npy')!r}; it holds {there}.")
            info = archive.getinfo(member)
            with archive.open(info) as file:
                self.shape, self.dtype, self._header, self._by_column = _npy_header(path, member, file)
            check_shape(f"{path}: {member.removesuffix('.npy')}", self.shape, self.dtype, shape, dtypes)
            n_bytes = _n_bytes(self.shape, self.dtype)
            _check_size(path, info, self._header + n_bytes)
        if self._by_column and n_bytes > _MAX_SMALL:
            raise DisbenchError(
                f"{path}: {member} is stored column by column; expected rows one after another (C order). Save it anew "
                "with numpy.ascontiguousarray."
            )

    def regroup(self, shape: tuple[int, ...]) -> None:
        """Take the same numbers, in the same order, for an array of another shape."""
        assert math.prod(shape) == math.prod(self.shape)
        if self._by_column:
            raise DisbenchError(f"{self.path}: {self.member} is stored column by column; expected C order.")
        self.shape = shape

    def slabs(self) -> Iterator[np.ndarray]:
        """Arrays (m, ...) of some rows each, in order, all rows together."""
        row_shape = self.shape[1:]
        row_bytes = _n_bytes(row_shape, self.dtype)
        n_rows = max(1, SLAB // max(row_bytes, 1))
        if row_bytes > _MAX_SMALL:
            raise DisbenchError(f"{self.path}: a row of {self.member} has {row_bytes:,} bytes, too many to be read.")
        with archives.open_zip(self.path) as archive, archive.open(self.member) as file:
            file.read(self._header)
            starts = range(0, self.shape[0], n_rows)
            if self._by_column:  # a small one
                content = archives.read_exactly(file, row_bytes * self.shape[0])
                yield _array(content, self.dtype, self.shape, by_column=True)
                starts = range(0)
            for start in starts:
                some = min(n_rows, self.shape[0] - start)
                content = archives.read_exactly(file, some * row_bytes)
                yield np.frombuffer(content, self.dtype).reshape(some, *row_shape)
            file.read(1)  # the end: here the checksum is tried

    def whole(self) -> np.ndarray:
        """All rows; for small arrays."""
        _check_small(self.path, self.member, _n_bytes(self.shape, self.dtype))
        return np.concatenate([*self.slabs()]) if self.shape[0] else np.empty(self.shape, self.dtype)


def _n_bytes(shape: Sequence[int], dtype: np.dtype) -> int:
    """Of an array, exact for the most absurd shape."""
    return dtype.itemsize * int(np.prod(shape, dtype=object))


def _check_size(path: Path, info: zipfile.ZipInfo, expected: int) -> None:
    if info.file_size != expected:
        raise DisbenchError(
            f"{path}: {info.filename} unpacks to {info.file_size:,} bytes and its header says {expected:,}. It is "
            "damaged; fetch it again."
        )


def _check_small(path: Path, name: str, n_bytes: int) -> None:
    if n_bytes > _MAX_SMALL:
        raise DisbenchError(f"{path}: {name} has {n_bytes:,} bytes; expected at most {_MAX_SMALL:,}.")


def _npy_header(path: Path, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    """Shape, type, length of the header, and whether it is stored by column, of a .npy file open at its beginning."""
    start = io.BytesIO(file.read(1 << 16))
    try:
        major, _ = np.lib.format.read_magic(start)
        if major not in (1, 2, 3):
            raise ValueError(f"it has version {major} of the format")
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of headers that Python 2 wrote
            shape, is_fortran, dtype = read(start)
    except Exception as error:  # the header is parsed as Python, which fails in any number of ways
        raise DisbenchError(
            f"{path}: {name} is no numpy array: {first_line(error).rstrip('.')}; fetch it again."
        ) from error
    if dtype.hasobject:
        raise DisbenchError(
            f"{path}: {name} holds pickled objects, which can run code when they are loaded; save it as plain numbers."
        )
    return shape, dtype, start.tell(), is_fortran and len(shape) > 1


def _array(content: bytes, dtype: np.dtype, shape: tuple[int, ...], *, by_column: bool) -> np.ndarray:
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape[::-1]).T if by_column else flat.reshape(shape)


def npy_file(path: Path, shape: Sequence[int | None], dtypes: Sequence[str]) -> np.ndarray:
    """A .npy file of plain numbers, memory-mapped."""
    with archives.reading(path, "a .npy file"):
        with open(path, "rb") as file:
            found, dtype, header, _ = _npy_header(path, path.name, file)
        check_shape(str(path), found, dtype, shape, dtypes)
        expected = header + _n_bytes(found, dtype)
        if path.stat().st_size != expected:
            raise DisbenchError(
                f"{path} has {path.stat().st_size:,} bytes and its header says {expected:,}. It is damaged; fetch it "
                "again."
            )
        return np.load(path, mmap_mode="r", allow_pickle=False)


def npy_member(
    path: Path, archive: zipfile.ZipFile, name: str, shape: Sequence[int | None], dtypes: Sequence[str]
) -> np.ndarray:
    """A small .npy file inside an open zip file."""
    info = archive.getinfo(name)
    with archive.open(info) as file:
        found, dtype, header, by_column = _npy_header(path, name, file)
    check_shape(f"{path}: {name}", found, dtype, shape, dtypes)
    n_bytes = _n_bytes(found, dtype)
    _check_size(path, info, header + n_bytes)
    _check_small(path, name, n_bytes)
    with archive.open(info) as file:
        file.read(header)
        return _array(archives.read_exactly(file, n_bytes), dtype, found, by_column=by_column)


def check_shape(
    what: str, found: Sequence[int], dtype: np.dtype, shape: Sequence[int | None], dtypes: Sequence[str]
) -> None:
    """Check shape and type of an array before it is read.

    Raises:
        DisbenchError: they are others than expected.
    """
    fits = len(found) == len(shape) and all(
        have >= 0 and want in (None, have) for want, have in zip(shape, found, strict=True)
    )
    if not fits or dtype.name not in dtypes:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise DisbenchError(
            f"{what} has shape ({', '.join(map(str, found))}) and type {dtype.name}; expected ({wanted}) and "
            f"{' or '.join(dtypes)}."
        )


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file, open for reading."""
    import h5py

    with archives.reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        yield file


def hdf5_array(path: Path, file: Any, key: str, shape: Sequence[int | None], dtypes: Sequence[str]) -> Any:
    """The array at `key`, not read yet, if it lies in this very file.

    Raises:
        DisbenchError: there is none, it is a link into another file, has another shape or type, or chunks that would
            not fit into memory.
    """
    import h5py

    at = file
    for part in key.split("/"):
        link = at.get(part, getlink=True) if isinstance(at, h5py.Group) else None
        if link is None:
            there = ", ".join(sorted(map(str, file))[:5]) or "nothing"
            raise DisbenchError(f"{path} holds no array {key!r}; it holds {there}.")
        if not isinstance(link, h5py.HardLink):
            raise DisbenchError(f"{path}: {key} is a link to something else, which is not followed.")
        at = at[part]
    if not isinstance(at, h5py.Dataset):
        raise DisbenchError(f"{path}: {key} is a folder; expected an array.")
    if at.external or at.is_virtual:
        raise DisbenchError(f"{path}: {key} keeps its numbers in other files, which are not read.")
    if at.shape is None:
        raise DisbenchError(f"{path}: {key} is empty; expected an array.")
    check_shape(f"{path}: {key}", at.shape, at.dtype, shape, dtypes)
    if at.chunks:
        _check_chunks(f"{path}: {key}", at)
    return at


def _check_chunks(what: str, array: Any) -> None:
    """Check that no chunk takes more memory than its shape says.

    HDF5 unpacks a chunk to whatever length comes out. Where its packed length allows for more than _MAX_CHUNK, it is
    unpacked here first, piece by piece.
    """
    n_bytes = _n_bytes(array.chunks, array.dtype)
    if n_bytes > _MAX_CHUNK:
        raise DisbenchError(
            f"{what} comes in chunks of {array.chunks}, too large to be read; write it with smaller ones."
        )
    plan = array.id.get_create_plist()
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    packers = [_GROWTH[code] for code in filters if code in _GROWTH]
    if len(packers) > 1 or any(code not in (_SHUFFLE, _CHECKSUM, *_GROWTH) for code in filters):
        raise DisbenchError(
            f"{what} is packed by the HDF5 filters {filters}; expected gzip or lzf. Write it anew with gzip."
        )
    growth = packers[0] if packers else 1
    doubtful: list[Any] = []
    array.id.chunk_iter(lambda chunk: doubtful.append(chunk) if chunk.size * growth > _MAX_CHUNK else None)
    limit = n_bytes + 4  # a checksum
    for chunk in doubtful:
        is_sound = chunk.size <= n_bytes + n_bytes // 100 + 4096
        if is_sound and packers:
            is_sound = filters.count(_GZIP) == 1 and chunk.filter_mask == 0
            is_sound = (
                is_sound and archives.unpacked_size(array.id.read_direct_chunk(chunk.chunk_offset)[1], limit) <= limit
            )
        if not is_sound and _LZF in filters:
            raise DisbenchError(
                f"{what} has chunks packed by lzf that are too large to be checked; write it anew with gzip, or in "
                "smaller chunks."
            )
        if not is_sound:
            raise DisbenchError(
                f"{what} has a chunk that unpacks to more than its {n_bytes:,} bytes; refused. Fetch it again."
            )


_GZIP, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32000  # HDF5's numbers of filters
_GROWTH = {_GZIP: 1032, _LZF: 264}  # how many bytes one byte can unpack to


def hdf5_slabs(array: Any) -> Iterator[np.ndarray]:
    """Rows of an HDF5 array in order, some at a time: whole chunks, so that each is unpacked once.

    Raises:
        DisbenchError: some were never written, or are not where they should be; HDF5 would serve zeros for them.
    """
    _check_written(array)
    row_bytes = _n_bytes(array.shape[1:], array.dtype)
    n_rows = max(1, SLAB // max(row_bytes, 1))
    per_chunk = array.chunks[0] if array.chunks else 1
    if per_chunk * row_bytes <= _MAX_CHUNK:
        n_rows = max(1, n_rows // per_chunk) * per_chunk
    for start in range(0, array.shape[0], n_rows):
        yield array[start : start + n_rows]


def _check_written(array: Any) -> None:
    shape, chunks = array.shape, array.chunks
    if chunks:
        n_found = 0
        n_expected = int(np.prod([-(-n // step) for n, step in zip(shape, chunks, strict=True)], dtype=object))

        def count(chunk: Any) -> None:
            nonlocal n_found
            places = zip(chunk.chunk_offset, shape, chunks, strict=True)
            n_found += all(at < n and at % step == 0 for at, n, step in places)

        array.id.chunk_iter(count)
    else:
        n_found, n_expected = array.id.get_storage_size(), _n_bytes(shape, array.dtype)
    if n_found != n_expected:
        raise DisbenchError(
            f"{array.file.filename}: {array.name} has {n_found:,} of {n_expected:,} {'chunks' if chunks else 'bytes'}; "
            "it was not written to its end, or is damaged. Fetch it again."
        )
