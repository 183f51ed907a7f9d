"""Files as their authors published them, of data sets and of weights: found, downloaded, verified."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

import disbench
from disbench.cache import cache_dir
from disbench.errors import DisbenchError, UsageError
from disbench.files import exclusively

_BLOCK = 1 << 20  # bytes at a time
_TIMEOUT = 30  # seconds without a byte
_ROOM = 64 << 20  # bytes that stay free on the disk


@dataclass(frozen=True)
class SourceFile:
    """One file as its authors published it.

    Args:
        name: as they call it.
        urls: addresses, tried in order; without any it has to be fetched by hand.
        size: bytes, where known.
        sha256: of the file, where known.
        md5: of the file, where known.
        page: where a person fetches it, if it has no address that a program could use.
        has_copies: whether copies with other bytes and the same content are about; the content then decides.
        is_folder: whether it is a folder of unpacked files.
        about: bytes, roughly, where the size is not known.
    """

    name: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    page: str = ""
    has_copies: bool = False
    is_folder: bool = False
    about: int | None = None

    def describe(self) -> str:
        """Name, size and hash, as far as known."""
        facts = [f"{self.size:,} bytes"] if self.size else [f"about {human_bytes(self.about)}"] if self.about else []
        facts += [f"sha256 {self.sha256}" if self.sha256 else f"md5 {self.md5}" if self.md5 else ""]
        known = ", ".join(fact for fact in facts if fact)
        return f"{self.name} ({known})" if known else self.name


@dataclass(frozen=True)
class Verified:
    """What a source file turned out to be; `by` is `hash`; `content` where none is known or it is another copy."""

    size: int
    sha256: str
    by: str


def human_bytes(n: int) -> str:
    """A size for people: 267.6 MB."""
    value, unit = float(n), "bytes"
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:,.0f} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"


def data_folders(data_dir: Path | None) -> list[Path]:
    """Where source files are looked for: `--data-dir` or DISBENCH_DATA, then what was downloaded."""
    named = data_dir or (Path(os.environ["DISBENCH_DATA"]) if os.environ.get("DISBENCH_DATA") else None)
    return [folder for folder in (named, downloads_dir()) if folder is not None]


def downloads_dir() -> Path:
    """Where downloads go."""
    return cache_dir() / "downloads"


def find(files: Iterable[SourceFile], folders: Iterable[Path]) -> dict[str, Path]:
    """By name, those of the files that lie in one of the folders, the first that has it."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in files:
            path = folder / file.name
            if file.name not in found and (path.is_dir() if file.is_folder else path.is_file()):
                found[file.name] = path
    return found


