"""Named points after durable writes, at which the crash suite kills the process. Production arms none."""

import os
import signal
from enum import StrEnum


class Point(StrEnum):
    """A process can die at each of these, after one write and before the next step."""

    CREATE_STORED = "create: stored, not rung for"
    CREATE_RUNG = "create: rung for, the bell not recorded"
    CREATE_RECORDED = "create: the bell recorded, not answered"
    CLAIM_STORED = "claim: stored, not answered"
    UPDATE_STORED = "update: stored, not answered"
    HEARTBEAT_RENEWED = "heartbeat: one renewed, not answered"
    CANCEL_STORED = "cancel: stored, not answered"
    CALLBACK_STARTED = "callback: started stored, not answered"
    UPLOAD_BEGUN = "upload: begun at the bucket, its id not answered"
    UPLOAD_COMPLETED = "upload: parts joined at the bucket, the order still runs"
    CALLBACK_COMPLETED = "callback: completed stored, not answered"
    CALLBACK_ACCEPTED = "callback: the report of an image stored, not answered"
    CALLBACK_FAILED = "callback: failed stored, not answered"
    SWEEP_RUNG = "sweep: rung for, the bell not recorded"
    SWEEP_APPLIED = "sweep: one order settled"
    SWEEP_DELETED = "sweep: an output deleted, not recorded"
    SWEEP_FORGOT = "sweep: idempotency keys forgotten"
    REQUEUE_STORED = "requeue: stored, not rung for"
    PURGE_DELETED = "purge: outputs deleted, the order still there"
    PURGE_REMOVED = "purge: the order removed, not answered"
    POOL_RECORDED = "pool: the record written, its orders neither created nor released"
    BATCH_RECORDED = "batch: the record written, its orders not created"
    SET_CREATED = "pool or batch: an order created, not rung for"
    SET_RELEASED = "pool: one order released, perhaps not all that are to be"
    NOTICE_STORED = "job: the notice for its parent stored, the job not created"
    NOTICE_MOVED = "job's end: the notice in the parent's mailbox, and still at its old place"
    NOTICE_SENT = "job's end: the parent's job created, its notices still in the mailbox"
    REGISTER_WRITTEN = "register: the agent written, its order not updated"
    LATE_CREATED = "late: an order created for a late worker's machine, not answered"
    JOB_LAUNCHER_REGISTERED = "jobs: a launcher registered, not answered"
    JOB_LAUNCHER_MARKED = "jobs: a launcher marked as deregistered, not answered"
    JOB_LAUNCHER_REMOVED = "jobs: a launcher removed, not answered"
    JOB_LOST = "jobs: one job of a lost launcher ended, perhaps not all"
    JOB_REPORTED = "jobs: a report stored, not answered"
    JOB_GIVEN_BACK = "jobs: a job given back to its former holder, its report not stored"
    LAUNCHER_CLAIMED = "launcher: claimed, no directory yet"
    LAUNCHER_ACKNOWLEDGED = "launcher: the bell acknowledged"
    LAUNCHER_DIRECTORY = "launcher: the directory written, nothing reported"
    LAUNCHER_PROVISIONING = "launcher: provisioning reported, nothing started"
    LAUNCHER_RECORDED = "launcher: the process recorded, its program not started"
    LAUNCHER_NAMED = "launcher: a remote machine's name recorded, nothing asked for"
    LAUNCHER_CREATED = "launcher: a remote machine created, its id not recorded"
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
    """Kill this process when it reaches the point."""
    _armed.add(point)


def reach(point: Point) -> None:
    """Die here with SIGKILL if the point is armed."""
    if point in _armed:
        os.kill(os.getpid(), signal.SIGKILL)
