"""Downloads from a host here that cuts connections, lies about lengths, changes the file and sends web pages."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from disbench import sources
from disbench.errors import DisbenchError, UsageError
from disbench.sources import SourceFile, download, verify

CONTENT = np.random.default_rng(0).bytes(3_000_000)
OTHER = np.random.default_rng(1).bytes(3_000_000)
PAGE = b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>"


@dataclass
class Host:
    """What a server has at its one address, and how it behaves; `asked` lists the Range of each request."""

    content: bytes = CONTENT
    validator: str | None = '"v1"'
    validator_header: str = "ETag"
    content_type: str = "application/octet-stream"
    status: int = 200
    cut_after: int | None = None  # bytes sent before the connection ends, once
    has_range: bool = True
    has_if_range: bool = True
    has_length: bool = True
    announced: int | None = None  # in place of the true length
    range_shift: int = 0  # bytes by which a partial answer begins too early
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        start, status = 0, self.status
        if status != 200:
            handler.send_error(status)
            return
        condition = handler.headers.get("If-Range")
        if wanted and self.has_range and (condition == self.validator or not self.has_if_range):
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")) - self.range_shift, 206
            if start >= len(self.content):
                handler.send_error(416)
                return
        body = self.content[start:]
        handler.send_response(status)
        handler.send_header("Content-Type", self.content_type)
        if self.has_length:
            handler.send_header("Content-Length", str(self.announced or len(body)))
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.validator:
            handler.send_header(self.validator_header, self.validator)
        handler.end_headers()
        cut, self.cut_after = self.cut_after, None
        with contextlib.suppress(OSError):  # the other side may have hung up
            handler.wfile.write(body if cut is None else body[:cut])


Serve = Callable[..., Host]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts hosts; downloads go to a folder of the test, and no proxy stands between."""
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    servers = []

    def start(**settings: object) -> Host:
        host = Host(**settings)  # type: ignore[arg-type]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        servers.append((server, thread))
        host.url = f"http://127.0.0.1:{server.server_port}/data/set.npz"
        return host

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def file_at(*urls: str, **changes: object) -> SourceFile:
    known: dict[str, object] = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    return SourceFile("set.npz", urls=urls, **(known | changes))  # type: ignore[arg-type]


def left() -> set[str]:
    """What lies in the folder of downloads, locks apart."""
    return {path.name for path in sources.downloads_dir().iterdir() if path.suffix != ".lock"}


PART = {"set.npz.part", "set.npz.part.json"}


def test_a_whole_download(serve: Serve) -> None:
    host = serve()
    path = download(file_at(host.url), progress=False)
    assert path == sources.downloads_dir() / "set.npz"
    assert path.read_bytes() == CONTENT
    assert left() == {"set.npz"}
    assert host.asked == [None]


def test_a_file_that_is_there_is_not_fetched_again_and_a_wrong_one_is(serve: Serve) -> None:
    host = serve()
    path = download(file_at(host.url), progress=False)
    download(file_at(host.url), progress=False)
    assert host.asked == [None]
    path.write_bytes(OTHER)
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT
    assert host.asked == [None, None]


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_a_cut_download_goes_on_where_it_ended(serve: Serve, header: str) -> None:
    host = serve(cut_after=1_234_567, validator_header=header, validator="Sat, 01 Jan 2022 00:00:00 GMT")
    with pytest.raises(UsageError, match="ended after 1,234,567 of 3,000,000 bytes; run it again to go on"):
        download(file_at(host.url), progress=False)
    assert left() == PART
    path = download(file_at(host.url), progress=False)
    assert host.asked == [None, "bytes=1234567-"]
    assert path.read_bytes() == CONTENT
    assert left() == {"set.npz"}


def test_a_download_can_be_cut_many_times(serve: Serve) -> None:
    host = serve()
    for _ in range(3):
        host.cut_after = 900_000
        with pytest.raises(UsageError, match="run it again to go on"):
            download(file_at(host.url), progress=False)
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT
    assert host.asked == [None, "bytes=900000-", "bytes=1800000-", "bytes=2700000-"]


