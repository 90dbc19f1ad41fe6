"""Agents' sessions in one line each: their jobs, what their executors report, and what is read of them."""

import json
from datetime import timedelta
from itertools import count
from typing import Any, Final

from werkzeug.test import TestResponse

from functions.domain.events import Fail, Start, Stop, Succeed
from functions.domain.order import Order
from functions.engine.parent_notices import ParentNotices
from functions.ports.orders import OrderQuery
from shared.domain.order import Reason
from shared.domain.spec import OrderKind, SessionSpec
from tests.functions.world import CLIENT, LAUNCHER, World

SOON: Final = timedelta(seconds=1)
NO_SESSION: Final = (404, "Session not found")
LARGE: Final = "x" * 60_000
"""Two such events make a page."""

_numbers = count(1)


def job(world: World, name: str, parent: str | None = None, key: str = CLIENT, **fields: Any) -> str:
    """Return the id of a new job that starts this session."""
    spec = SessionSpec(session_name=name, prompt="Do it.", parent_session_name=parent, **fields)
    order_id: str = world.place(spec, key)["id"]
    return order_id


def run(world: World, order_id: str) -> None:
    """Let a launcher claim the job and report its start."""
    order = world.order(order_id)
    epoch = order.epoch + 1
    assert world.claim(order_id, lanes=[order.lane]) is not None
    world.ports.store.apply(order_id, Start(f"started@{epoch}", epoch), world.clock())


def end(world: World, order_id: str, state: str = "completed", settle: bool = True) -> Order:
    """Let the launcher report the job's end. If not `settle`, the process dies before anything follows from that."""
    order = world.order(order_id)
    if state == "stopped":
        world.post(f"/v1/orders/{order_id}/cancel")
    number = f"end-{next(_numbers)}"
    events: dict[str, Succeed | Fail | Stop] = {
        "completed": Succeed(number, order.epoch),
        "failed": Fail(number, order.epoch, Reason.PROGRAM_FAILED, "Process exited with code 1"),
        "stopped": Stop(number, order.epoch, order.lease.launcher if order.lease else ""),
    }
    ended = world.ports.store.apply(order_id, events[state], world.clock())
    if settle:
        world.service(ParentNotices).settle(ended)
    return ended


def settle(world: World, *order_ids: str) -> None:
    for order_id in order_ids:
        world.service(ParentNotices).settle(world.order(order_id))


def ran(world: World, name: str, parent: str | None = None, state: str = "completed", **fields: Any) -> str:
    """Return the id of a job that ran and has ended."""
    order_id = job(world, name, parent, **fields)
    run(world, order_id)
    end(world, order_id, state)
    return order_id


def jobs_of(world: World, name: str, account: str = "acme") -> list[Order]:
    """Return the session's jobs, the oldest first."""
    query = OrderQuery(account=account, kind=OrderKind.SESSION, limit=200, oldest_first=True)
    orders = world.ports.store.page(query).orders
    return [order for order in orders if isinstance(order.spec, SessionSpec) and order.spec.session_name == name]


def resumed(world: World, name: str, account: str = "acme") -> list[tuple[str, str]]:
    """Return id and prompt of each job that resumes the session."""
    jobs = [(order.id, order.spec) for order in jobs_of(world, name, account)]
    return [(id_, spec.prompt) for id_, spec in jobs if isinstance(spec, SessionSpec) and spec.resume]


def create(world: World, session_id: str, name: str = "survey-1", key: str = LAUNCHER, **fields: Any) -> TestResponse:
    return world.post("/sessions", {"session_id": session_id, "session_name": name, **fields}, key)


def created(world: World, session_id: str, name: str = "survey-1", key: str = LAUNCHER, **fields: Any) -> None:
    answer = create(world, session_id, name, key, **fields)
    assert answer.status_code == 200, answer.text


def report(
    world: World, session_id: str, event_type: str, key: str = LAUNCHER, at: str | None = None, **fields: Any
) -> TestResponse:
    """Report an event; each has another timestamp, unless `at` is given."""
    event = {"event_type": event_type, "session_id": session_id, "session_name": "survey-1"}
    event["timestamp"] = at or f"2026-11-22T12:00:00.{next(_numbers):06}+00:00"
    return world.post(f"/sessions/{session_id}/events", {**event, **fields}, key)


def message(world: World, session_id: str, text: str, role: str = "assistant", key: str = LAUNCHER) -> TestResponse:
    return report(world, session_id, "message", key, role=role, content=[{"type": "text", "text": text}])


def patch(world: World, session_id: str, key: str = LAUNCHER, **fields: Any) -> TestResponse:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return world.http.patch(f"/sessions/{session_id}/metadata", data=json.dumps(fields), headers=headers)


def status(world: World, session_id: str, key: str = LAUNCHER) -> str:
    answer = world.get(f"/sessions/{session_id}/status", key)
    assert answer.status_code == 200, answer.text
    value: str = answer.get_json()["status"]
    return value


def events(world: World, session_id: str, key: str = LAUNCHER) -> list[dict[str, Any]]:
    answer = world.get(f"/sessions/{session_id}/events", key)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.get_json()["events"]
    return found


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["detail"]
