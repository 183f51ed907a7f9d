"""Writing files whole or not at all, and one process at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from disbench.errors import UsageError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well; if it does not, `path` stays as it was.

    Raises:
        UsageError: the folder cannot be written; said when the block is entered, before any work.
    """
    path = Path(path).resolve()  # through links, whose target is what is meant
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} cannot be written: it is a folder or a device.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(part, "wb")  # noqa: SIM115 (closed below; only opening it may fail here)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def check_can_write(path: str | Path) -> None:
    """Refuse before any work what `replacing` would refuse after it.

    Raises:
        UsageError: the folder cannot be written.
    """
    with contextlib.suppress(InterruptedError), replacing(path):
        raise InterruptedError  # leaves the path as it was


@contextlib.contextmanager
def exclusively(file: int | BinaryIO, waiting: str = "") -> Iterator[None]:
    """One process at a time holds the lock on an open file, where the system has locks; the others say so and wait."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting:
            print(f"disbench: {waiting}", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextlib.contextmanager
def claimed(folder: Path, taken: str) -> Iterator[None]:
    """The folder is this process's alone, where the system has locks; it takes them away from a process that dies.

    Raises:
        UsageError: another process has it; `taken` is the message.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(folder / ".lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(taken) from None
        yield
