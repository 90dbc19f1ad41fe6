"""Named points after durable writes, where the crash suite kills the process. None is armed in production."""

import os
import signal
from enum import StrEnum


class Point(StrEnum):
    """Where a process can die with something written and nothing more done."""

    CREATE_STORED = "create: stored, not rung for"
    CREATE_RUNG = "create: rung for, the bell not recorded"
    CREATE_RECORDED = "create: the bell recorded, not answered"
    CLAIM_STORED = "claim: stored, not answered"
    UPDATE_STORED = "update: stored, not answered"
    HEARTBEAT_RENEWED = "heartbeat: one renewed, not answered"
    CANCEL_STORED = "cancel: stored, not answered"
    CALLBACK_STARTED = "callback: started stored, not answered"
    CALLBACK_COMPLETED = "callback: completed stored, not answered"
    CALLBACK_FAILED = "callback: failed stored, not answered"
    SWEEP_RUNG = "sweep: rung for, the bell not recorded"
    SWEEP_APPLIED = "sweep: one order settled"
    SWEEP_DELETED = "sweep: an output deleted, not recorded"
    SWEEP_FORGOT = "sweep: idempotency keys forgotten"
    REQUEUE_STORED = "requeue: stored, not rung for"
    PURGE_DELETED = "purge: outputs deleted, the order still there"
    PURGE_REMOVED = "purge: the order removed, not answered"
    POOL_RECORDED = "pool: the record written, its orders neither created nor released"
    POOL_CREATED = "pool: an order created, not rung for"
    POOL_RELEASED = "pool: an order wished gone, perhaps not all that are to go"
    REGISTER_WRITTEN = "register: the agent written, its order not told"
    LATE_CREATED = "late: the order of a machine that came late created, not answered"
    LAUNCHER_CLAIMED = "launcher: claimed, no directory yet"
    LAUNCHER_ACKNOWLEDGED = "launcher: the bell acknowledged"
    LAUNCHER_DIRECTORY = "launcher: the directory written, nothing reported"
    LAUNCHER_PROVISIONING = "launcher: provisioning reported, nothing started"
    LAUNCHER_RECORDED = "launcher: the process recorded, its program not started"
    LAUNCHER_STARTED = "launcher: the machine started"
    LAUNCHER_LEASE = "launcher: a lease recorded"
    LAUNCHER_ADOPTED = "launcher: a machine adopted"
    LAUNCHER_STOPPED = "launcher: the machine ended, its directory still there"
    LAUNCHER_REMOVING = "launcher: the directory marked as removed, still there"
    LAUNCHER_REMOVED = "launcher: the directory removed, nothing reported"
    LAUNCHER_REPORTED = "launcher: the end reported"
    LAUNCHER_QUARANTINED = "launcher: a directory quarantined"


_armed: set[Point] = set()


def arm(point: Point) -> None:
    """Have this process killed when it reaches the point."""
    _armed.add(point)


def reach(point: Point) -> None:
    if point in _armed:
        os.kill(os.getpid(), signal.SIGKILL)
