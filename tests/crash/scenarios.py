"""For each point, what is sure to reach it, and how it is to end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.crash_points import Point
from shared.domain.order import State
from shared.wire.orders import LimitsRequest
from tests.crash.acts import (
    FAIL,
    LATER,
    MUCH_LATER,
    SAY_LATE,
    SAY_VERY_LATE,
    STAY,
    Act,
    a_machine,
    a_strange_directory,
    a_task,
    a_task_of_yesterday,
    await_death,
    cancel,
    freeze_launcher,
    kill_launcher,
    purge,
    requeue,
    thaw_launcher,
    until,
    until_discarded,
)
from tests.crash.contract import a_machine_that_comes_late, a_pool, an_attested_machine, lower, until_all_run

BRIEFLY: Final = LimitsRequest(retention_seconds=1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`setting` is done before anything runs, then `acts`.

    `earlier`: where the launcher dies in the lives before the one that is armed; None is by an act that kills it.
    `polling`: the launcher hears no bells, and asks for whichever order is next.
    """

    name: str
    acts: tuple[Act, ...]
    setting: tuple[Act, ...] = ()
    earlier: tuple[Point | None, ...] = ()
    polling: bool = False


TASK: Final = Scenario("a task", (a_task(),))
POLLED: Final = Scenario("a task that is polled for", (a_task(),), polling=True)
UNHEARD_TASK: Final = Scenario("a task that no launcher hears yet", (freeze_launcher, a_task(), thaw_launcher))
SLOW_TASK: Final = Scenario("a slow task", (a_task(SAY_LATE),))
FAILING_TASK: Final = Scenario("a failing task", (a_task(FAIL, ends=State.FAILED),))
LATER_TASK: Final = Scenario("a task for later", (a_task(after=LATER),))
PURGED_TASK: Final = Scenario("a purged task", (a_task(ends=None), until(State.SUCCEEDED), purge))
DISCARDED: Final = Scenario("a discarded output", (a_task(leaves=False, limits=BRIEFLY), until_discarded))
CANCELLED_TASK: Final = Scenario("a cancelled task", (a_task(STAY, ends=State.CANCELLED), until(State.RUNNING), cancel))
REQUEUED_TASK: Final = Scenario("a requeued task", (a_task(ends=State.CANCELLED, after=MUCH_LATER), cancel, requeue))
UNSTARTED_TASK: Final = Scenario("a task whose launcher died", (a_task(),), earlier=(Point.LAUNCHER_DIRECTORY,))
MACHINE: Final = Scenario("a machine", (a_machine(),))
RELEASED_MACHINE: Final = Scenario("a released machine", (a_machine(State.SUCCEEDED), until(State.RUNNING), cancel))
LAPSED_MACHINE: Final = Scenario(
    "a machine of a frozen launcher", (a_machine(), until(State.RUNNING), freeze_launcher, await_death, thaw_launcher)
)
ADOPTED_MACHINE: Final = Scenario(
    "a machine of a killed launcher", (a_machine(), until(State.RUNNING), kill_launcher), earlier=(None,)
)
ADOPTED_TASK: Final = Scenario(
    "a task of a killed launcher", (a_task(SAY_VERY_LATE), until(State.RUNNING), kill_launcher), earlier=(None,)
)
OLD_KEY: Final = Scenario("a key of yesterday", (a_task(),), setting=(a_task_of_yesterday,))
POOL: Final = Scenario("a pool of two", (a_pool(2),))
LOWERED_POOL: Final = Scenario("a pool of three that is lowered to one", (a_pool(3), until_all_run, lower(1)))
UNHEARD_POOL: Final = Scenario(  # of more orders than are wished gone side by side: not all are when the first is
    "a pool that no launcher hears yet and that is lowered", (freeze_launcher, a_pool(24), lower(1), thaw_launcher)
)
ATTESTED_MACHINE: Final = Scenario("an attested machine", (an_attested_machine,))
LATE_MACHINE: Final = Scenario("a machine that comes late", (a_machine_that_comes_late,))
STRANGE_DIRECTORY: Final = Scenario("a strange directory", (a_task(),), setting=(a_strange_directory,))

SCENARIOS: Final[Mapping[Point, Sequence[Scenario]]] = {
    Point.CREATE_STORED: [TASK],
    Point.CREATE_RUNG: [TASK],
    Point.CREATE_RECORDED: [UNHEARD_TASK],
    Point.CLAIM_STORED: [TASK, POLLED],
    Point.UPDATE_STORED: [TASK],
    Point.HEARTBEAT_RENEWED: [SLOW_TASK],
    Point.CANCEL_STORED: [RELEASED_MACHINE],
    Point.CALLBACK_STARTED: [MACHINE],
    Point.CALLBACK_COMPLETED: [TASK],
    Point.CALLBACK_FAILED: [FAILING_TASK],
    Point.SWEEP_RUNG: [LATER_TASK],
    Point.SWEEP_APPLIED: [LAPSED_MACHINE, DISCARDED],
    Point.SWEEP_DELETED: [DISCARDED],
    Point.SWEEP_FORGOT: [OLD_KEY],
    Point.REQUEUE_STORED: [REQUEUED_TASK],
    Point.PURGE_DELETED: [PURGED_TASK],
    Point.PURGE_REMOVED: [PURGED_TASK],
    Point.POOL_RECORDED: [POOL],
    Point.POOL_CREATED: [POOL],
    Point.POOL_RELEASED: [LOWERED_POOL, UNHEARD_POOL],
    Point.REGISTER_WRITTEN: [ATTESTED_MACHINE],
    Point.LATE_CREATED: [LATE_MACHINE],
    Point.LAUNCHER_CLAIMED: [TASK, POLLED],
    Point.LAUNCHER_ACKNOWLEDGED: [TASK],
    Point.LAUNCHER_DIRECTORY: [TASK],
    Point.LAUNCHER_PROVISIONING: [TASK],
    Point.LAUNCHER_RECORDED: [MACHINE],
    Point.LAUNCHER_STARTED: [MACHINE],
    Point.LAUNCHER_LEASE: [TASK, ADOPTED_MACHINE],
    Point.LAUNCHER_ADOPTED: [ADOPTED_MACHINE, ADOPTED_TASK],
    Point.LAUNCHER_STOPPED: [CANCELLED_TASK, RELEASED_MACHINE],
    Point.LAUNCHER_REMOVING: [CANCELLED_TASK],
    Point.LAUNCHER_REMOVED: [TASK],
    Point.LAUNCHER_REPORTED: [CANCELLED_TASK, UNSTARTED_TASK],
    Point.LAUNCHER_QUARANTINED: [STRANGE_DIRECTORY],
}
