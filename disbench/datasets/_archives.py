"""Reading what strangers packed: numpy, HDF5, zip, tar and picture files, as streams, with nothing in them executed.

Every reader is told what it is to find and stops where the file says something else, before it allocates or writes
anything of the size that the file claims.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

import numpy as np

from disbench.errors import DisbenchError, first_line

SLAB = 64 << 20  # bytes read at a time
_MAX_CHUNK = 256 << 20  # bytes of an HDF5 chunk, which is read whole
_MAX_SMALL = 256 << 20  # bytes of an array that is read whole
_MAX_TAR_HEADER = 1 << 20  # bytes of a long name or of extended headers, which tarfile reads whole
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, OverflowError, SyntaxError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile, tarfile.TarError),
)
_PICTURES = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # none that calls another program, as EPS does


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn what libraries raise on a damaged file into one sentence.

    Raises:
        DisbenchError: the block raised one of the many errors that a damaged file causes.
    """
    try:
        yield
    except _DAMAGE as error:
        raise DisbenchError(
            f"{path} cannot be read as {what}: {first_line(error).rstrip('.')}. It is damaged, cut off or something "
            "else; fetch it again."
        ) from error


def _check_member_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or name.startswith(("/", "\\")) or (parts and ":" in parts[0]):
        raise DisbenchError(
            f"{path} holds the entry {name!r}, which points outside the archive; it is not to be trusted. Fetch it "
            "from its authors."
        )


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file whose entries all have harmless names and are stored or deflated.

    The other methods are refused because Python unpacks theirs without a limit.
    """
    with reading(path, "a zip file"), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            _check_member_name(path, info.filename)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DisbenchError(
                    f"{path}: {info.filename} is packed by method {info.compress_type}; expected it stored or "
                    "deflated. Pack it anew."
                )
        yield archive


def zip_member(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> BinaryIO:
    """A small file inside an open zip file, of at most `limit` bytes whatever the archive says.

    ZipFile.read does not do: it unpacks up to two gigabytes before it looks at the size that was promised.
    """
    n_bytes = archive.getinfo(name).file_size
    if n_bytes > limit:
        raise DisbenchError(f"{path}: {name} has {n_bytes:,} bytes; expected at most {limit:,}. Fetch it again.")
    with archive.open(name) as file:
        return io.BytesIO(read_exactly(file, n_bytes))


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
        with open_zip(path) as archive:
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
        with open_zip(self.path) as archive, archive.open(self.member) as file:
            file.read(self._header)
            if self._by_column:
                yield _array(read_exactly(file, row_bytes * self.shape[0]), self.dtype, self.shape, by_column=True)
            for start in range(0, self.shape[0] if not self._by_column else 0, n_rows):
                some = min(n_rows, self.shape[0] - start)
                yield np.frombuffer(read_exactly(file, some * row_bytes), self.dtype).reshape(some, *row_shape)
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
    with reading(path, "a .npy file"):
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
        return _array(read_exactly(file, n_bytes), dtype, found, by_column=by_column)


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

    with reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
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
    for chunk in doubtful:
        is_sound = chunk.size <= n_bytes + n_bytes // 100 + 4096
        if is_sound and packers:
            is_sound = filters.count(_GZIP) == 1 and chunk.filter_mask == 0
            is_sound = is_sound and _inflates_to(array.id.read_direct_chunk(chunk.chunk_offset)[1], n_bytes + 4)
        if not is_sound:
            raise DisbenchError(
                f"{what} has a chunk that unpacks to more than its {n_bytes:,} bytes; refused. Fetch it again."
            )


_GZIP, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32000  # HDF5's numbers of filters
_GROWTH = {_GZIP: 1032, _LZF: 264}  # how many bytes one byte can unpack to


def _inflates_to(packed: bytes, limit: int) -> bool:
    """Whether a zlib stream ends within `limit` bytes."""
    unpacker = zlib.decompressobj()
    n_bytes = 0
    while packed and not unpacker.eof and n_bytes <= limit:
        n_bytes += len(unpacker.decompress(packed, 1 << 20))
        packed = unpacker.unconsumed_tail
    return n_bytes <= limit


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


class _Limited(io.RawIOBase):
    """A stream that ends with an error where it goes on past `limit` bytes."""

    def __init__(self, file: Any, limit: int, path: Path) -> None:
        self.file, self.left, self.path, self.limit = file, limit, path, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self.file.read(min(len(buffer), self.left + 1))
        self.left -= len(block)
        if self.left < 0:
            raise DisbenchError(
                f"{self.path} unpacks to more than {self.limit:,} bytes, the size of what it should hold; refused."
            )
        buffer[: len(block)] = block
        return len(block)


@contextlib.contextmanager
def gunzipped(path: Path, limit: int) -> Iterator[BinaryIO]:
    """What a gzip file unpacks to, as a stream of at most `limit` bytes; a file that is not packed is read as it is.

    What the block leaves is read at its end, for the checksum that comes last.
    """
    with reading(path, "a gzip file"), open(path, "rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if is_packed else raw as file:
            stream = io.BufferedReader(_Limited(file, limit, path), 1 << 20)
            yield stream
            while stream.read(1 << 20):
                pass


class _BoundedHeaders(tarfile.TarInfo):
    """An entry of a tar archive that is refused where tarfile would read a header of any length into memory."""

    def _proc_member(self, tar_file: tarfile.TarFile) -> Any:
        is_header = self.type in (
            *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
            *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        )
        if (is_header and self.size > _MAX_TAR_HEADER) or self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"an entry's header has {self.size:,} bytes, or the entry has holes")
        return super()._proc_member(tar_file)  # type: ignore[misc]


def tar_members(
    path: Path, wanted: Callable[[str], bool], limit: int, member_limit: int
) -> Iterator[tuple[str, BinaryIO]]:
    """Names and contents of the wanted files of a tar archive (packed or not), in its order; nothing goes to disk.

    Args:
        path: of the archive.
        wanted: whether a name is.
        limit: bytes that the whole may unpack to.
        member_limit: bytes that a wanted file may have.

    Raises:
        DisbenchError: it is damaged, has entries that point outside, or unpacks to more.
    """
    with (
        gunzipped(path, limit) as stream,
        reading(path, "a tar archive"),
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedHeaders) as archive,
    ):
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else it keeps all of them
            _check_member_name(path, member.name)
            name = member.name.removeprefix("./")
            if not wanted(name):
                continue
            if not member.isfile():
                raise DisbenchError(f"{path}: {name} is a link or a folder; expected a file. Fetch the archive again.")
            if not 0 <= member.size <= member_limit:
                raise DisbenchError(
                    f"{path}: {name} has {member.size:,} bytes; expected at most {member_limit:,}. Fetch the archive "
                    "again."
                )
            file = archive.extractfile(member)
            assert file is not None  # a regular file
            yield name, io.BytesIO(read_exactly(file, member.size))


def read_exactly(file: IO[bytes], n: int) -> bytes:
    """The next n bytes of a stream.

    Raises:
        EOFError: it ends before.
    """
    pieces, left = [], n
    while left:
        block = file.read(left)
        if not block:
            raise EOFError(f"the data ends {left:,} bytes too early")
        pieces.append(block)
        left -= len(block)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def open_picture(source: Path | BinaryIO, name: str, size: tuple[int, int] | None, mode: str = "RGB") -> Any:
    """A PIL picture in the mode asked for.

    Args:
        source: file or stream.
        name: for messages.
        size: width and height that it must have, or None.
        mode: RGB, L, RGBA.

    Raises:
        DisbenchError: it is no picture, damaged, or has another size.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that nobody reads
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _converted(Image.open(source, formats=_PICTURES), name, size, mode)
    except (*_DAMAGE, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DisbenchError(
            f"{name} cannot be read as a picture: {first_line(error).rstrip('.')}. It is damaged or something else; "
            "fetch it again."
        ) from error


def _converted(picture: Any, name: str, size: tuple[int, int] | None, mode: str) -> Any:
    with picture:
        if size is not None and picture.size != size:
            raise DisbenchError(
                f"{name} is {picture.size[0]} x {picture.size[1]} pixels; expected {size[0]} x {size[1]}."
            )
        return picture.convert(mode)
