"""The result record: one self-contained JSON line per evaluation.

schema      "disbench.record/1"
key         what may share a column: protocol, data set and its content hash, per metric its version, settings and
            the identity hash of its numbers, and the reducer
identity    sha256 of the key
model       name, content hash, and how it was trained, as far as known
sample      eval seeds, sha256 of every index drawn for codes, how many images were asked for, encoded and probed; how
            many images the model made, by what, from what, and which they were compared with, of the first eval seed
scores      by value name: value, status, reason; with repeats also the mean's 95 % interval and each repeat
details     by metric: the small matrices behind its numbers, of the first eval seed
run         versions, device, seconds of each step, command, time
hash        sha256 of the line before it; records of old have none
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from disbench.errors import DisbenchError, UsageError
from disbench.files import exclusively

SCHEMA = "disbench.record/1"
_HASH = ', "hash": "'
_NONE = type(None)
_LONGEST_NAME = 200
_ABSENT = object()
_NOTHING = type(_ABSENT)  # a part that need not be there
_SHAPE: Mapping[str, Mapping[str, tuple[type, ...]]] = {  # by path: the types of what lies there
    "": {"identity": (str,), "key": (dict,), "model": (dict,), "sample": (dict,), "scores": (dict,), "details": (dict,),
         "run": (dict,)},
    "key": {"protocol": (dict,), "dataset": (dict,), "metrics": (dict,), "reducer": (str, _NONE)},
    "key.protocol": {"name": (str,), "version": (int,)},
    "key.dataset": {"name": (str,), "content_hash": (str,)},
    "model": {"name": (str,), "kind": (str, _NOTHING), "config": (dict, _NOTHING), "method": (str, _NOTHING),
              "content_hash": (str, _NONE), "train": (dict,), "input_range": (list, _NONE)},
    "model.train": {"train_seed": (int, _NONE, _NOTHING), "steps": (int, _NONE, _NOTHING),
                    "planned_steps": (int, _NONE, _NOTHING), "command": (str, _NOTHING)},
    "sample": {"eval_seeds": (list,)},
    "run": {"command": (str, _NOTHING), "versions": (dict, _NOTHING), "seconds": (dict, _NOTHING)},
}  # fmt: skip
_PATHS = [(path.split(".") if path else [], path, expected) for path, expected in _SHAPE.items()]
_METRIC: Mapping[str, tuple[type, ...]] = {"version": (int,), "settings": (dict,), "identity": (str,)}
_SCORE: Mapping[str, tuple[type, ...]] = {"value": (int, float, _NONE), "status": (str,), "reason": (str,)}
_PARTS = ("schema", "key", "identity", "model", "sample", "scores", "details", "run")


def identity(key: Mapping[str, Any]) -> str:
    """sha256 of a key, written in one way only."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def make_key(
    protocol: Mapping[str, Any],
    dataset: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    reducer: str | None,
) -> dict[str, Any]:
    """The key of a record; every metric gets the identity of its own numbers.

    Args:
        protocol: name and version. The version says what a protocol runs and is no part of a number's identity.
        dataset: name and content hash.
        metrics: by name: version and settings.
        reducer: name, or None.
    """
    own = {
        name: identity(
            {"protocol": protocol["name"], "dataset": dataset, "metric": name, "reducer": reducer, **description}
        )
        for name, description in metrics.items()
    }
    described = {name: {**description, "identity": own[name]} for name, description in metrics.items()}
    return {"protocol": dict(protocol), "dataset": dict(dataset), "metrics": described, "reducer": reducer}


def run_info(device: str, seconds: Mapping[str, float], command: str) -> dict[str, Any]:
    """What the run part of a record says about this machine and moment."""
    import joblib
    import numpy
    import sklearn
    import torch

    import disbench

    return {
        "versions": {
            "disbench": disbench.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "scikit-learn": sklearn.__version__,
            "joblib": joblib.__version__,
        },
        "device": device,
        "threads": torch.get_num_threads(),
        "seconds": {step: round(value, 3) for step, value in seconds.items()},
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def to_line(record: Mapping[str, Any]) -> str:
    """The record as one line of strict JSON that ends with its hash, without the line's end."""
    text = json.dumps({part: content for part, content in record.items() if part != "hash"}, allow_nan=False)
    return f'{text[:-1]}{_HASH}{hashlib.sha256(text.encode()).hexdigest()}"}}'


def from_line(line: str) -> dict[str, Any]:
    """The record of a line, checked; `hash` is added to one of old.

    Raises:
        DisbenchError: it is no record of this schema, lacks a part, is not built as one, or was edited.
    """
    record = _parsed(line)
    if record is None:
        raise DisbenchError("this is no record; expected one JSON object a line.")
    text, _, rest = line.rpartition(_HASH)
    is_sealed = isinstance(record, dict) and "hash" in record
    if is_sealed:
        found = hashlib.sha256(f"{text}}}".encode()).hexdigest()
        if rest != f'{found}"}}' or record["hash"] != found:
            raise DisbenchError("the record's hash does not fit what is in it: it was edited, or written by a tool.")
    validate(record, is_intact=is_sealed)
    if not is_sealed:
        record["hash"] = hashlib.sha256(line.encode()).hexdigest()
    return record


def is_sealed(line: str) -> bool:
    """Whether a line that `from_line` takes ends with a hash of its own."""
    return line[-len(_HASH) - 66 : -66] == _HASH and line.endswith('"}')


def _parsed(line: str) -> Any:
    """What a line is as strict JSON; None if it is none."""
    try:
        return _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(number: str) -> float:
    found = float(number)
    return found if math.isfinite(found) else _refused(number)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refused)


