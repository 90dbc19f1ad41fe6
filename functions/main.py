"""The entry point of functions-framework: the service that FUNCTION_TARGET names, or `everything` for the local stack.

    functions-framework --source functions/main.py --target everything --host 127.0.0.1 --port 8080

`functions/server.py` serves it with limits of its own.

The APIs define the services (`functions/apis/__init__.py`). Wrong settings, or a handler that does not fit its route,
end the process here, before it serves; everything else is made at the first request (see `wiring`).
"""

import functions_framework
import httpx
from flask import Response, request
from werkzeug.exceptions import HTTPException

from functions import assembly
from functions.apis import EVERYTHING, SERVICES, SWEEP, apis_of
from functions.apis.v1.settings import NoSweepCaller
from functions.http import endpoint, logs
from functions.http.body_deadline import BodyDeadline
from functions.http.endpoint import Endpoint
from functions.settings import WHOLE, AddressSettings, DatabaseSettings, EntryPoint, ServerSettings, read_settings
from functions.wiring.makers import plan_for
from shared.public_address import is_loopback
from shared.settings import read_or_exit

FUNCTION = read_or_exit(EntryPoint).function
ROUTES = SERVICES.get(FUNCTION, EVERYTHING)  # the framework looks up its target here, and refuses another name
APIS = apis_of(FUNCTION)
PLAN = plan_for(APIS, ROUTES)
SETTINGS = read_settings([*PLAN.settings, *([] if FUNCTION == SWEEP else [NoSweepCaller])], FUNCTION)
logs.configure(SETTINGS.of(DatabaseSettings).project)
LOCAL = is_loopback(httpx.URL(SETTINGS.of(AddressSettings).url).host)
"""Whether the control plane serves one machine only: nobody else reaches it at its address."""
services = assembly.once(lambda: PLAN.make(SETTINGS.by_type))


# The framework imports this module while it makes the application, to which `errorhandler` belongs.
@functions_framework.errorhandler(HTTPException)  # type: ignore[untyped-decorator]
def unroutable(error: HTTPException) -> Response:
    return endpoint.unroutable(request, APIS, error, LOCAL)


DEADLINE = BodyDeadline(crowd=max(1, SETTINGS.of(ServerSettings).threads // 4))
serve = endpoint.entry_point(Endpoint(APIS, ROUTES, services, DEADLINE, LOCAL))
# The framework looks up its target by name.
globals()[FUNCTION if FUNCTION in SERVICES else WHOLE] = serve
