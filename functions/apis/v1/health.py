"""Whether this entry point is ready: it answers, and its settings make an App."""

from typing import Literal

from pydantic import BaseModel

from functions.app import App
from functions.http.authentication import Caller, Open
from functions.http.routing import Route


class Health(BaseModel):
    status: Literal["ok"] = "ok"


def ready(_caller: Caller, _app: App) -> Health:
    return Health()


ROUTES = (Route("GET", "/v1/health", Open.ANYONE, ready, "Whether the control plane is ready", Health),)
