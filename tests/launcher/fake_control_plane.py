"""A fake control plane over real HTTP, whose answers the test sets."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter
from werkzeug import Request, Response

from emulators.serving import serving
from functions.apis.v1.views import order_view
from shared.domain.lanes import lane, offered
from shared.domain.order import FINAL, LEASE, State
from shared.domain.spec import AnySpec
from shared.wire.launchers import (
    ClaimAnswer,
    ClaimById,
    Claimed,
    ClaimNext,
    ClaimRequest,
    HeartbeatAnswer,
    HeartbeatRequest,
    HoldsView,
    HoldView,
    MachineGone,
    MachineRunning,
    Renewed,
    StopOrder,
    UpdateRequest,
)
from shared.wire.problems import Problem
from shared.wire.workers import CallbackAnswer
from tests.factories import TASK, a_claimed_order

DEADLINE: Final = 300.0
"""Seconds that a test waits for what it expects."""
LONG_POLL: Final = 0.1
NO_HEADERS: Final[Mapping[str, str]] = {}

CLAIMS: Final = "/v1/claims"
UPDATES: Final = "/v1/updates"
HEARTBEATS: Final = "/v1/heartbeats"
HOLDS: Final = "/v1/holds"
CALLBACKS: Final = "/v1/callbacks"


@dataclass(frozen=True, slots=True)
class Seen:
    """A received request."""

    path: str
    body: Any


class FakeControlPlane:
    """Orders that were offered are claimed once; every request is kept; `refuse` has a path refused from then on.

    `ahead` is by how much its clock differs from the launcher's.
    """

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.lease = LEASE
        self.ahead = timedelta()
        self.holds: list[HoldView] = []
        self.stops: list[StopOrder] = []
        self.before: Callable[[str], object] = lambda _path: None
        """Called with the path of each request before it is answered."""
        self.later: Callable[[Any], Any] = lambda document: document
        """How a later version would tell what is answered."""
        self.states: dict[str, State] = {}
        """Of orders whose workers have reported, or that have ended; the others are provisioned."""
        self.left_out: set[str] = set()
        """Ids of orders that no answer to a heartbeat mentions."""
        self.unreadable: set[str] = set()
        """Ids of orders that another version wrote."""
        self.beyond_scope: set[str] = set()
        """Ids of orders whose lanes the launcher's key may not claim in."""
        self.knows_machine_gone = True
        """False in the version before, which refuses such a report as invalid; so of `knows_machine_running`."""
        self.knows_machine_running = True
        self._changed = threading.Condition()
        self._offered: dict[str, Claimed] = {}
        self._taken: set[str] = set()
        self._refusals: dict[str, tuple[int, str, Mapping[str, str]]] = {}

    def offer(self, spec: AnySpec = TASK) -> str:
        """Have an order wait, and return its id."""
        claimed = self.a_claimed(spec)
        with self._changed:
            self._offered[claimed.order_id] = claimed
            self._changed.notify_all()
        return claimed.order_id

    def a_claimed(self, spec: AnySpec = TASK) -> Claimed:
        return Claimed(
            order_id=str(uuid4()),
            epoch=1,
            lease_until=datetime.now(UTC) + self.ahead + self.lease,
            lease_seconds=self.lease.total_seconds(),
            spec=spec,
            callback_token="token-of-a-callback",
        )

    def refuse(
        self, path: str, status: int, code: str = "unavailable", headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        self._refusals[path] = (status, code, headers)

    def serve(self, path: str) -> None:
        del self._refusals[path]

    def bodies(self, path: str) -> list[Any]:
        with self._changed:
            return [seen.body for seen in self.seen if seen.path.startswith(path)]

    def statuses(self, order_id: str) -> list[str]:
        """Return the reports about an order, in sequence."""
        return [body["status"] for body in self.bodies(f"{UPDATES}/{order_id}")]

    def wait_for(self, expected: Callable[[], bool]) -> None:
        """Wait until a request makes `expected()` true; fail the test if none does."""
        with self._changed:
            assert self._changed.wait_for(expected, DEADLINE), f"this is all that came: {self.seen}"

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        body = request.get_data()
        path = request.path
        with self._changed:
            self.seen.append(Seen(path, request.get_json(silent=True) or request.args.to_dict()))
            self._changed.notify_all()
        self.before(path)
        refusal = next((value for prefix, value in self._refusals.items() if path.startswith(prefix)), None)
        answer = _problem(*refusal) if refusal else _json(self._answer(path, body), self.later)
        return answer(environ, start_response)

    def _answer(self, path: str, body: bytes) -> BaseModel:
        if path == CLAIMS:
            return self._claim(TypeAdapter[ClaimRequest](ClaimRequest).validate_json(body))
        if path == HEARTBEATS:
            return self._heartbeat(HeartbeatRequest.model_validate_json(body))
        if path == HOLDS:
            return HoldsView(holds=tuple(self.holds))
        if path.startswith(CALLBACKS):
            self.states[path.rpartition("/")[2]] = State.RUNNING
            return CallbackAnswer(state=State.RUNNING)
        return self._update(path.rpartition("/")[2], TypeAdapter[UpdateRequest](UpdateRequest).validate_json(body))

    def _update(self, order_id: str, update: UpdateRequest) -> BaseModel:
        """Accept a report. About an order that has ended, accept only the end of its machine."""
        if isinstance(update, MachineGone) and not self.knows_machine_gone:
            return _a_problem(422, "invalid")
        if isinstance(update, MachineRunning) and not self.knows_machine_running:
            return _a_problem(422, "invalid")
        state = self.states.get(order_id, State.PROVISIONING)
        if state in FINAL and not isinstance(update, MachineGone):
            return _a_problem(409, "wrong_state")
        return order_view(a_claimed_order())

    def _claim(self, request: ClaimRequest) -> BaseModel:
        with self._changed:
            if isinstance(request, ClaimById):
                if request.order_id in self.unreadable:
                    return _a_problem(503, "other_version")
                if request.order_id in self.beyond_scope:
                    return _a_problem(409, "conflict")
                if request.order_id not in self._offered | dict.fromkeys(self._taken):
                    return _a_problem(404, "not_found")
                claimed = self._offered.pop(request.order_id, None)
            else:
                self._changed.wait_for(lambda: self._next(request), LONG_POLL)
                found = self._next(request)
                claimed = None if found is None else self._offered.pop(found)
            if claimed is not None:
                self._taken.add(claimed.order_id)
            return ClaimAnswer(claimed=claimed)

    def _next(self, request: ClaimNext) -> str | None:
        """Return the id of an order of these lanes."""
        asked = set(request.lanes)
        lanes = ((order_id, offered(lane(claimed.spec))) for order_id, claimed in self._offered.items())
        return next((order_id for order_id, served in lanes if asked & set(served)), None)

    def _heartbeat(self, request: HeartbeatRequest) -> HeartbeatAnswer:
        lease: dict[str, Any] = {
            "lease_until": datetime.now(UTC) + self.ahead + self.lease,
            "lease_seconds": self.lease.total_seconds(),
        }
        stopping = {(stop.order_id, stop.epoch) for stop in self.stops}
        mentioned = [hold for hold in request.holds if hold.order_id not in self.left_out]
        renewed = [hold for hold in mentioned if (hold.order_id, hold.epoch) not in stopping]
        return HeartbeatAnswer(
            renewed=tuple(
                Renewed(**hold.model_dump(), **lease, state=self.states.get(hold.order_id, State.PROVISIONING))
                for hold in renewed
            ),
            stop=tuple(self.stops),
        )


@contextmanager
def a_control_plane() -> Iterator[FakeControlPlane]:
    fake = FakeControlPlane()
    with serving(fake) as fake.url:
        yield fake


def _json(answer: BaseModel, rendered: Callable[[Any], Any] = lambda document: document) -> Response:
    status = answer.status if isinstance(answer, Problem) else 200
    return Response(json.dumps(rendered(answer.model_dump(mode="json"))), status, mimetype="application/json")


def _problem(status: int, code: str, headers: Mapping[str, str]) -> Response:
    answer = _json(_a_problem(status, code))
    answer.headers.update(headers)
    return answer


def _a_problem(status: int, code: str) -> Problem:
    return Problem(type=f"urn:launchyard:problem:{code}", title=code, status=status, detail=f"Refused: {code}.")
