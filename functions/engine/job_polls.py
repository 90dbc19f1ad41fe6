"""Answers the polls of launchers of the agent-jobs contract: stop commands, a deregistration, or a job."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from functions.domain import request_ids
from functions.domain.access import narrowed
from functions.domain.job_launchers import STOP_REPEAT_INTERVAL, JobLauncher, stops_to_send
from functions.domain.order import Order
from functions.domain.refusals import NotFound, QuotaExceeded
from functions.engine.claims import Claimant, Claims
from functions.engine.job_launchers import JobLaunchers
from shared.domain.lanes import of_sessions


@dataclass(frozen=True, slots=True)
class StopJobs:
    """The launcher must stop these jobs."""

    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deregistered:
    """The launcher must shut down: it was deregistered."""


Command = StopJobs | Deregistered
"""A command that a launcher is sent before it gets another job."""


@dataclass(frozen=True, slots=True)
class JobPolls:
    launchers: JobLaunchers
    claims: Claims
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def poll(
        self, launcher: JobLauncher, scope: Collection[str], wait_seconds: float, present: Callable[[], bool]
    ) -> Command | Order | None:
        """Return the command for the launcher, or a job that it now holds; None if nothing came within the wait.

        `scope` is that of the key that was sent: without `any` in it, there is no job.

        A stop command is repeated until the job has ended: the answer with the first one may have been lost. If a quota
        allows the launcher no job now, None is returned after a pause: it gives up after three errors. Raises
        Unavailable.
        """
        command: Command | None = None
        just_read: JobLauncher | None = launcher

        def has_command() -> bool:
            nonlocal command, just_read
            command, just_read = self._command(launcher, just_read), None
            return command is not None

        claimant = Claimant(
            launcher.holder,
            request_ids.of_launcher(launcher.holder, self.new_id()),
            narrowed(of_sessions(launcher.labels), scope),
            attended=False,
        )
        order = None
        try:
            order = self.claims.next(claimant, self._until_repeat(launcher, wait_seconds), present, has_command)
        except QuotaExceeded:
            if not has_command():
                self.claims.arrivals.hold_back(claimant.lanes, claimant.holder)
        if command is None:
            return order
        self._note_sent(launcher, command)
        return command

    def _command(self, launcher: JobLauncher, just_read: JobLauncher | None) -> Command | None:
        to_stop = [order.id for order in self.launchers.store.held_by(launcher.holder, to_stop=True)]
        if job_ids := stops_to_send(launcher, to_stop, self.clock()):
            return StopJobs(job_ids)
        stored = just_read or self.launchers.records.get(launcher.id)
        return Deregistered() if stored is None or stored.deregistered else None

    def _until_repeat(self, launcher: JobLauncher, wait_seconds: float) -> float:
        """Return the wait, which ends early if stop commands were sent a moment ago and may have to be repeated."""
        if launcher.stops_sent_at is None:
            return wait_seconds
        repeat_in = (launcher.stops_sent_at + STOP_REPEAT_INTERVAL - self.clock()).total_seconds()
        return min(wait_seconds, repeat_in) if repeat_in > 0 else wait_seconds

    def _note_sent(self, launcher: JobLauncher, command: Command) -> None:
        if isinstance(command, Deregistered):
            self.launchers.remove(launcher)
            return
        sent_at = self.clock()

        def note(stored: JobLauncher) -> JobLauncher:
            return replace(stored, stops_sent=command.job_ids, stops_sent_at=sent_at)

        with suppress(NotFound):
            self.launchers.records.change(launcher.id, note)
