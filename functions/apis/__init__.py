"""The contracts that the control plane serves, one folder each. To add one, add its folder and an entry here."""

from collections.abc import Mapping, Sequence
from typing import Final

from functions.apis.capacity import CAPACITY
from functions.apis.exports import EXPORTS
from functions.apis.jobs import JOBS
from functions.apis.tasks import TASKS
from functions.apis.v1 import HEALTH, V1, V1_OF_THE_SWEEP
from functions.http.api import Api
from functions.http.routing import Route

APIS: Final[Sequence[Api]] = (V1, CAPACITY, EXPORTS, TASKS, JOBS)

SERVICES: Final[Mapping[str, Sequence[Route]]] = {
    name: (*routes, *HEALTH) for api in APIS for name, routes in api.services.items()
}
"""The services to deploy, by the name of their entry point."""
EVERYTHING: Final[Sequence[Route]] = (*(route for api in APIS for route in api.routes), *HEALTH)
"""The service that the local stack runs: all routes in one process."""
SWEEP: Final = "sweep"
"""The function that is private: a scheduler calls it, and no gateway leads to it."""


def apis_of(function: str) -> Sequence[Api]:
    """Return the contracts as this function serves them."""
    return tuple(V1_OF_THE_SWEEP if api is V1 and function == SWEEP else api for api in APIS)