def validate(record: Any, *, is_intact: bool = False) -> None:
    """Check a record that was read; the key of one that `is_intact`, as its hash says, fits its identity.

    Raises:
        DisbenchError: it is of another schema, lacks a part, is not built as one, or its identity does not fit its key.
    """
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise DisbenchError(
            f"expected a record of schema {SCHEMA!r}, found {found!r}; a newer disbench may have written it."
        )
    if missing := [part for part in _PARTS if part not in record]:
        raise DisbenchError(f"the record lacks {', '.join(missing)}.")
    for keys, path, expected in _PATHS:
        found = record
        for key in keys:
            found = found[key]
        _check_built(found, expected, path)
    if len(record["model"]["name"]) > _LONGEST_NAME:
        raise DisbenchError(f"the model's name has more than {_LONGEST_NAME} characters.")
    for metric, described in record["key"]["metrics"].items():
        _check_built(described, _METRIC, "key.metrics", metric)
    for value, score in record["scores"].items():
        _check_built(score, _SCORE, "scores", value)
    if not is_intact and record["identity"] != identity(record["key"]):
        raise DisbenchError("the record's identity hash does not fit its key: it was edited.")


def _check_built(found: Any, expected: Mapping[str, tuple[type, ...]], *where: str) -> None:
    """Check that what lies somewhere is a JSON object with what is expected in it, of the right types."""
    if type(found) is not dict:
        raise _not_built(where, found, (dict,))
    for name, kinds in expected.items():
        if type(found.get(name, _ABSENT)) not in kinds:
            raise _not_built((*where, name), found.get(name, _ABSENT), kinds)


def _not_built(where: Iterable[str], found: Any, kinds: Iterable[type]) -> DisbenchError:
    path = ".".join(filter(None, where))
    if found is _ABSENT:
        return DisbenchError(f"the record is not built as one: it has no {path}.")
    expected = " or ".join("null" if kind is _NONE else kind.__name__ for kind in kinds if kind is not _NOTHING)
    return DisbenchError(f"the record is not built as one: {path} is {type(found).__name__}; expected {expected}.")


class RecordFile:
    """A file of records, opened before work starts; lines are appended whole.

    Two processes can append to one file: each line is one write under a lock, on disk before `append` returns.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_file():
            raise UsageError(f"{self.path} cannot be opened for writing: it is a folder or a device.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._is_ours = not self.path.exists()
            self._descriptor = self._open()
        except OSError as error:
            raise UsageError(f"{self.path} cannot be opened for writing: {error.strerror}.") from None

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *_: object) -> None:
        with exclusively(self._descriptor):
            if self._is_ours and not os.fstat(self._descriptor).st_size:  # nothing came of it
                self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record as one line; a truncated last line that an earlier crash left is closed first.

        Raises:
            DisbenchError: the disk is full; the file is as it was.
        """
        line = (to_line(record) + "\n").encode()
        while not self._append_line(line):  # another process opened the file too, failed and removed it
            os.close(self._descriptor)
            self._descriptor = self._open()

    def _append_line(self, line: bytes) -> bool:
        """Whether the line was written: not into a file that has been removed meanwhile."""
        with exclusively(self._descriptor):
            status = os.fstat(self._descriptor)
            if not status.st_nlink:
                return False
            if status.st_size and os.pread(self._descriptor, 1, status.st_size - 1) != b"\n":
                line = b"\n" + line
            if os.write(self._descriptor, line) != len(line):
                os.ftruncate(self._descriptor, status.st_size)
                raise DisbenchError(f"{self.path} has no room for the record: the disk is full.")
            os.fsync(self._descriptor)
        return True

    def find(self, key: Mapping[str, Any], model: Mapping[str, Any], eval_seeds: list[int]) -> dict[str, Any] | None:
        """The latest record of the same numbers of the same model; None for a model without a content hash."""
        if model["content_hash"] is None:
            return None
        found = None
        for record in read(self.path):
            is_same = record["identity"] == identity(key) and record["sample"]["eval_seeds"] == eval_seeds
            if is_same and all(record["model"][part] == model[part] for part in ("content_hash", "input_range")):
                found = {part: record[part] for part in _PARTS}
        return found


def read(path: str | Path) -> Iterator[dict[str, Any]]:
    """The records of a file, as `numbered` reads them."""
    return (record for _, record in numbered(path))


def numbered(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a file, in order, each with its line, from 1; the beginning of one is passed over, as a crash can
    leave it.

    Raises:
        UsageError: there is no such file.
        DisbenchError: a whole line is not a valid record.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DisbenchError(f"{path} is no file of records: it is not UTF-8 text.") from None
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = from_line(line)
        except DisbenchError as error:
            if _is_cut_off(line):
                continue
            raise DisbenchError(f"{path}, line {number}: {error}") from None
        yield number, record


def cut_off(path: str | Path) -> list[int]:
    """Lines of a file that are the beginning of a record, from 1, which readers pass over."""
    lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    return [number for number, line in enumerate(lines, 1) if not is_sealed(line) and _is_cut_off(line)]


def _is_cut_off(line: str) -> bool:
    if not line.startswith('{"sch'):
        return False
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False
