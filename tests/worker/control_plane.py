"""A small control plane and bucket over real HTTP: it records what a worker sends, and a test sets its answers."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from werkzeug import Request, Response

import emulators.serving
from shared.domain.order import State
from shared.domain.spec import AnySpec
from shared.guest.config import Sources, WorkerConfig
from shared.wire.problems import Problem
from shared.wire.workers import CallbackAnswer, UploadGrant

ORDER: Final = "0f4d8f0a-5f0e-4c43-8a3e-6f1f6f6a2c11"
EPOCH: Final = 3
TOKEN: Final = "callback-token-that-no-log-may-show"
SIGNATURE: Final = "signature-that-no-log-may-show"
STARTED: Final = "started"
PROGRESS: Final = "progress"
UPLOAD: Final = "upload"
UPLOAD_PARTS: Final = "upload_parts"
PUT: Final = "put"


@dataclass(frozen=True, slots=True)
class Received:
    """One request; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class FakeControlPlane:
    """`statuses` holds, by event (or `put`), the statuses of the next answers; beyond them all is well.

    `environment` is that of a task's command. `ended` is the state of an order that has ended, which refusals name.
    `steps` are the events that the worker's work leads to, in turn. Left out are those that it sends because time has
    passed, of which a slow machine sends more: its progress, and *started* once that was accepted.
    """

    def __init__(self) -> None:
        self.url = ""
        self.state_after_start = State.RUNNING
        self.statuses: dict[str, list[int]] = defaultdict(list)
        self.answer_after_start: Response | None = None
        self.environment: dict[str, str] = {}
        self.ended: State | None = None
        self.reports: list[Received] = []
        self.steps: list[str] = []
        self.uploads: list[Received] = []
        self._has_started = False
        self._changed = threading.Condition()

    @property
    def events(self) -> list[str]:
        """Return the event of every report. How many there are depends on how fast the machine is: see `steps`."""
        return [received.report["event"] for received in self.reports]

    def await_event(self, event: str, seconds: float = 300.0) -> Received:
        """Return the event's report once it has come."""
        with self._changed:
            came = self._changed.wait_for(lambda: event in self.events, timeout=seconds)
            assert came, f"no {event!r} in {seconds:.0f} s, but {self.events}"
            return next(received for received in self.reports if received.report["event"] == event)

    def await_events(self, event: str, count: int, seconds: float = 300.0) -> None:
        """Wait until the event has come so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.events.count(event) >= count, timeout=seconds), self.events

    def config(self, spec: AnySpec, source: str = "http://127.0.0.1:9", gateway: str | None = None) -> WorkerConfig:
        return WorkerConfig(
            order_id=ORDER,
            epoch=EPOCH,
            control_plane=self.url,
            callback_token=TOKEN,
            spec=spec,
            sources=Sources(api=source, ipfs=source),
            loopback_gateway=gateway,
        )

    def answer(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.full_path.rstrip("?"), headers, request.get_data())
        if request.method == "PUT":
            return self._take(received, self.uploads, PUT, Response())
        event = received.report["event"]
        return self._take(received, self.reports, event, self._accepted(received.report))

    def _take(self, received: Received, to: list[Received], event: str, accepted: Response) -> Response:
        with self._changed:
            to.append(received)
            status = self.statuses[event].pop(0) if self.statuses[event] else 200
            self._note_step(event, status)
            self._changed.notify_all()
        return accepted if status == 200 else _problem(status, self.ended)

    def _note_step(self, event: str, status: int) -> None:
        if event not in (PUT, PROGRESS) and not (event == STARTED and self._has_started):
            self.steps.append(event)
        self._has_started |= event == STARTED and status == 200

    def _accepted(self, report: dict[str, Any]) -> Response:
        grant = None
        if report["event"] in (UPLOAD, UPLOAD_PARTS):
            headers = {
                "content-type": report["content_type"],
                "content-length": str(report["size"]),
                "x-amz-checksum-sha256": report["sha256"],
            }
            grant = UploadGrant(url=f"{self.url}/bucket/a%2Fkey?X-Amz-Signature={SIGNATURE}", headers=headers)
        repeated = report["event"] == STARTED and self.events.count(STARTED) > 1
        if repeated and self.answer_after_start is not None:
            return self.answer_after_start
        state = self.state_after_start if repeated else State.RUNNING
        environment = self.environment if report["event"] == STARTED else {}
        answer = CallbackAnswer(state=state, upload=grant, environment=environment)
        return Response(answer.model_dump_json(), content_type="application/json")


@contextmanager
def serving() -> Iterator[FakeControlPlane]:
    """A control plane on a free port of the loopback address."""
    plane = FakeControlPlane()
    with emulators.serving.serving(Request.application(plane.answer)) as plane.url:
        yield plane


def _problem(status: int, state: State | None) -> Response:
    code = "lease_lost" if status == 409 else "unavailable"
    detail = f"Refused for the test: {code}."
    problem = Problem(type=f"urn:launchyard:{code}", title=code, status=status, detail=detail, state=state)
    return Response(problem.model_dump_json(), status, content_type="application/problem+json")
