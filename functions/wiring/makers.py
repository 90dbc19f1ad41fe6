"""The composition root: how each service is made, from the services and ports that it takes down to the settings.

Of these, a function makes what its routes need (`assembly`): what is not asked for is not made, its library is not
imported, and its settings and secrets are not read. To add a service, add it to the MAKERS of the module of
its subject: its class, or, if it takes anything that has no type of its own, a function.

functions-framework imports the entry points in gunicorn's master process, which then forks. A gRPC client or thread
from before the fork would not work in the workers, so the services are made at the first request (`assembly.once`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from functions.assembly import Assembly, Maker, bound, by_type, plan
from functions.engine.sweep import Chore
from functions.http.api import CHORE_GIVEN, ENVIRONMENT_GIVEN, Api
from functions.http.routing import Route
from functions.settings import AddressSettings, DatabaseSettings, ServerSettings
from functions.wiring import accounts, claims, clock, cloud, jobs, orders, pools, store
from functions.wiring.orders import MakeEnvironments
from functions.wiring.store import RECORDS

ALWAYS: Final = (AddressSettings, DatabaseSettings, ServerSettings)
"""The settings that every process needs (`main`)."""


def plan_for(apis: Sequence[Api], routes: Iterable[Route]) -> Assembly:
    """Return what a function with these routes needs. Raises WrongHandler."""
    return plan(apis, routes, makers_for(apis), ALWAYS)


def makers_for(apis: Sequence[Api]) -> Mapping[Any, Maker]:
    """Return what makes each service, port and value."""
    chores = [chore for api in apis for chore in api.chores]
    environments = {kind: make for api in apis for kind, make in api.environments.items()}
    return {
        **by_type(MAKERS),
        **RECORDS,
        Sequence[Chore]: bound("The sweep's chores", chores, CHORE_GIVEN),
        MakeEnvironments: bound(
            "The images' environments",
            environments.values(),
            ENVIRONMENT_GIVEN,
            lambda makers: dict(zip(environments, makers, strict=True)),
        ),
    }


MAKERS: Final[Sequence[Callable[..., object]]] = (
    *(*orders.MAKERS, *claims.MAKERS, *jobs.MAKERS, *pools.MAKERS, *accounts.MAKERS),
    *(*store.MAKERS, *cloud.MAKERS, *clock.MAKERS),
)
