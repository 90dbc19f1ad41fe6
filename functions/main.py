"""The entry points of functions-framework: one function a deployed service, and `everything` for the local stack.

    functions-framework --source functions/main.py --target everything --host 127.0.0.1 --port 8080

The services are those of the APIs (`functions/apis/__init__.py`). Bad settings and a handler that does not fit its
route end the process here, before it serves; everything else waits for the first request (see `wiring`).
"""

from collections.abc import Callable, Sequence

import functions_framework
from flask import Request, Response, request
from werkzeug.exceptions import HTTPException

from functions import wiring
from functions.apis import APIS, EVERYTHING, SERVICES
from functions.http import endpoint, logs
from functions.http.endpoint import Endpoint
from functions.http.routing import Route
from functions.settings import read_settings

logs.configure()
SETTINGS = read_settings(APIS)
SERVICES_OF_PROCESS = wiring.once(lambda: wiring.build(SETTINGS, APIS))


# The framework imports us while it makes the application, and `errorhandler` is that application's.
@functions_framework.errorhandler(HTTPException)  # type: ignore[untyped-decorator]
def unroutable(error: HTTPException) -> Response:
    return endpoint.unroutable(request, APIS, error, SETTINGS.core.project)


def _entry_point(routes: Sequence[Route]) -> Callable[[Request], Response]:
    serve = Endpoint(APIS, routes, SERVICES_OF_PROCESS, wiring.OFFERED | set(SETTINGS.of_apis), SETTINGS.core.project)
    return lambda request: serve(request)  # the framework takes a function, and no other callable


# Each service of the table, as a function of this module: the framework looks its target up by name.
globals().update({name: _entry_point(routes) for name, routes in SERVICES.items()})
everything = _entry_point(EVERYTHING)
