"""Reports that an entry point is ready: it answers, and its services could be made from its settings."""

from typing import Final, Literal

from pydantic import BaseModel

from functions.http.authentication import Open
from functions.http.routing import Route


class Health(BaseModel):
    status: Literal["ok"] = "ok"


def get_health() -> Health:
    return Health()


ROUTES: Final = (Route("GET", "/v1/health", Open.ANYONE, get_health, "Check that the control plane is ready"),)
