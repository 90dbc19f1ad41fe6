"""Fetches a pinned download into a cache, for machines without the Google Cloud SDK's emulators.

It resumes a download that was interrupted. Only the pinned digest decides whether a file is the right one, so it need
not trust the server's ETag or its support for ranges.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import stamina
from rich.console import Console

from emulators.processes import StartFailed
from emulators.progress import STDERR, OnProgress, print_line, progress
from shared.http_client import explain, open_client
from shared.settings import SettingsWrong

TIMEOUT: Final = httpx.Timeout(20, connect=5)
ATTEMPTS: Final = 5
MAX_BYTES: Final = 1 << 29
"""More than any of the downloads has: a server that sends without end does not fill the disk."""


class Unobtainable(StartFailed):
    """A file or program is missing and cannot be fetched. The message says which, and why."""


class _Spoilt(Exception):
    """The resumed file has a wrong digest, because its beginning belongs to another file. Fetch it from the start."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file, or a zip archive, at one URL. `program` is the file to run: the download, or its path in the archive."""

    url: str
    sha256: str
    program: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def fetch(download: RemoteFile, cache: Path, console: Console = STDERR) -> Path:
    """Return the program's path below `cache`, downloading it if need be. Raises Unobtainable.

    It checks the digest before every use: a file that does not match is fetched again, and never run. If several
    processes fetch into one cache, one of them does so, and the others wait.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache, console):
            file = cache / download.file_name
            if not is_cached(download, cache):
                _download(download, file, console)
            return _unpacked(file, download.sha256) / download.program if file.suffix == ".zip" else file
    except OSError as error:
        raise Unobtainable(f"{download.url} cannot be kept in {cache}: {error.strerror or error}") from error


def is_cached(download: RemoteFile, cache: Path) -> bool:
    """Return whether the file is in the cache, with its digest."""
    file = cache / download.file_name
    return file.exists() and _digest(file) == download.sha256


def require_answer(url: str) -> None:
    """Request the URL once, to see that it can be fetched now. Raises Unobtainable."""
    try:
        with open_client(url, timeout=TIMEOUT) as http:
            http.head(url).raise_for_status()
    except (httpx.HTTPError, SettingsWrong) as error:
        raise _unobtainable(url, error) from None


@contextmanager
def alone(cache: Path, console: Console) -> Iterator[None]:
    """Hold a lock on the folder itself, which leaves no file behind and ends with the process."""
    folder = os.open(cache, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print_line(console, f"waits for another process, which fetches into {cache}")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _download(download: RemoteFile, to: Path, console: Console) -> None:
    partial = to.with_name(f"{to.name}.{download.sha256[:12]}.part")
    before = _size(partial)
    print_line(console, f"{'resumes' if before else 'downloads'} {download.url}")
    attempts = stamina.retry_context(
        on=lambda error: _may_pass(error, begun=_size(partial) > before),
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=1.0,
        wait_max=10.0,
    )
    try:
        with progress(to.name, console) as on_progress:
            for attempt in attempts:
                with attempt:
                    _receive(download, partial, on_progress)
    except (httpx.HTTPError, SettingsWrong, _Spoilt) as error:
        raise _unobtainable(download.url, error) from None
    finally:
        if _size(partial) == 0:
            partial.unlink(missing_ok=True)
    partial.replace(to)


def _may_pass(error: Exception, *, begun: bool) -> bool:
    """Return whether another attempt can help. If the server has not sent anything yet, there is none."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == httpx.codes.TOO_MANY_REQUESTS or error.response.is_server_error
    if isinstance(error, httpx.ConnectError | httpx.TimeoutException | httpx.ProxyError):
        return begun
    return isinstance(error, httpx.TransportError | _Spoilt)


def _receive(download: RemoteFile, partial: Path, on_progress: OnProgress) -> None:
    """Complete the partial file, and check its digest. Raises Unobtainable, _Spoilt."""
    received = _size(partial)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={received}-"} if received else {})
    with (
        open_client(download.url, timeout=TIMEOUT) as http,
        http.stream("GET", download.url, headers=headers) as response,
    ):
        past_the_end = received > 0 and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
        if not past_the_end:
            response.raise_for_status()
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                received = 0  # this server does not support ranges, and sends the whole file
            _write(response, partial, received, on_progress)
    if _digest(partial) == download.sha256:
        return
    partial.unlink()
    if received:
        raise _Spoilt("the resumed download is not the pinned file")
    raise Unobtainable(f"{download.url} does not have the SHA-256 {download.sha256}. It was discarded.")


def _write(response: httpx.Response, partial: Path, received: int, on_progress: OnProgress) -> None:
    """Append what the server sends, as it sends it. Raises Unobtainable if it is too long."""
    length = response.headers.get("Content-Length", "")
    total = received + int(length) if length.isdecimal() else None
    with partial.open("ab" if received else "wb") as file:
        for chunk in response.iter_raw():  # with a chunk size, an interruption would lose the last, incomplete chunk
            received += len(chunk)
            if received > MAX_BYTES:
                partial.unlink()
                raise Unobtainable(f"{response.url} has more than {MAX_BYTES} bytes. The download was discarded.")
            file.write(chunk)
            on_progress(received, total)


def _unobtainable(url: str, error: Exception) -> Unobtainable:
    if isinstance(error, httpx.HTTPStatusError):
        return Unobtainable(f"{url} cannot be fetched: the answer is {error.response.status_code}")
    reason = explain(error, httpx.URL(url)) if isinstance(error, httpx.HTTPError) else str(error)
    return Unobtainable(f"{url} cannot be fetched: {reason}")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _unpacked(archive: Path, sha256: str) -> Path:
    """Unpack the archive into a folder that its digest names. The folder appears only when it is complete."""
    folder = archive.parent / f"{archive.stem}-{sha256[:12]}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
            whole = Path(scratch) / folder.name
            with zipfile.ZipFile(archive) as files:
                files.extractall(whole)
            shutil.move(whole, folder)
    return folder


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
