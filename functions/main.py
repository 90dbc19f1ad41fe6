"""The entry points of functions-framework: one for each deployed service, and `everything` for the local stack.

    functions-framework --source functions/main.py --target everything --host 127.0.0.1 --port 8080

`functions/server.py` serves them with limits of its own.

The APIs define the services (`functions/apis/__init__.py`). Wrong settings, or a handler that does not fit its route,
end the process here, before it serves; everything else is made at the first request (see `wiring`).
"""

from collections.abc import Callable, Sequence

import functions_framework
import httpx
from flask import Request, Response, request
from werkzeug.exceptions import HTTPException

from functions import wiring
from functions.apis import APIS, EVERYTHING, SERVICES
from functions.http import endpoint, logs
from functions.http.bodies import Bodies
from functions.http.endpoint import Endpoint
from functions.http.routing import Route
from functions.settings import read_settings
from shared.public_address import is_loopback

SETTINGS = read_settings(APIS)
logs.configure(SETTINGS.core.project)
LOCAL = is_loopback(httpx.URL(SETTINGS.core.url).host)
"""Whether the control plane serves one machine only: nobody else reaches it at its address."""
BODIES = Bodies(crowd=max(1, SETTINGS.core.threads // 4))
services = endpoint.once(lambda: wiring.build(SETTINGS, APIS))


# The framework imports this module while it makes the application, to which `errorhandler` belongs.
@functions_framework.errorhandler(HTTPException)  # type: ignore[untyped-decorator]
def unroutable(error: HTTPException) -> Response:
    return endpoint.unroutable(request, APIS, error, LOCAL)


def _entry_point(routes: Sequence[Route]) -> Callable[[Request], Response]:
    offered = wiring.OFFERED | set(SETTINGS.of_apis)
    return endpoint.entry_point(Endpoint(APIS, routes, services, offered, BODIES, LOCAL))


# One function of this module for each service: the framework looks up its target by name.
globals().update({name: _entry_point(routes) for name, routes in SERVICES.items()})
everything = _entry_point(EVERYTHING)
