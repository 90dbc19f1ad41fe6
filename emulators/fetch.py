"""Fetching a pinned download into a cache, for machines on which the Google Cloud SDK brings no emulators.

A download that was interrupted goes on where it ended. The pinned digest alone says whether a file is the right one, so
neither the server's ETag nor its promise of ranges need be trusted.
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
from emulators.progress import STDERR, Told, progress, say
from shared.http_client import explain, open_client
from shared.settings import SettingsWrong

TIMEOUT: Final = httpx.Timeout(20, connect=5)
ATTEMPTS: Final = 5


class Unobtainable(StartFailed):
    """Something that is needed is not here and cannot be fetched; the message says what, and why."""


class _Spoilt(Exception):
    """What was resumed has another digest: its beginning is of another file, so it is fetched from the start."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file, or a zip archive, at one URL. `program` is what is run: the file itself, or its path in the archive."""

    url: str
    sha256: str
    program: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def fetch(download: Download, cache: Path, console: Console = STDERR) -> Path:
    """Return the program's path below `cache`, downloaded if it is not there yet. Raises Unobtainable.

    The digest is compared before every use; a file that does not match is fetched again, and never run. Of several
    processes that fetch into one cache, one does so and the others wait for it.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache, console):
            file = cache / download.file_name
            if not is_cached(download, cache):
                _download(download, file, console)
            return _unpacked(file, download.sha256) / download.program if file.suffix == ".zip" else file
    except OSError as error:
        raise Unobtainable(f"{download.url} cannot be kept in {cache}: {error.strerror or error}") from error


def is_cached(download: Download, cache: Path) -> bool:
    """Return whether `fetch` would find the file, with its digest, without asking anybody."""
    file = cache / download.file_name
    return file.exists() and _digest(file) == download.sha256


def require_answer(url: str) -> None:
    """Ask once whether the URL can be had now. Raises Unobtainable."""
    try:
        with open_client(url, timeout=TIMEOUT) as http:
            http.head(url).raise_for_status()
    except (httpx.HTTPError, SettingsWrong) as error:
        raise _unobtainable(url, error) from None


@contextmanager
def _alone(cache: Path, console: Console) -> Iterator[None]:
    """Hold the lock of the folder itself, which leaves no file behind and ends with the process."""
    folder = os.open(cache, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(console, f"waits for another process that fetches into {cache}")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _download(download: Download, to: Path, console: Console) -> None:
    partial = to.with_name(f"{to.name}.{download.sha256[:12]}.part")
    before = _size(partial)
    say(console, f"{'goes on with' if before else 'downloads'} {download.url}")
    attempts = stamina.retry_context(
        on=lambda error: _may_pass(error, begun=_size(partial) > before),
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=1.0,
        wait_max=10.0,
    )
    try:
        with progress(to.name, console) as told:
            for attempt in attempts:
                with attempt:
                    _receive(download, partial, told)
    except (httpx.HTTPError, SettingsWrong, _Spoilt) as error:
        raise _unobtainable(download.url, error) from None
    finally:
        if _size(partial) == 0:
            partial.unlink(missing_ok=True)
    partial.replace(to)


def _may_pass(error: Exception, *, begun: bool) -> bool:
    """Return whether another attempt can help. A server that has not sent anything yet is tried once."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == httpx.codes.TOO_MANY_REQUESTS or error.response.is_server_error
    if isinstance(error, httpx.ConnectError | httpx.TimeoutException | httpx.ProxyError):
        return begun
    return isinstance(error, httpx.TransportError | _Spoilt)


def _receive(download: Download, partial: Path, told: Told) -> None:
    """Add to the partial file what it lacks, until it has the pinned digest."""
    there = _size(partial)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with (
        open_client(download.url, timeout=TIMEOUT) as http,
        http.stream("GET", download.url, headers=headers) as response,
    ):
        past_the_end = there > 0 and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
        if not past_the_end:
            response.raise_for_status()
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                there = 0  # this server knows no ranges, and sends the whole
            _write(response, partial, there, told)
    if _digest(partial) == download.sha256:
        return
    partial.unlink()
    if there:
        raise _Spoilt("what was resumed is not the pinned file")
    raise Unobtainable(f"{download.url} does not have the SHA-256 {download.sha256}; it was thrown away")


def _write(response: httpx.Response, partial: Path, there: int, told: Told) -> None:
    length = response.headers.get("Content-Length", "")
    whole = there + int(length) if length.isdecimal() else None
    with partial.open("ab" if there else "wb") as file:
        for (
            chunk
        ) in response.iter_raw():  # as it comes: a size of ours would lose what an interruption leaves short of it
            file.write(chunk)
            there += len(chunk)
            told(there, whole)


def _unobtainable(url: str, error: Exception) -> Unobtainable:
    if isinstance(error, httpx.HTTPStatusError):
        return Unobtainable(f"{url} cannot be fetched: it was answered {error.response.status_code}")
    said = explain(error, httpx.URL(url)) if isinstance(error, httpx.HTTPError) else str(error)
    return Unobtainable(f"{url} cannot be fetched: {said}")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _unpacked(archive: Path, sha256: str) -> Path:
    """Return the folder of the archive's files, named by its digest; it appears only when whole."""
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
