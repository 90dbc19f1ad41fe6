"""The native API, `/v1`, with one deployed service for each group of callers."""

from dataclasses import replace
from typing import Final

from functions.apis.v1 import claims, health, launchers, orders, sweeps, workers
from functions.apis.v1.scheduler import authenticate_scheduler
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
V1_OF_THE_SWEEP: Final = replace(V1, dialect=replace(NATIVE, authenticate=authenticate_scheduler))
"""The same for the function `sweep` alone, whose callers Cloud Run verifies: the scheduler may call it."""
HEALTH: Final = health.ROUTES
"""The routes that every service has."""
