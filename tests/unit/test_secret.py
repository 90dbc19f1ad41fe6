"""Secrets in settings are cleaned, or refused by their variable's name, and never shown."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Final

import pytest
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import cli
import emulators
import functions
import launcher
from cli.settings import CliSettings
from emulators.settings import LocalFlySettings, S3BackendSettings, S3Settings, SchedulerSettings, TrustSettings
from functions.settings import (
    BucketSettings,
    CallbackSettings,
    LoginSettings,
    OperatorSecretSettings,
    TrustAuthoritySettings,
)
from launcher.orders.session_settings import SessionSettings
from launcher.providers.fly.settings import FlySettings
from launcher.settings import LauncherSettings
from launcher.vm_tool.settings import ToolSettings
from shared.domain.spec import TaskSpec
from shared.guest.config import WorkerConfig
from shared.settings import SettingsWrong, read

CANARY: Final = "ly_canary-of-at-least-32-characters"
SECRET: Final = re.compile(r"(^|_)(key|secret|token|password)$")
OTHERS: Final = {
    "LAUNCHYARD_URL": "http://127.0.0.1:9",
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://bucket",
}
"""What else must be set."""
SECRETS: Final = (
    (CliSettings, "client_key", "LAUNCHYARD_CLIENT_KEY"),
    (LauncherSettings, "launcher_key", "LAUNCHYARD_LAUNCHER_KEY"),
    (LauncherSettings, "intel_api_key", "LAUNCHYARD_INTEL_API_KEY"),
    (LauncherSettings, "fly_api_token", "LAUNCHYARD_FLY_API_TOKEN"),
    (LauncherSettings, "executor_api_url", "LAUNCHYARD_EXECUTOR_API_URL"),
    (SessionSettings, "executor_api_url", "LAUNCHYARD_EXECUTOR_API_URL"),
    (FlySettings, "fly_api_token", "LAUNCHYARD_FLY_API_TOKEN"),
    (LocalFlySettings, "fly_api_token", "LAUNCHYARD_FLY_API_TOKEN"),
    (ToolSettings, "admin_token", "ADMIN_TOKEN"),
    (SchedulerSettings, "admin_key", "LAUNCHYARD_ADMIN_KEY"),
    (S3Settings, "secret", "LAUNCHYARD_S3_SECRET"),
    (S3BackendSettings, "word", "LAUNCHYARD_S3_BACKEND_WORD"),
    (TrustSettings, "ita_api_key", "LAUNCHYARD_ITA_API_KEY"),
    (CallbackSettings, "callback_secret", "LAUNCHYARD_CALLBACK_SECRET"),
    (CallbackSettings, "callback_secret_previous", "LAUNCHYARD_CALLBACK_SECRET_PREVIOUS"),
    (LoginSettings, "admin_password", "LAUNCHYARD_ADMIN_PASSWORD"),
    (BucketSettings, "s3_secret_access_key", "LAUNCHYARD_S3_SECRET_ACCESS_KEY"),
    (TrustAuthoritySettings, "ita_api_key", "LAUNCHYARD_ITA_API_KEY"),
    (OperatorSecretSettings, "anthropic_api_key", "ANTHROPIC_API_KEY"),
)
AROUND: Final = ("\n", "\r\n", " ", "\t", "\N{NO-BREAK SPACE}", "\v\f")
WITHIN: Final = ("\n", "\r", "\x1b", "\x7f", "é", "“", "\N{ZERO WIDTH SPACE}", "\udcff")


def modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name.endswith("settings"):
            yield importlib.import_module(found.name)


def fields() -> Iterator[tuple[type[BaseSettings], str, FieldInfo]]:
    for part in (cli, emulators, functions, launcher):
        for module in modules(part):
            for kind in vars(module).values():
                if isinstance(kind, type) and issubclass(kind, BaseSettings):
                    yield from ((kind, name, field) for name, field in kind.model_fields.items())


def test_every_secret_of_every_settings_module_is_of_the_one_type() -> None:
    listed = {(kind, name) for kind, name, _ in SECRETS}
    found = {
        (kind, name) for kind, name, field in fields() if SECRET.search(name) or "SecretStr" in str(field.annotation)
    }

    assert {(kind, name) for kind, name in found if kind.__module__.endswith("settings")} == listed
    for kind, name in found:
        field = kind.model_fields[name]
        assert "_sendable" in repr((field.annotation, field.metadata)), (kind, name)


@pytest.fixture(autouse=True)
def _others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)
    for name in ("LAUNCHYARD_S3_SECRET_ACCESS_KEY", "LAUNCHYARD_S3_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)


def errors_of(kind: type[BaseSettings]) -> list[str]:
    """Return the errors in the environment's settings."""
    try:
        read(kind)
    except SettingsWrong as wrong:
        return str(wrong).splitlines()
    return []


@pytest.mark.parametrize(("kind", "field", "variable"), SECRETS, ids=lambda value: getattr(value, "__name__", value))
def test_blanks_around_a_secret_are_removed(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseSettings], field: str, variable: str
) -> None:
    secret = f"https://{CANARY}.example" if field.endswith("_url") else CANARY
    for around in AROUND:
        monkeypatch.setenv(variable, f"{around}{secret}{around}")
        assert [line for line in errors_of(kind) if line.startswith(f"{variable}: it")] == []


@pytest.mark.parametrize(("kind", "field", "variable"), SECRETS, ids=lambda value: getattr(value, "__name__", value))
def test_a_secret_that_no_header_carries_is_refused_by_its_variables_name(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseSettings], field: str, variable: str
) -> None:
    for within in WITHIN:
        monkeypatch.setenv(variable, f"{CANARY}{within}{CANARY}")
        assert any(line.startswith(f"{variable}: ") for line in errors_of(kind)), within
        assert CANARY not in "".join(errors_of(kind))


def test_a_secret_is_read_as_it_is_meant_and_shown_by_nothing() -> None:
    settings = read(CliSettings, {"client_key": f"{CANARY}\r\n"})

    assert settings.client_key is not None
    assert settings.client_key.get_secret_value() == CANARY
    assert CANARY not in f"{settings!r} {settings}"


def test_a_machines_configuration_carries_its_token_and_nothing_that_prints_it_shows_it() -> None:
    config = WorkerConfig(
        order_id="one", epoch=1, control_plane="http://h", callback_token=CANARY, spec=TaskSpec(command=("true",))
    )

    assert CANARY not in f"{config!r} {config} {config.model_dump()}"
    assert WorkerConfig.model_validate_json(config.canonical()) == config
    assert b"authorities" not in config.canonical()
    with pytest.raises(ValueError, match="epoch") as wrong:
        WorkerConfig.model_validate_json(config.canonical().replace(b'"epoch":1', b'"epoch":"x"'))
    assert CANARY not in str(wrong.value)
