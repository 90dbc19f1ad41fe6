"""A download writes no more than the size that was said, whatever the server sends."""

import gzip
import hashlib
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import IO, Any, Final

import pytest
import stamina
from werkzeug import Request, Response
from werkzeug.utils import redirect

from cli.results import download
from emulators import fetch
from emulators.serving import serving
from functions.apis.v1.views import order_view
from functions.domain.order import Output
from shared.client import ControlPlane
from shared.client_errors import OutputMismatch
from shared.domain.order import State
from shared.wire.orders import OrderView
from tests.factories import an_order

UNPACKED: Final = bytes(32 << 20)
BLOCK: Final = 1 << 20
NAME: Final = "output.gz"


def packed(times: int) -> bytes:
    content = UNPACKED
    for _ in range(times):
        content = gzip.compress(content, mtime=0)
    return content


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of bytes of each write to a file that was opened for writing."""
    counted: list[int] = []
    opened: Callable[..., IO[Any]] = Path.open

    def open_and_count(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = opened(self, mode, *arguments, **options)
        return _Counting(file, counted) if set(mode) & set("wax") else file

    monkeypatch.setattr(Path, "open", open_and_count)
    return counted


class _Counting:
    def __init__(self, file: IO[Any], counted: list[int]) -> None:
        self._file, self._counted = file, counted

    def write(self, content: bytes) -> int:
        self._counted.append(len(content))
        return self._file.write(content)

    def __enter__(self) -> "_Counting":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def order_with(content: bytes) -> OrderView:
    digest = hashlib.sha256(content).hexdigest()
    output = Output("k", NAME, "application/gzip", len(content), digest)
    return order_view(an_order(state=State.SUCCEEDED, output=output))


def downloaded(answer: Response, order: OrderView, folder: Path) -> Path:
    """Download as the commands do, from a bucket that gives this answer."""

    def serve(request: Request) -> Response:
        return answer if request.path == "/bucket" else redirect(f"{request.host_url}bucket", 307, Response)

    with serving(Request.application(serve)) as url, ControlPlane(url, "key") as api:
        return download(api, order, folder)


@pytest.mark.parametrize(("encoding", "times"), [("gzip", 1), ("gzip, gzip", 2)])
def test_an_output_that_unpacks_to_more_is_kept_as_it_was_stored(
    tmp_path: Path, written: list[int], encoding: str, times: int
) -> None:
    stored = packed(times)
    answer = Response(stored, headers={"Content-Encoding": encoding})

    file = downloaded(answer, order_with(stored), tmp_path / "out")

    assert file.read_bytes() == stored
    assert sum(written) == len(stored)


def test_an_output_that_does_not_end_is_given_up_at_its_size(tmp_path: Path, written: list[int]) -> None:
    stored = packed(1)
    answer = Response(repeat(UNPACKED[:BLOCK], 64))

    with pytest.raises(OutputMismatch, match=f"longer than {len(stored)} bytes"):
        downloaded(answer, order_with(stored), tmp_path / "out")

    assert sum(written) <= len(stored) + BLOCK
    assert list((tmp_path / "out").iterdir()) == []


def test_the_bucket_is_asked_not_to_compress(tmp_path: Path) -> None:
    asked: list[str] = []

    def serve(request: Request) -> Response:
        asked.append(request.headers.get("Accept-Encoding", ""))
        return Response(b"") if request.path == "/bucket" else redirect(f"{request.host_url}bucket", 307, Response)

    with serving(Request.application(serve)) as url, ControlPlane(url, "key") as api:
        download(api, order_with(b""), tmp_path)

    assert asked[-1] == "identity"


@pytest.fixture
def one_attempt() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.mark.usefixtures("one_attempt")
def test_a_pinned_download_that_does_not_end_is_given_up(
    tmp_path: Path, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 2 * BLOCK)

    with serving(Request.application(lambda _: Response(repeat(UNPACKED[:BLOCK], 64)))) as url:
        endless = fetch.RemoteFile(f"{url}/emulator.jar", "0" * 64, "emulator.jar")
        with pytest.raises(fetch.Unobtainable, match="more than"):
            fetch.fetch(endless, tmp_path)

    assert sum(written) <= 2 * BLOCK
    assert list(tmp_path.iterdir()) == []
