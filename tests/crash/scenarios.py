"""The scenarios, and the points at which each one kills the control plane's or the launcher's process.

One run proves several points: the process that is started after a death is armed with the next point. If a point is
never reached, the run fails and names it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.crash_points import Point
from shared.domain.order import State
from shared.wire.orders import LimitsRequest
from tests.crash.capacity_steps import a_machine_of_an_expired_claim, a_pool, an_attested_machine, lower, until_all_run
from tests.crash.deployment import Deaths
from tests.crash.export_steps import a_batch, images_report
from tests.crash.job_steps import (
    a_child_s_job,
    a_job_of_a_lapsed_claim,
    a_job_that_is_completed,
    jobs_of_a_lost_launcher,
    jobs_of_deregistered_launchers,
)
from tests.crash.steps import (
    FAIL,
    PRINT_ONCE_ALLOWED,
    SOON,
    STAY,
    TOMORROW,
    Step,
    a_machine,
    a_task,
    a_task_of_yesterday,
    allow_printing,
    an_unreadable_directory,
    cancel,
    freeze_launcher,
    kill_launcher,
    purge,
    requeue,
    thaw_launcher,
    until,
    until_died_at,
    until_discarded,
)
from tests.crash.task_steps import a_reported_task
from tests.crash.upload_steps import a_large_output

ONE_SECOND: Final = LimitsRequest(retention_seconds=1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`setup` runs before anything else, then `steps`. `functions` and `launcher` list the points at which each process
    dies, in turn. If `polling`, the launcher pulls no bells, and claims the next order. If `fly`, its machines are
    those of a local Fly. If `is_sample`, the scenario also runs in `make test`.
    """

    name: str
    steps: tuple[Step, ...]
    functions: Deaths = ()
    launcher: Deaths = ()
    setup: tuple[Step, ...] = ()
    polling: bool = False
    fly: bool = False
    is_sample: bool = False

    @property
    def points(self) -> frozenset[Point]:
        return frozenset(point for point in (*self.functions, *self.launcher) if point is not None)


OF_THE_FUNCTIONS: Final[Sequence[Scenario]] = (
    Scenario(
        "tasks that are created, claimed and completed",
        (freeze_launcher, a_task(), a_task(), a_task(), thaw_launcher),  # no claim before each create has died
        functions=(
            Point.CREATE_STORED,
            Point.CREATE_RUNG,
            Point.CREATE_RECORDED,
            Point.CLAIM_STORED,
            Point.UPDATE_STORED,
            Point.CALLBACK_COMPLETED,
        ),
        is_sample=True,
    ),
    Scenario(
        "a machine that is started, renewed and released",
        (a_machine(State.SUCCEEDED), until_died_at(Point.HEARTBEAT_RENEWED), until(State.RUNNING), cancel),
        functions=(Point.CALLBACK_STARTED, Point.HEARTBEAT_RENEWED, Point.CANCEL_STORED),
    ),
    Scenario(
        "a failing task for later, and a task that is requeued",
        (
            a_task(FAIL, ends=State.FAILED, after=SOON),
            until(State.FAILED),
            a_task(ends=State.CANCELLED, after=TOMORROW),
            cancel,
            requeue,
        ),
        functions=(Point.SWEEP_RUNG, Point.CALLBACK_FAILED, Point.REQUEUE_STORED),
    ),
    Scenario(
        "a forgotten key, a discarded output and a purged task",
        (
            a_task(leaves=False, limits=ONE_SECOND),
            until_discarded,
            a_task(ends=None),
            until(State.SUCCEEDED),
            purge,
        ),
        functions=(
            Point.SWEEP_FORGOT,
            Point.SWEEP_DELETED,
            Point.SWEEP_APPLIED,
            Point.PURGE_DELETED,
            Point.PURGE_REMOVED,
        ),
        setup=(a_task_of_yesterday,),
    ),
    Scenario(
        "a machine of a frozen launcher",
        (a_machine(), until(State.RUNNING), freeze_launcher, until_died_at(Point.SWEEP_APPLIED), thaw_launcher),
        functions=(Point.SWEEP_APPLIED,),
        is_sample=True,
    ),
    Scenario(
        "a pool of three that is lowered to one",
        (a_pool(3), until_all_run, lower(1)),
        functions=(Point.POOL_RECORDED, Point.SET_CREATED, Point.SET_RELEASED),
        is_sample=True,
    ),
    Scenario(
        "a pool that no launcher hears yet and that is lowered",
        # So many that they are not all released side by side: some are left when the first is.
        (freeze_launcher, a_pool(24), lower(1), thaw_launcher),
        functions=(Point.SET_RELEASED,),
    ),
    Scenario(
        "a batch of exports whose images report",
        (a_batch(3), images_report),
        functions=(Point.BATCH_RECORDED, Point.SET_CREATED, Point.CALLBACK_ACCEPTED),
    ),
    Scenario(
        "tasks whose workers report by themselves",
        (
            a_reported_task("started", "completed", ends=State.SUCCEEDED),
            a_reported_task("started", "failed", ends=State.FAILED),
        ),
        functions=(Point.CALLBACK_STARTED, Point.CALLBACK_COMPLETED, Point.CALLBACK_FAILED),
    ),
    Scenario(
        "an output in parts",
        (freeze_launcher, a_large_output, thaw_launcher),
        functions=(Point.UPLOAD_BEGUN, Point.UPLOAD_COMPLETED),
    ),
    Scenario(
        "a job of an agent that is polled for and completed",
        (a_job_that_is_completed,),
        functions=(Point.JOB_LAUNCHER_REGISTERED, Point.CLAIM_STORED, Point.JOB_REPORTED, Point.JOB_REPORTED),
        is_sample=True,
    ),
    Scenario(
        "a job of an agent that is reported late",
        (a_job_of_a_lapsed_claim,),
        functions=(Point.JOB_GIVEN_BACK,),
    ),
    Scenario(
        "a child's job, whose end resumes its parent",
        (a_child_s_job,),
        functions=(Point.NOTICE_STORED, Point.NOTICE_MOVED, Point.NOTICE_SENT),
    ),
    Scenario("jobs of a lost launcher", (jobs_of_a_lost_launcher,), functions=(Point.JOB_LOST, Point.JOB_LOST)),
    Scenario(
        "jobs of launchers that are deregistered",
        (jobs_of_deregistered_launchers,),
        functions=(
            Point.JOB_LAUNCHER_MARKED,
            Point.JOB_LOST,
            Point.JOB_LAUNCHER_REMOVED,
            Point.JOB_LOST,
            Point.JOB_LAUNCHER_REMOVED,
        ),
    ),
    Scenario("an attested machine", (an_attested_machine,), functions=(Point.REGISTER_WRITTEN,)),
    Scenario("a machine of an expired claim", (a_machine_of_an_expired_claim,), functions=(Point.LATE_CREATED,)),
)

