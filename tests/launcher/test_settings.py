"""The settings: where they come from, and what a wrong one gets."""

import socket
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launcher.commands import app
from launcher.settings import ProviderName, SettingsWrong, read
from launcher.vm import host
from shared.vm_config import Sources

GOOD = {"url": "http://127.0.0.1:8080", "launcher_key": "ly_secret", "datacenter": "local:dev", "provider": "process"}


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ("URL", "LAUNCHER_KEY", "LAUNCHER_NAME", "DATACENTER", "PROVIDER", "SUBSCRIPTION", "SOURCE_API"):
        monkeypatch.delenv(f"LAUNCHYARD_{field}", raising=False)


def test_what_is_not_given_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "rack 7/alpha.example")

    settings = read(GOOD)

    assert (settings.slots, settings.heartbeat_seconds, settings.subscription) == (2, 20, None)
    assert (settings.drain_seconds, settings.machine_disk_mib) == (60, 64)
    assert (settings.memory_mib, settings.vcpus) == (host.host_memory_mib(), host.host_vcpus())
    assert settings.launcher_name == "rack-7-alpha.example"
    assert settings.sources == Sources()


def test_the_environment_sets_what_no_flag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_SOURCE_API", "http://127.0.0.1:9000")
    monkeypatch.setenv("LAUNCHYARD_PROVIDER", "qemu")
    monkeypatch.setenv("LAUNCHYARD_SUBSCRIPTION", "")

    settings = read(GOOD)

    assert settings.sources.api == "http://127.0.0.1:9000"
    assert settings.provider is ProviderName.PROCESS
    assert settings.subscription is None


def test_every_wrong_setting_is_told_at_once_and_the_launcher_exits_with_2() -> None:
    flags = ["--url", "nowhere", "--datacenter", "lo cal", "--slots", "0", "--qemu-mode", "xen", "--subscription", "s"]

    result = CliRunner().invoke(app, ["run", *flags])

    assert result.exit_code == 2
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "LAUNCHYARD_URL",
        "LAUNCHYARD_LAUNCHER_KEY",
        "LAUNCHYARD_DATACENTER",
        "LAUNCHYARD_QEMU_MODE",
        "LAUNCHYARD_SLOTS",
        "LAUNCHYARD_IMAGE",
        "LAUNCHYARD_IMAGE_DIGEST",
        "LAUNCHYARD_SUBSCRIPTION",
    ]


def test_the_key_is_in_no_message_and_no_representation() -> None:
    settings = read(GOOD)
    with pytest.raises(SettingsWrong) as wrong:
        read(GOOD | {"slots": "many"})

    assert "ly_secret" not in repr(settings)
    assert "ly_secret" not in str(wrong.value)


def test_a_mode_that_this_host_lacks_is_told_and_the_launcher_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.vm.probe.boots", lambda accelerator, binary: False)
    monkeypatch.setattr("launcher.logs.configure", lambda file: None)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back at the end
    for field, value in (GOOD | {"provider": "qemu", "image": str(tmp_path), "image_digest": "0" * 64}).items():
        monkeypatch.setenv(f"LAUNCHYARD_{field.upper()}", value)

    result = CliRunner().invoke(app, ["run", "--qemu-mode", "tdx", "--state-dir", str(tmp_path)])

    assert result.exit_code == 2
    assert "Mode tdx needs a usable KVM" in result.stderr
