"""For operators: a session for a password, and enrolment tokens."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from functions.apis.capacity.dialect import ADMINS
from functions.apis.capacity.enrolments import issue
from functions.app import App
from functions.http.authentication import Open
from functions.http.routing import Route


class Login(BaseModel):
    """`POST /admin/login`."""

    model_config = ConfigDict(frozen=True)

    password: Annotated[SecretStr, Field(max_length=1000)]


class Session(BaseModel):
    token: str
    expires_at: datetime


def login(body: Login, app: App) -> Session:
    token, expires_at = app.capacity.sessions.open(body.password.get_secret_value(), app.clock())
    return Session(token=token, expires_at=expires_at)


ROUTES: Final = (
    Route("POST", "/admin/login", Open.ANYONE, login, "Open an operator's session"),
    Route(
        "POST",
        "/api/v1/admin/enrolments",
        ADMINS,
        issue,
        "Issue a token with which one account can be created",
    ),
)
