"""The contract of capacity launch orders."""

from typing import Final

from functions.apis.capacity import accounts, agents, operators, orders, pools
from functions.apis.capacity.chores import CHORES
from functions.apis.capacity.dialect import DIALECT
from functions.http.api import Api

CAPACITY: Final = Api(
    name="capacity",
    prefixes=("/api/", "/admin/"),
    dialect=DIALECT,
    services={"capacity": (*accounts.ROUTES, *operators.ROUTES, *orders.ROUTES, *pools.ROUTES, *agents.ROUTES)},
    chores=CHORES,
)