def begin(host: Host, **changes: object) -> None:
    """Fetch a third of the file."""
    host.cut_after = 1_000_000
    with pytest.raises(UsageError):
        download(file_at(host.url, **changes), progress=False)


def test_a_host_without_ranges_sends_all_again(serve: Serve) -> None:
    host = serve(has_range=False)
    begin(host)
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT
    assert host.asked == [None, "bytes=1000000-"]


@pytest.mark.parametrize("has_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_begun_anew(serve: Serve, has_if_range: bool) -> None:
    host = serve(content=OTHER, has_if_range=has_if_range)
    begin(host, sha256=None)
    host.content, host.validator = CONTENT, '"v2"'
    assert download(file_at(host.url, sha256=None), progress=False).read_bytes() == CONTENT
    assert host.asked == [None, "bytes=1000000-", *([] if has_if_range else [None])]


def test_a_file_that_became_shorter_is_begun_anew(serve: Serve) -> None:
    host = serve(has_if_range=False)
    begin(host, sha256=None, size=None)
    host.content = CONTENT[:500_000]
    path = download(file_at(host.url, sha256=None, size=None), progress=False)
    assert path.read_bytes() == CONTENT[:500_000]


def test_a_partial_answer_from_another_place_is_not_appended(serve: Serve) -> None:
    host = serve(range_shift=1000)
    begin(host, sha256=None)
    assert download(file_at(host.url, sha256=None), progress=False).read_bytes() == CONTENT
    assert host.asked == [None, "bytes=1000000-", None]


def test_without_a_version_nothing_is_appended(serve: Serve) -> None:
    host = serve(validator=None, content=OTHER)
    begin(host, sha256=None)
    host.content = CONTENT
    assert download(file_at(host.url, sha256=None), progress=False).read_bytes() == CONTENT
    assert host.asked == [None, None]


def test_notes_about_another_address_or_cut_off_are_not_believed(serve: Serve) -> None:
    host = serve(content=OTHER)
    begin(host)
    other = serve()
    assert download(file_at(other.url), progress=False).read_bytes() == CONTENT
    assert other.asked == [None]
    sources.downloads_dir().joinpath("set.npz").unlink()
    begin(host)
    notes = sources.downloads_dir() / "set.npz.part.json"
    notes.write_text(notes.read_text()[:20])
    host.content = CONTENT
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT


def test_what_was_complete_and_not_verified_yet_is_not_fetched_again(serve: Serve) -> None:
    host = serve()
    folder = sources.downloads_dir()
    folder.mkdir(parents=True)
    (folder / "set.npz.part").write_bytes(CONTENT)
    (folder / "set.npz.part.json").write_text(json.dumps({"url": host.url, "validator": '"v1"', "total": len(CONTENT)}))
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT
    assert host.asked == []


@pytest.mark.parametrize("bad", [{"status": 404}, {"content": OTHER}, {"content": CONTENT[:-1]}, {"content": PAGE}])
def test_mirrors_are_tried_in_order(serve: Serve, bad: dict[str, object]) -> None:
    first, second, third = serve(**bad), serve(), serve()
    assert download(file_at(first.url, second.url, third.url), progress=False).read_bytes() == CONTENT
    assert (len(first.asked), len(second.asked), len(third.asked)) == (1, 1, 0)
    assert left() == {"set.npz"}


def test_without_a_network_the_message_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/data/set.npz"
    with pytest.raises(UsageError) as caught:
        download(file_at(url), progress=False)
    message = str(caught.value)
    for part in (
        "set.npz could not be downloaded",
        "Connection refused",
        "set.npz (3,000,000 bytes, sha256 " + hashlib.sha256(CONTENT).hexdigest(),
        f"from {url}",
        f"put it into {tmp_path / 'downloads'}",
        "DISBENCH_DATA",
    ):
        assert part in message
    assert left() == set()


def test_the_wrong_bytes_are_refused_and_deleted(serve: Serve) -> None:
    host = serve(content=OTHER)
    with pytest.raises(
        UsageError, match=r"is not set.npz as it was published.*expected set.npz .3,000,000 bytes, sha256"
    ):
        download(file_at(host.url), progress=False)
    assert left() == set()


@pytest.mark.parametrize("start", [PAGE, b"<!-- sorry --><html>", b"\xef\xbb\xbf<HTML>", b"<script>go()</script>"])
def test_a_web_page_under_the_files_name_is_refused(serve: Serve, start: bytes) -> None:
    host = serve(content=start + b" " * 100)
    with pytest.raises(UsageError, match=r"is a web page that was saved under the name of set.npz"):
        download(file_at(host.url, size=None, sha256=None), progress=False)
    assert left() == set()


def test_an_announced_web_page_does_not_touch_what_was_begun(serve: Serve) -> None:
    host = serve()
    begin(host)
    host.content, host.content_type, host.has_range = PAGE, "text/html; charset=utf-8", False
    with pytest.raises(UsageError, match="a web page came in place of the file"):
        download(file_at(host.url), progress=False)
    host.content, host.content_type, host.has_range = CONTENT, "application/octet-stream", True
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT
    assert host.asked == [None, "bytes=1000000-", "bytes=1000000-"]


def test_another_length_is_refused_before_anything_is_fetched(serve: Serve) -> None:
    host = serve(content=CONTENT + b"more")
    with pytest.raises(UsageError, match="the file there has 3,000,004 bytes; expected 3,000,000"):
        download(file_at(host.url), progress=False)
    assert left() == set()


def test_a_copy_of_another_length_is_taken_where_copies_are(serve: Serve) -> None:
    host = serve(content=CONTENT + b"more")
    assert download(file_at(host.url, has_copies=True), progress=False).read_bytes() == CONTENT + b"more"
    (sources.downloads_dir() / "set.npz").unlink()
    host.has_length = False
    assert download(file_at(host.url, has_copies=True), progress=False).read_bytes() == CONTENT + b"more"


def test_more_bytes_than_announced_do_not_come_through(serve: Serve) -> None:
    host = serve(announced=len(CONTENT) - 5)
    with pytest.raises(UsageError, match="has 2,999,995 bytes"):
        download(file_at(host.url), progress=False)
    with pytest.raises(UsageError, match=r"is not set.npz as it was published: it has 2,999,995 bytes"):
        download(file_at(host.url, size=None), progress=False)
    assert left() == set()


def test_fewer_bytes_than_announced_are_kept_to_go_on(serve: Serve) -> None:
    host = serve(announced=len(CONTENT) + 5)
    with pytest.raises(UsageError, match="ended after 3,000,000 of 3,000,005 bytes"):
        download(file_at(host.url, size=None), progress=False)
    assert left() == PART


def test_no_length_announced(serve: Serve) -> None:
    host = serve(has_length=False)
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT
    (sources.downloads_dir() / "set.npz").unlink()
    host.cut_after = 1_000_000
    with pytest.raises(UsageError, match="ended after 1,000,000 of 3,000,000 bytes"):
        download(file_at(host.url), progress=False)
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT
    assert host.asked[-1] == "bytes=1000000-"


def test_a_stream_without_an_end_is_stopped(serve: Serve) -> None:
    host = serve(has_length=False, content=CONTENT + bytes(20_000_000))
    with pytest.raises(UsageError, match="goes on after the 3,000,000 bytes that it should have"):
        download(file_at(host.url), progress=False)
    assert left() == set()


Usage = namedtuple("Usage", "total used free")


def test_a_stream_of_unknown_length_stops_before_the_disk_is_full(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = serve(has_length=False, content=CONTENT + bytes(3_000_000))
    free = iter([1 << 40] * 4 + [0] * 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, next(free)))
    with pytest.raises(UsageError, match="the disk is full"):
        download(file_at(host.url, size=None, sha256=None), progress=False)
    assert "set.npz" not in left()


def test_no_room_is_said_before_anything_is_fetched(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    host = serve()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, (64 << 20) + 2_000_000))
    with pytest.raises(UsageError, match=r"downloading set.npz takes 3.0 MB, and .* has 69.1 MB free; make room"):
        download(file_at(host.url), progress=False)
    assert left() == set()


