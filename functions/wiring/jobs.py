"""Makes what serves agents' jobs and sessions."""

from collections.abc import Callable, Sequence
from typing import Final

from functions.domain.job_launchers import JobLauncher
from functions.engine.agent_sessions import AgentSessions
from functions.engine.arrivals import Arrivals
from functions.engine.job_launchers import JobLaunchers
from functions.engine.job_polls import JobPolls
from functions.engine.job_reports import JobReports
from functions.engine.parent_notices import ParentNotices
from functions.engine.session_jobs import SessionJobs
from functions.ports.clock import Clock, NewId
from functions.ports.orders import OrderStore
from functions.ports.records import Records
from functions.settings import LeaseSettings


def job_launchers(
    records: Records[JobLauncher],
    store: OrderStore,
    arrivals: Arrivals,
    clock: Clock,
    new_id: NewId,
    notices: ParentNotices,
) -> JobLaunchers:
    return JobLaunchers(records, store, arrivals.nudge, clock, new_id, notices.settle)


def job_reports(
    launchers: JobLaunchers,
    store: OrderStore,
    clock: Clock,
    new_id: NewId,
    leases: LeaseSettings,
    notices: ParentNotices,
) -> JobReports:
    return JobReports(launchers, store, clock, new_id, leases.lease, notices.settle)


MAKERS: Final[Sequence[Callable[..., object]]] = (
    SessionJobs,
    AgentSessions,
    ParentNotices,
    job_launchers,
    JobPolls,
    job_reports,
)
