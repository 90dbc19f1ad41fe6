"""The contract of capacity launch orders."""

from typing import Final

from functions.apis.capacity import accounts, admin, agents, orders, pools, purchases, signup
from functions.apis.capacity.dialect import DIALECT
from functions.apis.capacity.upkeep import keep_up
from functions.http.api import Api

CAPACITY: Final = Api(
    name="capacity",
    prefixes=("/api/", "/admin/"),
    dialect=DIALECT,
    services={
        "capacity": (
            *signup.ROUTES,
            *accounts.ROUTES,
            *admin.ROUTES,
            *orders.ROUTES,
            *pools.ROUTES,
            *purchases.ROUTES,
            *agents.ROUTES,
        )
    },
    chores=(keep_up,),
)
