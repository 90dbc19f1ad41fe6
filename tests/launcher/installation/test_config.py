"""`launcher_config.json`: Terraform's output is read, and whatever does not belong in it is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import EnvSettingsSource

from launcher.installation.config import ConfigWrong, ExternalAccount, read
from launcher.installation.variables import CONFIGURABLE, read_from
from launcher.settings import LauncherSettings
from tests.launcher.installation.hosts import CREDENTIALS_DOCUMENT, KEY_PAIR_DOCUMENT, SETTINGS, TOKEN, a_pool
from tests.launcher.tdx_host import write

POOLS = {"rack-7": a_pool(), "rack-8": a_pool(None)}


def file_of(folder: Path, document: Any) -> Path:
    return write(folder / "launcher_config.json", json.dumps(document))


def wrong(folder: Path, pool: Any) -> str:
    with pytest.raises(ConfigWrong) as caught:
        read(file_of(folder, {"rack-7": pool}), "rack-7")
    return str(caught.value)


@pytest.mark.parametrize(
    "document",
    [POOLS, {"url": {"value": "x"}, "launcher_config": {"sensitive": False, "type": ["object", {}], "value": POOLS}}],
    ids=["the output alone", "all outputs"],
)
def test_either_form_of_terraforms_output_is_read(tmp_path: Path, document: Any) -> None:
    pool = read(file_of(tmp_path, document), "rack-7")

    assert pool.settings == SETTINGS
    assert isinstance(pool.credentials, ExternalAccount)
    assert pool.credentials.token_file == Path(TOKEN)
    assert pool.credentials.model_dump(exclude_none=True) == CREDENTIALS_DOCUMENT
    assert read(file_of(tmp_path, document), "rack-8").credentials is None


def test_an_unknown_pool_is_answered_with_the_pools_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigWrong, match="Its pools: rack-7, rack-8"):
        read(file_of(tmp_path, POOLS), "rack-9")
    with pytest.raises(ConfigWrong, match="Its pools: none: add one"):
        read(file_of(tmp_path, {}), "rack-9")


def test_a_file_that_is_missing_or_no_json_is_refused_with_the_command_that_writes_it(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", write(tmp_path / "text", "not json: secret"), write(tmp_path / "list", "[1]")):
        with pytest.raises(ConfigWrong) as caught:
            read(path, "rack-7")

        assert str(path) in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "terraform output -json launcher_config" in str(caught.value) or "list" in path.name


@pytest.mark.parametrize(
    "name",
    [
        "LAUNCHER_KEY",
        "FLY_API_TOKEN",
        "EXECUTOR_API_URL",
        "INTEL_API_KEY",
        "LAUNCHER_NAME",
        "STATE_DIR",
        "SLICE",
        "SLOT",
    ],
)
def test_a_secret_what_is_the_hosts_own_and_what_is_no_setting_is_refused_by_name(tmp_path: Path, name: str) -> None:
    found = wrong(tmp_path, {"settings": SETTINGS | {f"LAUNCHYARD_{name}": "a-secret-value"}})

    assert f"rack-7.settings: LAUNCHYARD_{name}: no such setting may come from this file" in found
    assert "a-secret-value" not in found


@pytest.mark.parametrize("name", ["LAUNCHYARD_URL", "LAUNCHYARD_DATACENTER"])
def test_a_pool_without_an_address_or_a_datacenter_is_refused(tmp_path: Path, name: str) -> None:
    settings = {key: value for key, value in SETTINGS.items() if key != name}

    assert f"rack-7.settings: {name} is missing" in wrong(tmp_path, {"settings": settings})


def test_a_value_that_no_environment_file_can_carry_is_refused_by_its_name(tmp_path: Path) -> None:
    assert "LAUNCHYARD_LABELS holds a quotation mark" in wrong(tmp_path, a_pool(LABELS="a\nLAUNCHYARD_SLOTS=500"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "authorized_user", "refresh_token": "a-secret-value"}, "rack-7.credentials"),
        ({"private_key": "a-secret-value"}, "external_account.private_key"),
        ({"client_secret": "a-secret-value"}, "external_account.client_secret"),
        ({"credential_source": {"executable": {"command": "/bin/a-secret-value"}}}, "credential_source.executable"),
        ({"credential_source": {"file": "a-secret-value"}}, "credential_source.file"),
        ({"token_url": "http://sts.a-secret-value.example"}, "external_account.token_url"),
        ({"service_account_impersonation_url": "ftp://a-secret-value"}, "service_account_impersonation_url"),
    ],
)
def test_credentials_with_a_secret_a_program_or_an_open_address_are_refused_by_field(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    found = wrong(tmp_path, a_pool({**CREDENTIALS_DOCUMENT, **changes}))

    assert field in found
    assert "a-secret-value" not in found


def test_a_private_key_in_the_configuration_is_refused_because_terraform_would_keep_it(tmp_path: Path) -> None:
    found = wrong(tmp_path, a_pool({**KEY_PAIR_DOCUMENT, "private_key": "a-secret-value"}))

    assert "service_account.private_key" in found
    assert "a-secret-value" not in found


def test_a_configuration_may_set_exactly_what_the_launcher_reads_from_its_environment() -> None:
    """Pydantic's own source says which variables it looks for. `twins` are further names of settings."""
    source = EnvSettingsSource(LauncherSettings)
    looked_for = {
        name.upper()
        for field, info in LauncherSettings.model_fields.items()
        for _, name, _ in source._extract_field_info(info, field)
    }
    own = {name for name in looked_for if name.startswith("LAUNCHYARD_")}
    twins = {f"LAUNCHYARD_{name}" for name in ("LLM_DISK_GIB", "LLM_MEMORY_GIB", "NOTIFY_SOCKET", "WATCHDOG_USEC")}
    secret = {"LAUNCHER_KEY", "INTEL_API_KEY", "FLY_API_TOKEN", "EXECUTOR_API_URL"}
    hosts = {"LAUNCHER_NAME", "ONE_SHOT", "MAX_ORDERS", "STATE_DIR", "SLICE"}

    assert own - twins - CONFIGURABLE == {f"LAUNCHYARD_{name}" for name in secret | hosts}
    assert own >= CONFIGURABLE


def test_settings_are_read_from_the_given_variables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_SLOTS", "77")
    monkeypatch.setenv("LAUNCHER_API_KEY", "ly_of_the_shell")

    settings = read_from(LauncherSettings, {**SETTINGS, "LAUNCHYARD_LAUNCHER_KEY": "ly_installed", "CP_URL": ""})

    assert settings.slots == 2
    assert settings.launcher_key.get_secret_value() == "ly_installed"
    assert settings.url == SETTINGS["LAUNCHYARD_URL"]
