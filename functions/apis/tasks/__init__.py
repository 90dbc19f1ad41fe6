"""The contract of ephemeral workers: the environment that a task's image expects, and the callbacks that it sends."""

from typing import Final

from functions.apis.tasks import callbacks
from functions.apis.tasks.dialect import DIALECT
from functions.apis.tasks.environment import environment
from functions.http.api import Api
from shared.domain.spec import OrderKind

TASKS: Final = Api(
    name="tasks",
    prefixes=("/api/agents/",),
    dialect=DIALECT,
    services={"tasks": callbacks.ROUTES},
    environments={OrderKind.TASK: environment},
)
