"""The files for operators: the systemd units, their example environment, and the page."""

import re
import signal
from pathlib import Path
from typing import Final

import pytest
from pydantic_settings import BaseSettings

from deploy.settings import DeploySettings
from functions.apis import APIS, EVERYTHING
from functions.apis.v1.settings import SweepSettings
from functions.wiring.makers import plan_for
from launcher.daemon.daemon import LAST_SECONDS, LEAVE_SECONDS
from launcher.installation.config import NEEDED
from launcher.providers.qemu.settings import PREFIX, HostSettings
from launcher.settings import LauncherSettings
from launcher.vm_tool.settings import ToolSettings
from shared.exit_codes import SIGNALLED
from shared.log_events import LogEvent
from worker.guest.settings import ImageSettings

ROOT: Final = Path(__file__).parents[2]
UNITS: Final = ROOT / "launcher" / "installation" / "systemd"
SERVICE: Final = UNITS / "launchyard-launcher.service"
SLICE: Final = UNITS / "launchyard-vms.slice"
PAGE: Final = ROOT / "docs" / "operators.md"
EXAMPLE: Final = UNITS / "launchyard.env"
NAME: Final = re.compile(rf"\b{PREFIX}[A-Z_]+\b")
CALL: Final = re.compile(r"\blog\.(?:info|warning|error|exception|critical)\(\s*([^,]+)")
ROW: Final = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
KINDS: Final[tuple[type[BaseSettings], ...]] = (LauncherSettings, ToolSettings, ImageSettings)
OTHERS: Final[tuple[type[BaseSettings], ...]] = (*plan_for(APIS, EVERYTHING).settings, SweepSettings, DeploySettings)
NAMES: Final = {f"{PREFIX}{field.upper()}" for kind in KINDS for field in kind.model_fields} | {
    str(field.validation_alias) for kind in OTHERS for field in kind.model_fields.values()
}


def directives(unit: Path, section: str) -> list[tuple[str, str]]:
    """Return a section's lines: a name may come more than once (systemd.syntax(7))."""
    text = unit.read_text().split(f"[{section}]\n")[1].split("\n[")[0]
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(line.split("=", 1)[0], line.split("=", 1)[1]) for line in lines]


def example() -> dict[str, str]:
    """Return what the example sets, and what it would set."""
    lines = (line.removeprefix("#") for line in EXAMPLE.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line.startswith(PREFIX))


def test_the_page_explains_each_setting_that_an_installation_begins_with() -> None:
    begun = {line.partition("=")[0] for line in EXAMPLE.read_text().splitlines() if line.startswith(PREFIX)}
    explained = PAGE.read_text()

    assert [name for name in begun - {*NEEDED} if f"`{name}" not in explained] == []


def test_the_example_is_a_launchers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in example().items():
        monkeypatch.setenv(name, value)

    settings = LauncherSettings()

    assert settings.hypervisor.quote_socket == HostSettings().hypervisor.quote_socket
    assert settings.llm_gpus == ("0000:17:00.0",)


@pytest.mark.parametrize("file", [SERVICE, EXAMPLE, PAGE])
def test_every_setting_that_is_named_is_one(file: Path) -> None:
    assert set(NAME.findall(file.read_text())) <= NAMES


def test_every_setting_of_the_host_is_on_the_page() -> None:
    hosts = {name for name in NAMES if name.removeprefix(PREFIX).lower() in HostSettings.model_fields}

    named = set(NAME.findall(PAGE.read_text()))

    assert {name for name in hosts if not name.endswith("_GIB")} <= named


def test_the_service_outlives_its_drain_and_leaves_its_machines_to_the_slice() -> None:
    service = dict(directives(SERVICE, "Service"))

    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    drain = LauncherSettings.model_fields["drain_seconds"].default
    assert int(service["TimeoutStopSec"]) > drain + LEAVE_SECONDS + LAST_SECONDS
    assert f"LAUNCHYARD_SLICE={SLICE.name}" in service["Environment"].split()
    assert SLICE.name in dict(directives(SERVICE, "Unit"))["Wants"].split()


def test_a_service_that_is_stopped_while_it_starts_has_not_failed() -> None:
    assert dict(directives(SERVICE, "Service"))["SuccessExitStatus"] == str(SIGNALLED + signal.SIGTERM)


def test_only_the_machine_may_use_the_descriptors_that_it_gets() -> None:
    allowed = {
        unit: {value.split()[0] for name, value in directives(unit, section) if name == "DeviceAllow"}
        for unit, section in ((SERVICE, "Service"), (SLICE, "Slice"))
    }

    assert allowed[SERVICE] == {"/dev/kvm"}
    assert allowed[SLICE] >= {"/dev/kvm", "/dev/iommu", "char-vfio", "char-vfio-dev", "/dev/vhost-vsock"}


def test_every_line_of_the_launchers_log_has_an_event_that_the_page_explains() -> None:
    code = [file.read_text() for file in (ROOT / "launcher").rglob("*.py")]
    calls = [call for text in code for call in CALL.findall(text)]
    table = PAGE.read_text().split("Of the launcher:")[1].split("\n## ")[0]

    assert calls
    assert [call for call in calls if not call.startswith("LogEvent.")] == []
    assert {LogEvent[call.removeprefix("LogEvent.")].value for call in calls} == set(ROW.findall(table))