OF_THE_LAUNCHER: Final[Sequence[Scenario]] = (
    Scenario(
        "a task that is claimed and whose machine is not started",
        (a_task(),),
        launcher=(
            Point.LAUNCHER_QUARANTINED,
            Point.LAUNCHER_CLAIMED,
            Point.LAUNCHER_DIRECTORY,
            Point.LAUNCHER_REPORTED,
        ),
        setup=(an_unreadable_directory,),
        is_sample=True,
    ),
    Scenario(
        "a task that has ended, and one whose machine is prepared",
        (a_task(), until_died_at(Point.LAUNCHER_REMOVED), a_task()),
        launcher=(
            Point.LAUNCHER_REMOVED,
            Point.LAUNCHER_ACKNOWLEDGED,
            Point.LAUNCHER_PROVISIONING,
            Point.LAUNCHER_LEASE,
        ),
    ),
    Scenario(
        "a task that is polled for",
        (a_task(),),
        functions=(Point.CLAIM_STORED,),
        launcher=(Point.LAUNCHER_CLAIMED,),
        polling=True,
    ),
    Scenario(
        "a task in a remote machine",
        (a_task(PRINT_ONCE_ALLOWED), until_died_at(Point.LAUNCHER_ADOPTED), allow_printing),
        launcher=(Point.LAUNCHER_NAMED, Point.LAUNCHER_CREATED, Point.LAUNCHER_ADOPTED),
        fly=True,
    ),
    Scenario(
        "a machine that is started, adopted and released",
        (a_machine(State.SUCCEEDED), until_died_at(Point.LAUNCHER_LEASE), until(State.RUNNING), cancel),
        launcher=(
            Point.LAUNCHER_RECORDED,
            Point.LAUNCHER_STARTED,
            Point.LAUNCHER_ADOPTED,
            Point.LAUNCHER_LEASE,
            Point.LAUNCHER_STOPPED,
        ),
    ),
    Scenario(
        "a machine of a killed launcher",
        (a_machine(), until(State.RUNNING), kill_launcher),
        launcher=(None, Point.LAUNCHER_ADOPTED, Point.LAUNCHER_LEASE),
        is_sample=True,
    ),
    Scenario(
        "a task of a killed launcher",
        (
            a_task(PRINT_ONCE_ALLOWED),
            until(State.RUNNING),
            kill_launcher,
            until_died_at(Point.LAUNCHER_ADOPTED),
            allow_printing,
        ),
        launcher=(None, Point.LAUNCHER_ADOPTED),
    ),
    Scenario(
        "two tasks that are cancelled, one after the other",
        (
            a_task(STAY, ends=State.CANCELLED),
            until(State.RUNNING),
            cancel,
            until_died_at(Point.LAUNCHER_REMOVING),
            a_task(STAY, ends=State.CANCELLED),
            until(State.RUNNING),
            cancel,
        ),
        launcher=(Point.LAUNCHER_REMOVING, Point.LAUNCHER_STOPPED, Point.LAUNCHER_REPORTED),
    ),
)

SCENARIOS: Final = (*OF_THE_FUNCTIONS, *OF_THE_LAUNCHER)
