"""The entry points of functions-framework: one function a deployed service, and `everything` for the local stack.

    functions-framework --source functions/main.py --target everything --host 127.0.0.1 --port 8080

Bad settings end the process here, before it serves; everything else waits for the first request (see `wiring`).
"""

import functions_framework
from flask import Request, Response, request
from werkzeug.exceptions import HTTPException

from functions import wiring
from functions.http import endpoint, logs
from functions.http.endpoint import Endpoint
from functions.routes import EVERY_ROUTE, HEALTH, ROUTES_OF
from functions.settings import Settings

logs.configure()
SETTINGS = Settings.read()
APP = wiring.once(lambda: wiring.build(SETTINGS))
EVERYTHING = Endpoint(EVERY_ROUTE, APP, SETTINGS.project)
SERVING = {name: Endpoint((*routes, *HEALTH), APP, SETTINGS.project) for name, routes in ROUTES_OF.items()}


# The framework imports us while it makes the application, and `errorhandler` is that application's.
@functions_framework.errorhandler(HTTPException)  # type: ignore[untyped-decorator]
def unroutable(error: HTTPException) -> Response:
    return endpoint.unroutable(request, error, SETTINGS.project)


def orders(request: Request) -> Response:
    return SERVING["orders"](request)


def claim(request: Request) -> Response:
    return SERVING["claim"](request)


def update(request: Request) -> Response:
    return SERVING["update"](request)


def callback(request: Request) -> Response:
    return SERVING["callback"](request)


def sweep(request: Request) -> Response:
    return SERVING["sweep"](request)


def capacity(request: Request) -> Response:
    return SERVING["capacity"](request)


def everything(request: Request) -> Response:
    return EVERYTHING(request)
