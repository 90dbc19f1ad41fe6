"""The native API, `/v1`, with one deployed service for each group of callers."""

from typing import Final

from functions.apis.v1 import claims, health, launchers, orders, sweeps, workers
from functions.http.api import Api
from functions.http.dialect import NATIVE

V1: Final = Api(
    name="v1",
    prefixes=("/v1/",),
    dialect=NATIVE,
    services={
        "orders": orders.ROUTES,
        "claim": claims.ROUTES,
        "update": launchers.ROUTES,
        "callback": workers.ROUTES,
        "sweep": sweeps.ROUTES,
    },
)
HEALTH: Final = health.ROUTES
"""The routes that every service has."""
