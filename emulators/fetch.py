"""Fetching a pinned download into a cache, for machines where the Google Cloud SDK brings no emulators."""

import hashlib
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from emulators.processes import StartFailed
from shared.http_client import explain, open_client
from shared.settings import SettingsWrong

TIMEOUT: Final = httpx.Timeout(30, connect=10)
CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Download:
    """A file, or a zip archive, at one URL. `program` is what is run: the file itself, or its path in the archive."""

    url: str
    sha256: str
    program: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def fetch(download: Download, cache: Path) -> Path:
    """Return the program's path below `cache`, downloaded where it is not there yet. Raises StartFailed.

    The digest is compared before every use; a file that does not match is fetched again, and never run.
    """
    file = cache / download.file_name
    if not file.exists() or _digest(file) != download.sha256:
        cache.mkdir(parents=True, exist_ok=True)
        _download(download, file)
    if file.suffix != ".zip":
        return file
    return _unpacked(file, download.sha256) / download.program


def _download(download: Download, to: Path) -> None:
    with tempfile.TemporaryDirectory(dir=to.parent) as scratch:
        partial = Path(scratch) / to.name
        try:
            with (
                open_client(download.url, timeout=TIMEOUT) as http,
                http.stream("GET", download.url) as response,
                partial.open("wb") as file,
            ):
                response.raise_for_status()
                for chunk in response.iter_raw(CHUNK):
                    file.write(chunk)
        except httpx.HTTPStatusError as error:
            raise StartFailed(f"{download.url} was answered {error.response.status_code}.") from None
        except httpx.HTTPError as error:
            raise StartFailed(f"{download.url} cannot be fetched: {explain(error, httpx.URL(download.url))}") from None
        except SettingsWrong as error:
            raise StartFailed(str(error)) from None
        if _digest(partial) != download.sha256:
            raise StartFailed(f"{download.url} does not have the SHA-256 {download.sha256}; it was thrown away.")
        partial.replace(to)


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
