"""Recovery after a restart: adopts machines that run, reports those that ended, and puts aside what is unclear."""

import errno
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError

from launcher.machines.directory import LinkOrCopy, VmDirectory, read
from launcher.machines.inventory import quarantine, remaining
from launcher.machines.port import Machine, MachineState, Recoverer
from launcher.machines.records import VmLease, VmManifest
from launcher.orders.admission import Admission
from launcher.orders.assignment import Assignment, StopReason
from launcher.orders.assignments import Assignments, Resume
from launcher.orders.attempt import AttemptRunner, discard
from launcher.orders.reports import FinalReport, last_words
from launcher.providers.process.identity import MARK, end_stragglers, marked
from shared.crash_points import Point, reach
from shared.domain.order import LEASE, State
from shared.log_events import LogEvent
from shared.wire.launchers import Hold

HOST_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that are about this host's resources, not about the directory."""
ENDED_LEASE: Final = VmLease(ends=0, seconds=LEASE.total_seconds())

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Adoption:
    """Continues the orders whose directories an earlier daemon left."""

    runner: AttemptRunner
    assignments: Assignments
    admission: Admission
    states: Mapping[Hold, State | str] | None = None
    """The held orders' states according to the control plane; None if it was not asked."""
    leases: Mapping[Hold, VmLease] = field(default_factory=dict)
    """The leases that were just renewed. For any other machine, the recorded lease counts."""

    def run(self) -> None:
        """Process every directory once. Kill only what is certain to be this launcher's machine.

        Raises OSError if this host cannot examine or watch a machine, LaunchFailed if a remote provider cannot. No
        daemon can run here then.
        """
        for path in remaining(self.runner.state):
            manifest: VmManifest | None = None
            try:
                directory = read(path)
                manifest = directory.manifest
                if not manifest.is_operators:
                    self._settle(directory)
            except OSError as error:
                if error.errno in HOST_EXHAUSTED:
                    raise
                put_aside(path, f"it cannot be read: {error.strerror or type(error).__name__}", manifest)
            except ValidationError as error:
                put_aside(path, f"it has invalid fields: {_invalid(error)}", manifest)
            except LinkOrCopy as error:
                put_aside(path, str(error), advice={"to_do": "remove this: the machine's own directory is another"})
            except (LookupError, ValueError) as error:
                put_aside(path, str(error), manifest)

    def _settle(self, directory: VmDirectory) -> None:
        """Adopt or report a machine. Raises OSError, ValueError, LookupError, LaunchFailed if that is impossible."""
        hold = directory.manifest.hold
        recoverer = self.runner.providers.recoverer(directory.manifest)
        match state := recoverer.state_of(directory):
            case MachineState.RUNS:
                self._adopt(directory, hold, recoverer)
            case MachineState.UNEXPLAINED:
                raise ValueError("the process on record runs, and its arguments do not name the machine")
            case _:
                self._go_on(directory, hold, partial(self._report_end, directory, state), ending=True)

    def _adopt(self, directory: VmDirectory, hold: Hold, recoverer: Recoverer) -> None:
        machine = recoverer.adopt(directory)
        if machine is None:
            self._go_on(directory, hold, partial(self._report_end, directory, MachineState.ENDED), ending=True)
            return
        ended = self.states is not None and hold not in self.states
        self._go_on(directory, hold, partial(self._watch, directory, machine), ending=ended)
        log.info(
            LogEvent.MACHINE_ADOPTED,
            message="Adopted a machine that an earlier daemon started.",
            **hold.model_dump(),
            vm=directory.manifest.vm,
            pid=machine.pid,
        )
        reach(Point.LAUNCHER_ADOPTED)

    def _go_on(self, directory: VmDirectory, hold: Hold, run: Resume, ending: bool) -> None:
        lease = self.leases.get(hold) or _lease(directory)
        running = self.states is not None and self.states.get(hold) is State.RUNNING
        reservation = self.admission.readmit(hold, directory.manifest.resources)
        self.assignments.resume(hold, lease, reservation, run, running, ending)

    def _watch(self, directory: VmDirectory, machine: Machine, assignment: Assignment) -> None:
        if assignment.ending:
            assignment.stop(StopReason.FINISHED)
        assignment.record_lease_in(directory)
        self.runner.resume(assignment, directory, machine)

    def _report_end(self, directory: VmDirectory, state: MachineState, assignment: Assignment) -> None:
        """Report a machine that is gone, and remove what is left of it."""
        end_stragglers(directory.manifest.uuid)
        builder = self.runner.builder
        if state is MachineState.NEVER_RAN:
            message = "The launcher ended before the machine was started."
            report: FinalReport = builder.returned(assignment.hold.epoch, message)
        else:
            log.info(
                LogEvent.MACHINE_GONE,
                message="The machine has ended.",
                **assignment.hold.model_dump(),
                exit_code=None,
                **last_words(directory),
            )
            report = builder.machine_ended(assignment, None)
        self.runner.report(assignment, report, directory.manifest.provider)
        discard(directory, assignment)


def holds_in(state: Path) -> frozenset[Hold]:
    """Return the holds of all readable machines' directories. Raises OSError."""
    found: set[Hold] = set()
    for path in remaining(state):
        with suppress(OSError, ValueError):
            directory = read(path)
            if not directory.manifest.is_operators:
                found.add(directory.manifest.hold)
    return frozenset(found)


def put_aside(
    path: Path, why: str, manifest: VmManifest | None = None, advice: Mapping[str, object] | None = None
) -> None:
    """Quarantine a directory, and log what to do; `manifest` is None if it cannot be read."""
    try:
        kept = quarantine(path)
    except OSError as error:
        log.error(
            LogEvent.DIRECTORY_LEFT_ALONE,
            message="A directory that cannot be explained could not be moved: it was left alone.",
            path=str(path),
            why=why,
            error=error.strerror,
        )
        return
    log.error(
        LogEvent.DIRECTORY_QUARANTINED,
        message="A directory that cannot be explained was moved to the quarantine.",
        path=str(kept),
        why=why,
        **(advice or _advice(manifest)),
    )
    reach(Point.LAUNCHER_QUARANTINED)


def _advice(manifest: VmManifest | None) -> dict[str, object]:
    """Return what an operator must do about processes of the machine that still run."""
    if manifest is None:
        return {
            "to_do": f"end the process whose environment has the {MARK} of this machine, if it runs; then remove this"
        }
    known = {"vm": manifest.vm, "uuid": manifest.uuid}
    if not manifest.argv:
        return {**known, "to_do": f"delete the instance {manifest.vm} if {manifest.provider} has it; then remove this"}
    if pids := marked(manifest.uuid):
        return {**known, "pids": pids, "to_do": "end these processes, which are the machine's; then remove this"}
    return {**known, "pids": [], "to_do": "remove this: nothing runs that carries the machine's mark"}


def _invalid(error: ValidationError) -> str:
    """Return the names of the invalid fields, and no value: a configuration holds a token."""
    fields = sorted({".".join(str(name) for name in one["loc"]) or error.title for one in error.errors()})
    return ", ".join(fields)


def _lease(directory: VmDirectory) -> VmLease:
    """Return the recorded lease; an ended one if it cannot be read."""
    try:
        return directory.lease()
    except (OSError, ValidationError):
        return ENDED_LEASE
