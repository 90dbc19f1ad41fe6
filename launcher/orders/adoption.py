"""What an earlier daemon left: its machines are adopted, the ends of others reported, and what is unclear put aside."""

import errno
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError

from launcher.machines.directory import LinkOrCopy, VmDirectory, quarantine, read, remaining
from launcher.machines.port import Machine, MachineState, Recoverer
from launcher.machines.records import VmLease, VmManifest
from launcher.orders.admission import Admission
from launcher.orders.assignment import Held, Wish
from launcher.orders.assignments import Resume, Runs
from launcher.orders.attempt import Runner, discard
from launcher.providers.process.identity import MARK, end_stragglers, marked
from shared.crash_points import Point, reach
from shared.domain.order import LEASE, State
from shared.wire.launchers import Hold

SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What says that this host is short of something, and nothing of the directory."""
OVER: Final = VmLease(ends=0, seconds=LEASE.total_seconds())

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Adoption:
    runner: Runner
    runs: Runs
    admission: Admission
    states: Mapping[Hold, State | str] | None = None
    """Of the orders that this launcher holds, as the control plane told before; None where it was not asked."""
    leases: Mapping[Hold, VmLease] = field(default_factory=dict)
    """Those that were renewed just now; of any other machine the lease on record counts."""

    def run(self) -> None:
        """Go through every directory once. Nothing is ever killed that is not certain to be our machine.

        Raises OSError where this host cannot have a machine looked at or watched, and LaunchFailed where a provider
        elsewhere cannot: then no daemon can run here now.
        """
        for path in remaining(self.runner.state):
            manifest: VmManifest | None = None
            try:
                directory = read(path)
                manifest = directory.manifest
                if not manifest.is_operators:
                    self._settle(directory)
            except OSError as error:
                if error.errno in SHORT:
                    raise
                put_aside(path, f"it cannot be read: {error.strerror or type(error).__name__}", manifest)
            except ValidationError as error:
                put_aside(path, f"what is in it is not what it should be: {_wrong(error)}", manifest)
            except LinkOrCopy as error:
                put_aside(path, str(error), advice={"to_do": "remove this: the machine's own directory is another"})
            except (LookupError, ValueError) as error:
                put_aside(path, str(error), manifest)

    def _settle(self, directory: VmDirectory) -> None:
        """Raises OSError, ValueError, LookupError if it cannot be told what is in the directory, and LaunchFailed."""
        hold = hold_of(directory)
        recoverer = self.runner.providers.recoverer(directory.manifest)
        match left := recoverer.state_of(directory):
            case MachineState.RUNS:
                self._adopt(directory, hold, recoverer)
            case MachineState.UNEXPLAINED:
                raise ValueError("the process on record runs, and its arguments do not name the machine")
            case _:
                self._go_on(directory, hold, partial(self._bury, directory, left), spent=True)

    def _adopt(self, directory: VmDirectory, hold: Hold, recoverer: Recoverer) -> None:
        machine = recoverer.adopt(directory)
        if machine is None:
            self._go_on(directory, hold, partial(self._bury, directory, MachineState.ENDED), spent=True)
            return
        over = self.states is not None and hold not in self.states
        self._go_on(directory, hold, partial(self._watch, directory, machine), spent=over)
        log.info("machine adopted", vm=directory.manifest.vm, pid=machine.pid)
        reach(Point.LAUNCHER_ADOPTED)

    def _go_on(self, directory: VmDirectory, hold: Hold, run: Resume, spent: bool) -> None:
        lease = self.leases.get(hold) or _lease(directory)
        runs = self.states is not None and self.states.get(hold) is State.RUNNING
        reservation = self.admission.readmit(hold, directory.manifest.resources)
        self.runs.resume(hold, lease, reservation, run, runs, spent)

    def _watch(self, directory: VmDirectory, machine: Machine, held: Held) -> None:
        if held.spent:
            held.ask(Wish.FINISHED)
        held.keep_lease_in(directory)
        self.runner.resume(held, directory, machine)

    def _bury(self, directory: VmDirectory, left: MachineState, held: Held) -> None:
        """Report the end of a machine that is gone, and remove what is left of it."""
        end_stragglers(directory.manifest.uuid)
        endings, provider = self.runner.endings, directory.manifest.provider
        if left is MachineState.NEVER_RAN:
            ending = endings.returned(held.hold.epoch, "The launcher ended before the machine was started.")
            self.runner.tell(held, ending, provider)
        else:
            self.runner.tell(held, endings.machine_exited(held, None, directory), provider)
        discard(directory, held)


def holds_in(state: Path) -> frozenset[Hold]:
    """Return the holds whose machines' directories are here, as far as they can be read. Raises OSError."""
    found: set[Hold] = set()
    for path in remaining(state):
        with suppress(OSError, ValueError):
            directory = read(path)
            if not directory.manifest.is_operators:
                found.add(hold_of(directory))
    return frozenset(found)


def hold_of(directory: VmDirectory) -> Hold:
    """Raises ValidationError if the manifest names no order and epoch that there can be."""
    return Hold(order_id=directory.manifest.order_id, epoch=directory.manifest.epoch)


def put_aside(
    path: Path, why: str, manifest: VmManifest | None = None, advice: Mapping[str, object] | None = None
) -> None:
    """Move a directory out of the way, and say what to do; `manifest` is None if nobody can tell whose it is."""
    try:
        kept = quarantine(path)
    except OSError as error:
        log.error("a directory that cannot be explained is left alone", path=str(path), why=why, error=error.strerror)
        return
    log.error("a directory was quarantined", path=str(kept), why=why, **(advice or _advice(manifest)))
    reach(Point.LAUNCHER_QUARANTINED)


def _advice(manifest: VmManifest | None) -> dict[str, object]:
    """Return what an operator must know to end what still runs of a machine, and nothing else."""
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


def _wrong(error: ValidationError) -> str:
    """Return which fields are wrong, and no value: a configuration holds a token."""
    wrong = sorted({".".join(str(part) for part in one["loc"]) or error.title for one in error.errors()})
    return ", ".join(wrong)


def _lease(directory: VmDirectory) -> VmLease:
    """Return until when the machine may run; one whose lease is not known may not."""
    try:
        return directory.lease()
    except (OSError, ValidationError):
        return OVER
