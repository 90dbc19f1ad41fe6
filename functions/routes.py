"""All routes, by the entry point that serves them."""

from collections.abc import Mapping, Sequence
from typing import Final

from functions.apis.capacity import accounts, admin, agents, pools, purchases, signup
from functions.apis.capacity import orders as capacity_orders
from functions.apis.v1 import claims as claim
from functions.apis.v1 import failed_orders as dead_letters
from functions.apis.v1 import health, orders
from functions.apis.v1 import launchers as update
from functions.apis.v1 import sweeps as sweep
from functions.apis.v1 import workers as callback
from functions.http.routing import Route

ROUTES_OF: Final[Mapping[str, Sequence[Route]]] = {
    "orders": (*orders.ROUTES, *dead_letters.ROUTES),
    "claim": claim.ROUTES,
    "update": update.ROUTES,
    "callback": callback.ROUTES,
    "sweep": sweep.ROUTES,
    "capacity": (
        *signup.ROUTES,
        *accounts.ROUTES,
        *admin.ROUTES,
        *capacity_orders.ROUTES,
        *pools.ROUTES,
        *purchases.ROUTES,
        *agents.ROUTES,
    ),
}
HEALTH: Final = health.ROUTES
"""Served by every entry point."""
EVERY_ROUTE: Final = (*(route for routes in ROUTES_OF.values() for route in routes), *HEALTH)
NATIVE_ROUTES: Final = tuple(route for route in EVERY_ROUTE if route.path.startswith("/v1/"))
"""Those that docs/openapi.json describes; the faces' are described by the contracts they keep."""