def test_a_resumed_download_needs_room_for_the_rest_only(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    host = serve()
    begin(host)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, (64 << 20) + 2_000_000))
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT


def test_threads_that_want_the_same_file_fetch_it_once(serve: Serve) -> None:
    host = serve()
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(download(file_at(host.url), progress=False))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 6
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert host.asked == [None]
    assert left() == {"set.npz"}


def test_processes_that_want_the_same_file_do_not_spoil_it(serve: Serve) -> None:
    host = serve()
    file = file_at(host.url)
    script = f"from disbench.sources import *; print(download({file!r}, False))"
    children = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [child.communicate(timeout=60)[0].decode().strip() for child in children]
    assert outputs == [str(sources.downloads_dir() / "set.npz")] * 2
    assert Path(outputs[0]).read_bytes() == CONTENT
    assert host.asked == [None]


@pytest.mark.parametrize("signal_after", [0.0, 0.05])
def test_a_killed_download_leaves_nothing_under_the_files_name(serve: Serve, signal_after: float) -> None:
    host = serve()
    slow = threading.Event()
    send = host.answer

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.send_header("ETag", '"v1"')
        handler.end_headers()
        handler.wfile.write(CONTENT[:2_500_000])
        handler.wfile.flush()
        slow.wait(30)

    host.answer = answer  # type: ignore[method-assign]
    script = f"from disbench.sources import *; print(download({file_at(host.url)!r}, False))"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    part = sources.downloads_dir() / "set.npz.part"
    while not (part.is_file() and part.stat().st_size):
        assert child.poll() is None
        threading.Event().wait(0.01)
    threading.Event().wait(signal_after)
    child.kill()
    child.communicate()
    slow.set()
    assert left() == PART
    begun = part.stat().st_size
    host.answer = send  # type: ignore[method-assign]
    assert download(file_at(host.url), progress=False).read_bytes() == CONTENT
    assert host.asked == [f"bytes={begun}-"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes of 3,000,000: it is another file than set.npz, or its download was cut off"),
        (CONTENT[:-1], "has 2,999,999 bytes of 3,000,000"),
        (CONTENT + b"x", "has 3,000,001 bytes and sha256 .*expected set.npz"),
        (OTHER, "It is another version, or damaged; fetch it again"),
        (PAGE, "is a web page"),
    ],
)
def test_a_file_brought_by_hand_is_verified(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(DisbenchError, match=message):
        verify(path, file_at(), (), progress=False)


def test_a_file_is_known_by_any_name_and_by_either_hash(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(CONTENT)
    other = SourceFile("other.npz", md5=hashlib.md5(OTHER, usedforsecurity=False).hexdigest())
    with_md5 = file_at(sha256=None, md5=hashlib.md5(CONTENT, usedforsecurity=False).hexdigest())
    assert verify(path, file_at(), [other], progress=False).by == "hash"
    assert verify(path, with_md5, [other], progress=False).by == "hash"
    assert verify(path, SourceFile("set.npz"), [other], progress=False).by == "content"
    path.write_bytes(OTHER)
    with pytest.raises(DisbenchError, match=r"set.npz is other.npz under another name; expected set.npz"):
        verify(path, file_at(), [other], progress=False)


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.npz").mkdir()
    for path in (tmp_path / "set.npz", tmp_path / "gone.npz"):
        with pytest.raises(DisbenchError, match=f"{path} cannot be read: .*; expected the file set.npz"):
            verify(path, file_at(), (), progress=False)
