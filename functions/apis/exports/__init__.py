"""The contract of exports: a client orders the MODS records of an entity, and downloads them."""

from typing import Final

from functions.apis.exports import batches, callbacks, exports
from functions.apis.exports.dialect import DIALECT
from functions.apis.exports.environment import environment_of
from functions.http.api import Api
from shared.domain.spec import OrderKind

EXPORTS: Final = Api(
    name="exports",
    prefixes=("/export/", "/status/", "/callback/", "/download/", "/health"),
    dialect=DIALECT,
    services={"exports": (*exports.ROUTES, *callbacks.ROUTES, *batches.ROUTES)},
    chores=(batches.settle_batches,),
    environments={OrderKind.EXPORT: environment_of},
)
