"""What a client does in a scenario, and what is done to the launcher. Each act works on the order placed last."""

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from emulators.environment import ACCOUNT_OF
from functions.domain.access import Role
from functions.domain.order import place
from functions.ports import IdempotencyKey
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from shared.wire.orders import LimitsRequest
from tests.crash.client import NO_LIMITS
from tests.crash.stage import Ending, Stage
from tests.crash.waiting import await_value
from tests.factories import CAPACITY

Act = Callable[[Stage], None]

SAY: Final = "echo {text}"
SAY_LATE: Final = "sleep 3; echo {text}"
SAY_VERY_LATE: Final = "sleep 15; echo {text}"
FAIL: Final = "exit 3"
STAY: Final = "sleep 600; echo {text}"
LATER: Final = timedelta(seconds=4)
MUCH_LATER: Final = timedelta(days=1)
YESTERDAY: Final = timedelta(hours=25)


def a_task(
    script: str = SAY,
    ends: State | None = State.SUCCEEDED,
    leaves: bool = True,
    limits: LimitsRequest = NO_LIMITS,
    after: timedelta | None = None,
) -> Act:
    """Place a task whose script may say a `{text}` of its own; where it succeeds, that is what it `leaves`."""

    def act(stage: Stage) -> None:
        text = uuid4().hex
        stage.client.orders()  # once that is answered, the control plane answers: `after` counts from then
        not_before = None if after is None else datetime.now(UTC) + after
        order = stage.client.place(_says(script, text), f"key {text}", limits, not_before)
        left = f"{text}\n".encode() if leaves and ends is State.SUCCEEDED else None
        stage.expect(order.id, Ending(ends, left))

    return act


def a_machine(ends: State = State.RUNNING) -> Act:
    """Place a capacity order."""

    def act(stage: Stage) -> None:
        order = stage.client.place(CAPACITY, f"key {uuid4()}")
        stage.expect(order.id, Ending(ends))

    return act


def a_task_of_yesterday(stage: Stage) -> None:
    """Have the store hold an order that was placed more than a day ago, with its idempotency key."""
    now = datetime.now(UTC) - YESTERDAY
    order = place(str(uuid4()), ACCOUNT_OF[Role.CLIENT], _says(SAY, "late"), now)
    stage.store.create(order, IdempotencyKey(order.account, f"key {order.id}", "0" * 64))
    stage.expect(order.id, Ending(State.EXPIRED))


def until(state: State) -> Act:
    return lambda stage: stage.await_state(state)


def until_discarded(stage: Stage) -> None:
    await_value(lambda: stage.client.read(stage.last).discarded_at, "an output that was removed")


def cancel(stage: Stage) -> None:
    stage.client.cancel(stage.last)


def purge(stage: Stage) -> None:
    stage.client.purge(stage.last)


def requeue(stage: Stage) -> None:
    """Place the last order again; the new one is to succeed."""
    order = stage.client.requeue(stage.last)
    assert isinstance(order.spec, TaskSpec)
    text = order.spec.command[-1].split()[-1]
    stage.expect(order.id, Ending(State.SUCCEEDED, f"{text}\n".encode()))


def kill_launcher(stage: Stage) -> None:
    stage.launcher.send(signal.SIGKILL)


def freeze_launcher(stage: Stage) -> None:
    stage.launcher.send(signal.SIGSTOP)


def thaw_launcher(stage: Stage) -> None:
    stage.launcher.send(signal.SIGCONT)


def await_death(stage: Stage) -> None:
    stage.await_death()


def a_strange_directory(stage: Stage) -> None:
    """Have the launcher find, among its machines' directories, one that nobody can read."""
    strange = stage.state / "vms" / f"{uuid4()}-1"
    strange.mkdir(parents=True)
    (strange / "manifest.json").write_text("{")
    stage.strange.append(strange.name)


def _says(script: str, text: str) -> TaskSpec:
    return TaskSpec(command=("sh", "-c", script.format(text=text)))
