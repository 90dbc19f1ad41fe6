"""Addresses in settings: what carries keys, quotes or outputs over a network is encrypted."""

from typing import Annotated, Any, Final

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic_settings import BaseSettings

from cli.settings import CliSettings
from emulators.settings import SchedulerSettings
from functions.apis import APIS, EVERYTHING
from functions.wiring.makers import plan_for
from launcher.orders.session_settings import SessionSettings
from launcher.settings import LauncherSettings
from launcher.vm_tool.settings import ToolSettings
from worker.local.settings import TaskSettings

KINDS: Final[tuple[type[BaseSettings], ...]] = (
    CliSettings,
    LauncherSettings,
    SchedulerSettings,
    SessionSettings,
    TaskSettings,
    ToolSettings,
    *plan_for(APIS, EVERYTHING).settings,
)
ADDRESSES: Final = {
    "callback_url",
    "easyenclave_url",
    "executor_api_url",
    "fly_endpoint",
    "gcp_endpoint",
    "ita_api",
    "ita_certs",
    "s3_endpoint",
    "source_api",
    "source_ipfs",
    "source_web",
    "url",
}
"""The settings that name a server."""
SIGNS: Final = ("url", "endpoint", "address", "host")
PLAIN: Final = (
    "http://control-plane.example",
    "http://10.0.0.7:8080",
    "http://169.254.169.254",
    "http://127.0.0.1.example",
    "http://localhost.example",
    "http://[fd00::1]:8080",
    "http://0.0.0.0:8080",
    "HTTP://control-plane.example",
)
FIELDS: Final = [(kind, name) for kind in KINDS for name in kind.model_fields if name in ADDRESSES]


def validate(kind: type[BaseSettings], name: str, value: str) -> None:
    """Validate the value as one field of these settings, without the others. Raises ValidationError."""
    field = kind.model_fields[name]
    parts: Any = (field.annotation, *field.metadata, None)
    annotated: Any = Annotated[parts]
    TypeAdapter[Any](annotated).validate_python(value)


@pytest.mark.parametrize("address", PLAIN)
@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_an_address_beyond_this_machine_is_encrypted(kind: type[BaseSettings], name: str, address: str) -> None:
    with pytest.raises(ValidationError) as refused:
        validate(kind, name, address)

    assert "https://" in refused.value.errors()[0]["msg"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080", "http://localhost:8080", "https://control-plane.example"])
@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_this_machines_own_addresses_and_encrypted_ones_are_taken(
    kind: type[BaseSettings], name: str, address: str
) -> None:
    validate(kind, name, address)


def test_every_setting_that_names_a_server_is_known() -> None:
    found = {name for kind in KINDS for name in kind.model_fields}

    assert {name for name in found if any(sign in name for sign in SIGNS)} <= ADDRESSES
    assert found >= ADDRESSES
