"""What an earlier daemon left: its machines are adopted, the ends of others reported, and what is unclear put aside."""

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError

from launcher.admission import Admission
from launcher.held import Held, Wish
from launcher.run import Runner, discard
from launcher.runs import Resume, Runs
from launcher.vm.directory import VmDirectory, quarantine, read, remaining
from launcher.vm.provider import Keeper, Machine
from launcher.vm.recognition import Trace, end_stragglers
from launcher.vm.records import VmLease
from shared.api import Hold
from shared.crash_points import Point, reach
from shared.domain.order import LEASE, State

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
            try:
                directory = read(path)
                keeper = self.runner.providers.keeper(directory.manifest)
                left = keeper.trace(directory)
            except LookupError as error:
                put_aside(path, str(error))
            except (OSError, ValidationError) as error:
                if isinstance(error, OSError) and error.errno in SHORT:
                    raise
                put_aside(path, f"it cannot be read: {type(error).__name__}")
            else:
                self._settle(directory, keeper, left)

    def _settle(self, directory: VmDirectory, keeper: Keeper, left: Trace) -> None:
        match left:
            case Trace.RUNS:
                self._adopt(directory, keeper)
            case Trace.UNEXPLAINED:
                put_aside(directory.path, "the process on record runs, and its arguments do not name the machine")
            case _:
                self._go_on(directory, partial(self._bury, directory, left), spent=True)

    def _adopt(self, directory: VmDirectory, keeper: Keeper) -> None:
        machine = keeper.adopt(directory)
        if machine is None:
            self._go_on(directory, partial(self._bury, directory, Trace.ENDED), spent=True)
            return
        over = self.states is not None and _hold(directory) not in self.states
        self._go_on(directory, partial(self._watch, directory, machine), spent=over)
        log.info("machine adopted", vm=directory.manifest.vm, pid=machine.pid)
        reach(Point.LAUNCHER_ADOPTED)

    def _go_on(self, directory: VmDirectory, run: Resume, spent: bool) -> None:
        hold = _hold(directory)
        lease = self.leases.get(hold) or _lease(directory)
        runs = self.states is not None and self.states.get(hold) is State.RUNNING
        reservation = self.admission.readmit(hold, directory.manifest.resources)
        self.runs.resume(hold, lease, reservation, run, runs, spent)

    def _watch(self, directory: VmDirectory, machine: Machine, held: Held) -> None:
        if held.spent:
            held.ask(Wish.FINISHED)
        held.keep_lease_in(directory)
        self.runner.resume(held, directory, machine)

    def _bury(self, directory: VmDirectory, left: Trace, held: Held) -> None:
        """Report the end of a machine that is gone, and remove what is left of it."""
        end_stragglers(directory.manifest.uuid)
        endings, provider = self.runner.endings, directory.manifest.provider
        if left is Trace.NEVER_RAN:
            ending = endings.returned(held.hold.epoch, "The launcher ended before the machine was started.")
            self.runner.tell(held, ending, provider)
        else:
            self.runner.tell(held, endings.machine_exited(held, None), provider)
        discard(directory, held)


def put_aside(path: Path, why: str) -> None:
    try:
        kept = quarantine(path)
    except OSError as error:
        log.error("a directory that cannot be explained is left alone", path=str(path), why=why, error=error.strerror)
        return
    log.error(
        "a directory was quarantined",
        path=str(kept),
        why=why,
        to_do="end the process in its process.json yourself if it is the machine's; then remove the directory",
    )
    reach(Point.LAUNCHER_QUARANTINED)


def _hold(directory: VmDirectory) -> Hold:
    return Hold(order_id=directory.manifest.order_id, epoch=directory.manifest.epoch)


def _lease(directory: VmDirectory) -> VmLease:
    """Return until when the machine may run; one whose lease is not known may not."""
    try:
        return directory.lease()
    except (OSError, ValidationError):
        return OVER
