"""The contract of agent jobs: a client orders an agent's session, and a launcher that polls runs it."""

from typing import Final

from functions.apis.jobs import jobs, launchers, polls, reports, sessions
from functions.apis.jobs.dialect import DIALECT
from functions.http.api import Api

JOBS: Final = Api(
    name="jobs",
    prefixes=("/launcher/", "/launchers", "/jobs", "/sessions"),
    dialect=DIALECT,
    services={"jobs": (*launchers.ROUTES, *polls.ROUTES, *reports.ROUTES, *jobs.ROUTES, *sessions.ROUTES)},
    chores=(launchers.settle_launchers, *sessions.CHORES),
)
