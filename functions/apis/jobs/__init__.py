"""The contract of agent jobs."""

from typing import Final

from functions.apis.capacity.dialect import DIALECT
from functions.apis.jobs import sessions
from functions.http.api import Api

JOBS: Final = Api(
    name="jobs",
    prefixes=("/sessions",),
    dialect=DIALECT,
    services={"jobs": sessions.ROUTES},
    chores=sessions.CHORES,
)
