"""The client's downloads, and its messages if nothing answers, over real HTTP."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from werkzeug import Request, Response
from werkzeug.utils import redirect

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from emulators.serving import serving
from functions.apis.v1.views import order_view
from functions.domain.order import Output
from shared.client import ControlPlane
from shared.client_errors import NoAnswer, NoOutput, OutputMismatch, Refused, Unreachable
from shared.domain.order import State
from shared.wire.orders import LimitsRequest, OrderRequest, OrderView
from shared.wire.problems import Problem
from tests.factories import NOW, TASK, an_order

CONTENT: Final = b"what the worker left"


class Bucket:
    """A control plane that redirects to a bucket of its own, or to `location`."""

    def __init__(self) -> None:
        self.answer = Response(CONTENT)
        self.location = "/bucket/object"
        self.status = 307

    def serve(self, request: Request) -> Response:
        if request.path == "/bucket/object":
            return self.answer
        where = self.location if "://" in self.location else f"{request.host_url.rstrip('/')}{self.location}"
        return redirect(where, self.status, Response)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def api(bucket: Bucket) -> Iterator[ControlPlane]:
    with serving(Request.application(bucket.serve)) as url, ControlPlane(url, "key") as api:
        yield api


def an_order_with_output(content: bytes = CONTENT, **changes: Any) -> OrderView:
    digest = hashlib.sha256(content).hexdigest()
    output = Output(key="k", file_name="output.log", content_type="text/plain", size=len(content), sha256=digest)
    return order_view(an_order(state=State.SUCCEEDED, output=output, **changes))


@pytest.mark.parametrize("status", [302, 303, 307])
def test_a_download_that_matches_the_order_is_kept(
    api: ControlPlane, bucket: Bucket, tmp_path: Path, status: int
) -> None:
    bucket.status = status
    api.download_output(an_order_with_output(), tmp_path / "output.log")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [CONTENT]


@pytest.mark.parametrize(
    ("content", "difference"),
    [(CONTENT[:-1] + b"!", "SHA-256"), (CONTENT + b"!", "longer than 20 bytes"), (b"", "0 bytes")],
    ids=["changed", "longer", "empty"],
)
def test_a_download_that_differs_from_the_order_is_not_kept(
    api: ControlPlane, bucket: Bucket, tmp_path: Path, content: bytes, difference: str
) -> None:
    bucket.answer = Response(content)
    file = tmp_path / "output.log"
    file.write_text("of an earlier download")
    with pytest.raises(OutputMismatch, match=difference):
        api.download_output(an_order_with_output(), file)
    assert [kept.read_text() for kept in tmp_path.iterdir()] == ["of an earlier download"]


def test_a_download_that_breaks_off_leaves_nothing(api: ControlPlane, bucket: Bucket, tmp_path: Path) -> None:
    bucket.answer = Response(iter([CONTENT]), headers={"Content-Length": str(len(CONTENT) + 1)})
    with pytest.raises(Unreachable, match="bucket"):
        api.download_output(an_order_with_output(), tmp_path / "output.log")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_bucket_that_refuses_is_named_and_leaves_nothing(
    api: ControlPlane, bucket: Bucket, tmp_path: Path, status: int
) -> None:
    bucket.answer = Response(status=status)
    with pytest.raises(Unreachable, match=f"bucket answered {status}"):
        api.download_output(an_order_with_output(), tmp_path / "output.log")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_does_not_answer_is_named_as_the_bucket(
    api: ControlPlane, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.location = f"http://{LOOPBACK}:{free_port()}/object?signature=secret"
    with pytest.raises(Unreachable, match="The download from the bucket failed") as error:
        api.download_output(an_order_with_output(), tmp_path / "output.log")
    assert not isinstance(error.value, NoAnswer)
    assert "control plane" not in str(error.value)
    assert "secret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


class Recorder:
    """A control plane that keeps what it is asked, and gives one answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, object]] = []
        self.answer = Response(order_view(an_order()).model_dump_json(), content_type="application/json")

    def serve(self, request: Request) -> Response:
        body = json.loads(request.get_data()) if request.get_data() else None
        self.asked.append((request.method, request.path, body))
        return self.answer


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def recorded(recorder: Recorder) -> Iterator[ControlPlane]:
    with serving(Request.application(recorder.serve)) as url, ControlPlane(url, "key") as api:
        yield api


def test_an_order_is_placed_with_its_limits_and_its_time(recorded: ControlPlane, recorder: Recorder) -> None:
    recorded.create_order(TASK, "one", LimitsRequest(run_timeout_seconds=60), NOW)
    [(_, _, body)] = recorder.asked
    request = OrderRequest.model_validate_json(json.dumps(body))
    assert (request.order, request.not_before) == (TASK, NOW)
    assert request.limits == LimitsRequest(run_timeout_seconds=60)


def test_a_failed_order_is_requeued(recorded: ControlPlane, recorder: Recorder) -> None:
    placed = recorded.requeue_order("dead")
    assert recorder.asked == [("POST", "/v1/orders/dead/requeue", None)]
    assert placed.state is State.QUEUED


def test_a_purge_is_answered_without_a_body(recorded: ControlPlane, recorder: Recorder) -> None:
    recorder.answer = Response(status=204)
    recorded.purge_order("dead")
    assert recorder.asked == [("DELETE", "/v1/orders/dead", None)]


@pytest.mark.parametrize(
    ("status", "error"), [(200, Unreachable), (408, Unreachable), (503, Unreachable), (409, Refused)]
)
def test_a_purge_that_was_not_done_is_an_error(
    recorded: ControlPlane, recorder: Recorder, status: int, error: type[Exception]
) -> None:
    problem = Problem(type="urn:launchyard:problem:wrong_state", title="", status=409, detail="The order is queued.")
    recorder.answer = Response(problem.model_dump_json(), status)
    with pytest.raises(error):
        recorded.purge_order("dead")


def test_an_order_without_output_is_not_asked_for(api: ControlPlane, tmp_path: Path) -> None:
    with pytest.raises(NoOutput, match="queued"):
        api.download_output(order_view(an_order()), tmp_path / "output.log")


@pytest.mark.parametrize(("host", "local"), [(LOOPBACK, True), ("localhost", True), ("no-such-host.invalid", False)])
def test_a_control_plane_that_does_not_answer_is_named(host: str, local: bool) -> None:
    url = f"http://{host}:{free_port()}"
    with ControlPlane(url.replace("//", "//user:secret@"), "key") as api, pytest.raises(NoAnswer, match=url) as error:
        api.get_order("order")
    assert error.value.local == local
    assert "secret" not in str(error.value)


def test_an_answer_that_cannot_be_decoded_counts_as_no_answer() -> None:
    """Were it anything else, one such answer would end a launcher's loop, and with it the daemon."""

    def garble(request: Request) -> Response:
        return Response(b"not gzip", headers={"Content-Encoding": "gzip"})

    with serving(Request.application(garble)) as url, ControlPlane(url, "ly_key") as api, pytest.raises(Unreachable):
        api.holds("alpha")
