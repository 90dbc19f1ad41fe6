"""For each point, what is sure to reach it, and how it is to end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.api import LimitsRequest
from shared.crash_points import Point
from shared.domain.order import State
from tests.crash.acts import (
    FAIL,
    LATER,
    MUCH_LATER,
    SAY_LATE,
    STAY,
    Act,
    a_machine,
    a_strange_directory,
    a_task,
    a_task_of_yesterday,
    cancel,
    freeze_launcher_until_the_death,
    kill_launcher,
    purge,
    requeue,
    until,
    until_discarded,
)

BRIEFLY: Final = LimitsRequest(retention_seconds=1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`setting` is done before anything runs. `second_life`: the launcher dies once before the life that is armed."""

    acts: tuple[Act, ...]
    setting: tuple[Act, ...] = ()
    second_life: bool = False

    def launcher_lives(self, point: Point) -> tuple[Point | None, ...]:
        return (None, point) if self.second_life else (point,)


A_TASK: Final = Scenario((a_task(),))
A_SLOW_TASK: Final = Scenario((a_task(SAY_LATE),))
A_MACHINE: Final = Scenario((a_machine(),))
A_CANCELLED_TASK: Final = Scenario((a_task(STAY, ends=State.CANCELLED), until(State.RUNNING), cancel))
A_PURGED_TASK: Final = Scenario((a_task(ends=None), until(State.SUCCEEDED), purge))
A_RELEASED_MACHINE: Final = Scenario((a_machine(ends=State.SUCCEEDED), until(State.RUNNING), cancel))

SCENARIOS: Final[Mapping[Point, Scenario]] = {
    Point.CREATE_STORED: A_TASK,
    Point.CREATE_RUNG: A_TASK,
    Point.CREATE_RECORDED: A_TASK,
    Point.CLAIM_STORED: A_TASK,
    Point.UPDATE_STORED: A_TASK,
    Point.HEARTBEAT_RENEWED: A_SLOW_TASK,
    Point.CANCEL_STORED: A_RELEASED_MACHINE,
    Point.CALLBACK_STARTED: A_MACHINE,
    Point.CALLBACK_COMPLETED: A_TASK,
    Point.CALLBACK_FAILED: Scenario((a_task(FAIL, ends=State.FAILED),)),
    Point.SWEEP_RUNG: Scenario((a_task(after=LATER),)),
    Point.SWEEP_APPLIED: Scenario((a_machine(), until(State.RUNNING), freeze_launcher_until_the_death)),
    Point.SWEEP_DELETED: Scenario((a_task(leaves=False, limits=BRIEFLY), until_discarded)),
    Point.SWEEP_FORGOT: Scenario((a_task(),), setting=(a_task_of_yesterday,)),
    Point.REQUEUE_STORED: Scenario((a_task(ends=State.CANCELLED, after=MUCH_LATER), cancel, requeue)),
    Point.PURGE_DELETED: A_PURGED_TASK,
    Point.PURGE_REMOVED: A_PURGED_TASK,
    Point.LAUNCHER_CLAIMED: A_TASK,
    Point.LAUNCHER_ACKNOWLEDGED: A_TASK,
    Point.LAUNCHER_DIRECTORY: A_TASK,
    Point.LAUNCHER_PROVISIONING: A_TASK,
    Point.LAUNCHER_RECORDED: A_MACHINE,
    Point.LAUNCHER_STARTED: A_MACHINE,
    Point.LAUNCHER_LEASE: A_SLOW_TASK,
    Point.LAUNCHER_ADOPTED: Scenario((a_machine(), until(State.RUNNING), kill_launcher), second_life=True),
    Point.LAUNCHER_STOPPED: A_CANCELLED_TASK,
    Point.LAUNCHER_REMOVING: A_CANCELLED_TASK,
    Point.LAUNCHER_REMOVED: A_TASK,
    Point.LAUNCHER_REPORTED: A_CANCELLED_TASK,
    Point.LAUNCHER_QUARANTINED: Scenario((a_task(),), setting=(a_strange_directory,)),
}