def check_writable(folder: Path) -> None:
    """Make a folder, and check, before any work, that it can be written.

    Raises:
        UsageError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.part"
        probe.touch()
        probe.unlink(missing_ok=True)  # another thread's, perhaps
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be written ({error.strerror}); name another with DISBENCH_CACHE."
        ) from None


def check_space(folder: Path, needed: int, what: str) -> None:
    """Check, before any work, that a folder can be written and has room.

    Raises:
        UsageError: it cannot, or has not.
    """
    check_writable(folder)
    free = shutil.disk_usage(folder).free
    if free < needed + _ROOM:
        raise UsageError(
            f"{what} takes {human_bytes(needed)}, and {folder} has {human_bytes(free)} free; make room, or name "
            "another folder with DISBENCH_CACHE."
        )


def verify(path: Path, file: SourceFile, known: Iterable[SourceFile], progress: bool) -> Verified:
    """Check a file's size and hash.

    Args:
        path: of the file.
        file: what it should be.
        known: other files that it might be instead, to be named in the message.
        progress: show a bar.

    Raises:
        DisbenchError: it is a web page, or has another size or hash.
    """
    if file.is_folder:
        return Verified(0, "", "content")
    try:
        size = path.stat().st_size
        _refuse_web_page(path, file)
    except OSError as error:
        raise DisbenchError(f"{path} cannot be read: {error.strerror}; expected the file {file.name}.") from error
    digests = _digests(path, ("sha256", "md5"), progress)
    for hash_name, digest in digests.items():
        if digest == getattr(file, hash_name):
            return Verified(size, digests["sha256"], "hash")
    for other in known:
        if other.name != file.name and (digests["sha256"] == other.sha256 or digests["md5"] == other.md5):
            raise DisbenchError(f"{path} is {other.name} under another name; expected {file.name}.")
    if file.has_copies or (file.sha256 is None and file.md5 is None):
        return Verified(size, digests["sha256"], "content")
    if file.size is not None and size < file.size:
        raise DisbenchError(
            f"{path} has {size:,} bytes of {file.size:,}: it is another file than {file.name}, or its download was cut "
            "off. Fetch it again."
        )
    hash_name = "sha256" if file.sha256 else "md5"
    raise DisbenchError(
        f"{path} is not {file.name} as it was published: it has {size:,} bytes and {hash_name} {digests[hash_name]}; "
        f"expected {file.describe()}. It is another version, or damaged; fetch it again."
    )


def _refuse_web_page(path: Path, file: SourceFile) -> None:
    with open(path, "rb") as opened:
        start = opened.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--", b"<script", b"<meta", b"<body")):
        raise DisbenchError(
            f"{path} is a web page that was saved under the name of {file.name} (file hosts send one when a quota is "
            "spent); delete it and fetch the file itself."
        )


def _digests(path: Path, names: Iterable[str], progress: bool) -> dict[str, str]:
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with open(path, "rb") as file, _bar(path.stat().st_size, f"verify {path.name}", progress) as bar:
        while block := file.read(_BLOCK):
            for digest in digests.values():
                digest.update(block)
            bar.update(len(block))
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _bar(total: int | None, what: str, progress: bool) -> tqdm:
    return tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=not progress, file=sys.stderr)


def download(file: SourceFile, progress: bool, dataset: str = "") -> Path:
    """Fetch a file from the first of its addresses that delivers it whole; what was fetched before is kept and resumed.

    Of several processes that want the same file, one fetches it; the others wait and take what it fetched.

    Raises:
        UsageError: no address delivers the file, or there is no room; the message says which file to put where.
    """
    folder = downloads_dir()
    check_writable(folder)
    target = folder / file.name
    failures = []
    with (
        open(folder / f"{file.name}.lock", "wb") as lock,
        exclusively(lock, f"waiting for another process that fetches {file.name}."),
    ):
        if _is_there(target, file):
            return target
        for url in file.urls:
            part = folder / f"{file.name}.part"
            try:
                _download_from(url, file, part, progress)
                verify(part, file, (), progress=False)
            except (HTTPException, OSError) as error:  # URLError is an OSError
                failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
            except UsageError:
                raise
            except DisbenchError as error:
                _forget(part)
                failures.append(f"{url}: {error}")
            else:
                os.replace(part, target)
                _forget(part)
                return target
    reasons = "\n  ".join(failures)
    raise UsageError(f"{file.name} could not be downloaded.\n  {reasons}\n{by_hand([file], dataset)}")


def _is_there(target: Path, file: SourceFile) -> bool:
    try:
        verify(target, file, (), progress=False)
    except DisbenchError:
        return False
    return True


def sizes(files: Iterable[SourceFile]) -> tuple[int, str]:
    """Bytes of some files together, as far as known, and the same in words."""
    files = list(files)
    n_bytes = sum(file.size or file.about or 0 for file in files)
    if all(file.size for file in files):
        return n_bytes, human_bytes(n_bytes)
    return n_bytes, f"about {human_bytes(n_bytes)}" if n_bytes else "size unknown"


def by_hand(files: Iterable[SourceFile], dataset: str) -> str:
    """What a person has to fetch for a data set, and where to put it."""
    lines = [
        f"  {file.describe()}\n    from {file.urls[0] if file.urls else file.page or 'its authors'}" for file in files
    ]
    return (
        "Fetch by hand:\n"
        + "\n".join(lines)
        + f"\nand put {'it' if len(lines) == 1 else 'them'} into {downloads_dir()}, "
        "or into the folder named by --data-dir or DISBENCH_DATA"
    ) + (f"; or name it: disbench datasets prepare {dataset} --from PATH" if dataset else ".")


def _notes(part: Path) -> Path:
    """Beside what was fetched so far: which version of the file at which address it is."""
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _download_from(url: str, file: SourceFile, part: Path, progress: bool) -> None:
    """Complete the file's bytes in `part`.

    Raises:
        OSError, HTTPException: they are not complete; what came is kept.
    """
    begun = _read_json(_notes(part))
    start = part.stat().st_size if part.is_file() and begun.get("url") == url and begun.get("validator") else 0
    if start and start == begun.get("total"):
        return
    answer = _asked(url, start, begun.get("validator", ""))
    if start and not _goes_on(answer, start, begun):
        if answer.status != 200:
            answer.close()
            answer = _asked(url, 0, "")
        start = 0
    with answer:
        total = start + length if (length := _content_length(answer)) is not None else None
        _check_announced(file, total, answer.headers.get_content_type())
        check_space(part.parent, (total or file.size or file.about or 0) - start, f"downloading {file.name}")
        if not start:
            _forget(part)  # before the notes change, which say what is in it
            validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            _notes(part).write_text(json.dumps({"url": url, "validator": validator, "total": total}))
        whole = total if total is not None or file.has_copies else file.size
        with open(part, "ab" if start else "wb") as out:
            _copy(answer, out, start, whole, file, progress)
    size = part.stat().st_size
    if whole is not None and size != whole:
        raise OSError(f"the connection ended after {size:,} of {whole:,} bytes; run it again to go on")


def _asked(url: str, start: int, validator: str) -> HTTPResponse:
    """The answer to a request for a file, from byte `start` on if it is still that version; 416 is an answer, too."""
    request = Request(url, headers={"User-Agent": f"disbench/{disbench.__version__} (benchmark data sets)"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", validator)
    try:
        answer: HTTPResponse = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and start:  # nothing is left of that range: another file by now
            return cast(HTTPResponse, error)
        raise
    return answer


def _goes_on(answer: HTTPResponse, start: int, begun: Mapping[str, Any]) -> bool:
    """Whether an answer is the rest of what was begun."""
    if answer.status != 206:
        return False
    begins_there = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    length = _content_length(answer)
    is_as_long = None in (length, begun.get("total")) or start + (length or 0) == begun["total"]
    return begins_there and is_as_long and validator in (None, begun["validator"])


def _content_length(answer: HTTPResponse) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _check_announced(file: SourceFile, total: int | None, content_type: str) -> None:
    if content_type == "text/html":
        raise OSError("a web page came in place of the file")
    if total is not None and file.size is not None and total != file.size and not file.has_copies:
        raise OSError(f"the file there has {total:,} bytes; expected {file.size:,}")


def _copy(answer: HTTPResponse, out: BinaryIO, start: int, whole: int | None, file: SourceFile, progress: bool) -> None:
    with _bar(whole, f"download {file.name}", progress) as bar:
        bar.update(start)
        size = start
        while block := answer.read(_BLOCK):
            size += len(block)
            if whole is not None and size > whole:
                raise DisbenchError(f"it goes on after the {whole:,} bytes that it should have")
            if whole is None and shutil.disk_usage(Path(out.name).parent).free < _ROOM:
                raise OSError("the disk is full")
            out.write(block)
            bar.update(len(block))


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
