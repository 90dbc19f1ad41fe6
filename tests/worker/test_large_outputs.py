"""A worker with a large output: what it asks of control planes of several versions, and the memory that it takes."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import pytest

from shared.domain.spec import TaskSpec
from shared.wire.workers import CallbackAnswer, PartGrant, PartsGrant
from tests.worker.control_plane import FakeControlPlane
from worker.callbacks import Callbacks
from worker.logs import open_log
from worker.network import client
from worker.programs import Result
from worker.runtime import Worker
from worker.uploads import deliver, measure

HELLO: Final = TaskSpec(command=("echo", "hello"))
MIB: Final = 1 << 20


class _Streaming(httpx.BaseTransport):
    """Hands the request on before its body is read, which `httpx.MockTransport` reads whole."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answer = answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request)


def run(plane: FakeControlPlane, folder: Path, large_bytes: int) -> int:
    config = plane.config(HELLO)
    with client(None) as http:
        return Worker(config, http, folder, open_log(config), large_bytes=large_bytes).run()


def test_an_output_that_fits_into_one_request_is_asked_for_as_ever(plane: FakeControlPlane, tmp_path: Path) -> None:
    assert run(plane, tmp_path, large_bytes=len("hello\n")) == 0

    assert plane.steps == ["started", "upload", "completed"]
    assert "upload_id" not in plane.reports[-1].report


def test_a_grant_of_one_upload_is_used_for_a_large_output(plane: FakeControlPlane, tmp_path: Path) -> None:
    assert run(plane, tmp_path, large_bytes=1) == 0

    assert plane.steps == ["started", "upload_parts", "completed"]
    assert [upload.body for upload in plane.uploads] == [b"hello\n"]
    assert "upload_id" not in plane.reports[-1].report


def test_a_control_plane_that_knows_no_parts_fails_a_large_output_for_good(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.statuses["upload_parts"] = [422]

    assert run(plane, tmp_path, large_bytes=1) == 0

    assert plane.steps == ["started", "upload_parts", "failed"]
    failed = plane.reports[-1].report
    assert (failed["reason"], failed["failure"]) == ("upload_failed", "permanent")
    assert "6 bytes" in failed["message"]
    assert "Deploy a later version" in failed["message"]


@pytest.mark.parametrize("status", [401, 409])
def test_a_refused_request_for_parts_ends_the_work_at_once(
    plane: FakeControlPlane, tmp_path: Path, status: int
) -> None:
    plane.statuses["upload_parts"] = [status]

    assert run(plane, tmp_path, large_bytes=1) == 1
    assert plane.steps == ["started", "upload_parts"]


def test_parts_are_read_where_they_begin_and_never_whole(plane: FakeControlPlane, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"".join(bytes([number]) * MIB for number in range(24)))
    output = measure(Result(file, "text/plain", {}))
    sent: list[tuple[int, set[int]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            granted = PartsGrant(upload_id="1", missing=0 if sent else 2, parts=() if sent else parts)
            return httpx.Response(200, text=CallbackAnswer(state="running", parts=granted).model_dump_json())
        assert isinstance(request.stream, httpx.SyncByteStream)
        size, seen = 0, set[int]()
        for chunk in request.stream:
            size += len(chunk)
            seen.update(chunk)
        sent.append((size, seen))
        return httpx.Response(200)

    parts = tuple(
        PartGrant(number=number, offset=offset * MIB, size=size * MIB, url="http://bucket.test/", headers={})
        for number, offset, size in [(1, 0, 16), (2, 16, 8)]
    )
    with httpx.Client(transport=_Streaming(answer)) as http:
        reports = Callbacks(http, plane.config(HELLO))
        tracemalloc.start()
        try:
            assert deliver(http, reports, output, large=1) == "1"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert sent == [(16 * MIB, {*range(16)}), (8 * MIB, {*range(16, 24)})]
    assert peak < 4 * MIB
