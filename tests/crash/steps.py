"""The steps of a scenario by a client, or to the launcher. Each step works on the order that was placed last."""

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from emulators.environment import ACCOUNT_OF
from functions.domain.access import Role
from functions.domain.order import place
from functions.ports.orders import IdempotencyKey
from shared.crash_points import Point
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from shared.wire.orders import LimitsRequest
from tests.crash.deployment import Deployment, Ending
from tests.factories import CAPACITY
from tests.harness.waiting import await_value

Step = Callable[[Deployment], None]

PRINT: Final = "echo {text}"
PRINT_ONCE_ALLOWED: Final = "until [ -e {permission} ]; do sleep 0.1; done; echo {text}"
FAIL: Final = "exit 3"
STAY: Final = "sleep 600; echo {text}"
SOON: Final = timedelta(seconds=10)
TOMORROW: Final = timedelta(days=1)
KEY_AGE: Final = timedelta(hours=25)
"""Older than the control plane keeps idempotency keys."""


def a_task(
    script: str = PRINT,
    ends: State | None = State.SUCCEEDED,
    leaves: bool = True,
    limits: LimitsRequest | None = None,
    after: timedelta | None = None,
) -> Step:
    """Place a task whose script may print a `{text}` of its own, and wait for the file `{permission}`.

    If it succeeds, that text is what it `leaves`.
    """

    def step(deployment: Deployment) -> None:
        text = uuid4().hex
        deployment.client.orders()  # once this is answered, the control plane is up: `after` counts from then
        not_before = None if after is None else datetime.now(UTC) + after
        order = deployment.client.answer(
            lambda api: api.create_order(
                _task(script.format(text=text, permission=_permission(deployment))),
                f"key {text}",
                limits or LimitsRequest(),
                not_before=not_before,
            )
        )
        left = f"{text}\n".encode() if leaves and ends is State.SUCCEEDED else None
        deployment.expect(order.id, Ending(ends, left))

    return step


def a_machine(ends: State = State.RUNNING) -> Step:
    """Place a capacity order."""

    def step(deployment: Deployment) -> None:
        key = f"key {uuid4()}"
        order = deployment.client.answer(lambda api: api.create_order(CAPACITY, key))
        deployment.expect(order.id, Ending(ends))

    return step


def a_task_of_yesterday(deployment: Deployment) -> None:
    """Write an order into the store that was placed more than a day ago, with its idempotency key."""
    now = datetime.now(UTC) - KEY_AGE
    order = place(str(uuid4()), ACCOUNT_OF[Role.CLIENT], _task(PRINT.format(text="yesterday")), now)
    deployment.store.create(order, IdempotencyKey(order.account, f"key {order.id}", "0" * 64))
    deployment.expect(order.id, Ending(State.EXPIRED))


def until(state: State) -> Step:
    return lambda deployment: deployment.await_state(state)


def until_died_at(point: Point) -> Step:
    return lambda deployment: deployment.await_death(point)


def until_discarded(deployment: Deployment) -> None:
    await_value(lambda: deployment.client.read(deployment.last).discarded_at, "the removal of an output")


def cancel(deployment: Deployment) -> None:
    deployment.client.answer(lambda api: api.cancel_order(deployment.last))


def purge(deployment: Deployment) -> None:
    deployment.client.answer(lambda api: api.purge_order(deployment.last))


def requeue(deployment: Deployment) -> None:
    """Place the last order again; the new one is to succeed."""
    order = deployment.client.answer(lambda api: api.requeue_order(deployment.last))
    assert isinstance(order.spec, TaskSpec)
    text = order.spec.command[-1].split()[-1]
    deployment.expect(order.id, Ending(State.SUCCEEDED, f"{text}\n".encode()))


def kill_launcher(deployment: Deployment) -> None:
    deployment.launcher.send(signal.SIGKILL)


def freeze_launcher(deployment: Deployment) -> None:
    deployment.launcher.send(signal.SIGSTOP)


def thaw_launcher(deployment: Deployment) -> None:
    deployment.launcher.send(signal.SIGCONT)


def allow_printing(deployment: Deployment) -> None:
    """Let the tasks print that wait for it."""
    _permission(deployment).touch()


def an_unreadable_directory(deployment: Deployment) -> None:
    """Make a machine's directory, in the launcher's state directory, that nobody can read."""
    unreadable = deployment.state / "vms" / f"{uuid4()}-1"
    unreadable.mkdir(parents=True)
    (unreadable / "manifest.json").write_text("{")
    deployment.unreadable.append(unreadable.name)


def _task(script: str) -> TaskSpec:
    return TaskSpec(command=("sh", "-c", script))


def _permission(deployment: Deployment) -> Path:
    return deployment.state.with_name("permission")
