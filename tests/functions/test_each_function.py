"""Each deployed function serves all its routes, though it is given its own settings and secrets and no others."""

import json
import re
import sys
from typing import Final

import functions_framework
import pytest
import structlog
from flask import Flask

from functions.apis import EVERYTHING, SERVICES
from tests.functions.conftest import SETTINGS
from tests.functions.made_once import MAIN
from tests.functions.world import ADMIN, CLIENT, KEYS, LAUNCHER
from tools.deployment import deployment

FUNCTIONS: Final = {**SERVICES, "everything": EVERYTHING}
VALUES: Final = {
    **SETTINGS,
    "LAUNCHYARD_S3_ENDPOINT": "http://127.0.0.1:1",
    "LAUNCHYARD_S3_ACCESS_KEY_ID": "an-id",
    "LAUNCHYARD_S3_SECRET_ACCESS_KEY": "a-secret-access-key",
}
SEEDED: Final = [{"digest": key.digest, "role": key.role, "account": key.account} for key in KEYS]
TEXT: Final = "0b6f2c1e-5d0a-4a57-9d0e-0d6a3a0e4b11"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_what_each_of_its_routes_asks_for(settings: pytest.MonkeyPatch, function: str) -> None:
    told = deployment()["services"][function]
    own = {name: VALUES[name] for name in (*told["settings"], *told["secrets"]) if name in VALUES}
    for name, value in {**own, "FUNCTION_TARGET": function, "LAUNCHYARD_KEYS": json.dumps(SEEDED)}.items():
        settings.setenv(name, value)
    settings.setattr(sys, "path", list(sys.path))  # the framework adds the source's directory
    app: Flask = functions_framework.create_app(function, str(MAIN))  # type: ignore[no-untyped-call]
    http = app.test_client()

    statuses = {
        (route.method, path, key): http.open(
            path, method=route.method, json={}, headers={"Authorization": f"Bearer {key}", "Idempotency-Key": "a-key"}
        ).status_code
        for route in FUNCTIONS[function]
        for path in [re.sub(r"\{[^}]*\}", TEXT, route.path)]
        for key in (ADMIN, CLIENT, LAUNCHER)
    }
    structlog.reset_defaults()
    sys.modules.pop("main", None)

    assert {asked: status for asked, status in statuses.items() if status >= 500} == {}
    assert 200 in statuses.values()
