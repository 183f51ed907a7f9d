"""Reading what strangers packed, zip, tar, gzip and picture files, as streams, with nothing in them executed.

Every reader is told how large what it reads may be, and stops there.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from disbench.errors import DisbenchError, first_line

if TYPE_CHECKING:
    import numpy as np

_MAX_TAR_HEADER = 1 << 20  # bytes of a long name or of extended headers, which tarfile reads whole
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, OverflowError, SyntaxError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile, tarfile.TarError),
)
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # as they are read; others are refused
PICTURES = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # none that calls another program, as EPS does


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


def unpacked_size(packed: bytes, limit: int) -> int:
    """Bytes that zlib data unpacks to, counted until they are more than `limit`."""
    unpacker = zlib.decompressobj()
    size = len(unpacker.decompress(packed, 1 << 20))
    while size <= limit and not unpacker.eof:
        block = unpacker.decompress(unpacker.unconsumed_tail, 1 << 20)
        if not block and not unpacker.unconsumed_tail:
            raise EOFError("packed data ends too early")
        size += len(block)
    return size


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
            return _converted(Image.open(source, formats=PICTURES), name, size, mode)
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


def _is_deep_ppm(tiles: Any) -> bool:
    """Whether Pillow's account of a file says that its brightest value takes more than a byte."""
    return any(name == "ppm" and arguments[-1] > 255 for name, _, _, arguments in tiles)


def picture_as_it_is(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Pixels uint8 (h, w, c) of a picture that is grey or in colour, 8 bits deep and without transparency.

    Args:
        path: of the picture.
        shape: that of the first one of several, which the others must have.

    Raises:
        DisbenchError: it is no picture, damaged, of another kind or shape.
    """
    import numpy as np
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path, formats=PICTURES) as picture:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            deep = ";16" in str(picture.tile) or _is_deep_ppm(picture.tile)
            if picture.mode not in _MODES or "transparency" in picture.info or deep:
                more = " with transparency" if "transparency" in picture.info else ", 16 bits a channel" if deep else ""
                raise DisbenchError(
                    f"{path} has the colour mode {picture.mode}{more}; save it as grey or RGB, 8 bits, no transparency."
                )
            mode = _MODES[picture.mode]
            found = (picture.height, picture.width, 3 if mode == "RGB" else 1)
            if shape not in (None, found):
                raise DisbenchError(f"{path} has {found} rows, columns and channels; the first picture has {shape}.")
            return np.array(picture.convert(mode)).reshape(found)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DisbenchError(f"{path} cannot be read as a picture: {first_line(error)}.") from error
