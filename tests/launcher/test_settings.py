"""The settings: their sources, and how wrong ones are reported."""

import re
import socket
import threading
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

import shared.settings
from launcher.cli.daemon import app
from launcher.cli.doctor import DoctorSettings
from launcher.composition.launcher import admission_of
from launcher.host import facts as host
from launcher.machines.resources import Resources, Size
from launcher.orders.lanes import Lane
from launcher.orders.mode import Mode
from launcher.providers.qemu.settings import HostSettings
from launcher.settings import Cloud, LauncherSettings, ProviderName, read
from launcher.vm_tool.settings import ToolSettings
from shared.guest.config import Executor, Sources
from shared.settings import SettingsWrong

GOOD = {"url": "http://127.0.0.1:8080", "launcher_key": "ly_secret", "datacenter": "local:dev", "provider": "process"}

VALUES: Final = {
    "url": ("https://one", "https://two", "https://three"),
    "datacenter": ("baremetal:one", "baremetal:two", "baremetal:three"),
    "node_size": ("tiny", "standard", "llm"),
    "providers": ("baremetal,gcp", "gcp", "baremetal"),
    "poll_seconds": ("10", "20", "30"),
    "max_orders": ("1", "2", "3"),
    "llm_vcpus": ("1", "2", "3"),
}
"""Three of each, but for those that are any words."""
OPTION: Final = re.compile(r"(--[a-z-]+(?:,--[a-z-]+)*) <(?:str|bool)>(.*?)(?=--[a-z-]+(?:,--[a-z-]+)* <|$)")
"""One option's names, and values of it."""
FLAGS: Final = {
    "--url": ("LAUNCHYARD_URL", "CP_URL"),
    "--cp-url": ("LAUNCHYARD_URL", "CP_URL"),
    "--launcher-api-key": ("LAUNCHYARD_LAUNCHER_KEY", "LAUNCHER_API_KEY"),
    "--intel-api-key": ("LAUNCHYARD_INTEL_API_KEY", "INTEL_API_KEY", "ITA_API_KEY"),
    "--providers": ("LAUNCHYARD_PROVIDERS", "LAUNCHER_PROVIDERS"),
    "--datacenter": ("LAUNCHYARD_DATACENTER", "LAUNCHER_DATACENTER"),
    "--node-size": ("LAUNCHYARD_NODE_SIZE", "LAUNCHER_NODE_SIZE"),
    "--poll-seconds": ("LAUNCHYARD_POLL_SECONDS", "LAUNCHER_POLL_SECONDS"),
    "--one-shot": (),
    "--max-orders": ("LAUNCHYARD_MAX_ORDERS", "LAUNCHER_MAX_ORDERS"),
    "--name-prefix": ("LAUNCHYARD_NAME_PREFIX", "LAUNCHER_NAME_PREFIX"),
    "--gcp-project": ("LAUNCHYARD_GCP_PROJECT", "LAUNCHER_GCP_PROJECT"),
    "--gcp-zones": ("LAUNCHYARD_GCP_ZONES", "LAUNCHER_GCP_ZONES"),
    "--gcp-image": ("LAUNCHYARD_GCP_IMAGE", "LAUNCHER_GCP_IMAGE"),
    "--gcp-machine-type-default": ("LAUNCHYARD_GCP_MACHINE_TYPE_DEFAULT", "LAUNCHER_GCP_MACHINE_TYPE_DEFAULT"),
    "--gcp-machine-type-tiny": ("LAUNCHYARD_GCP_MACHINE_TYPE_TINY", "LAUNCHER_GCP_MACHINE_TYPE_TINY"),
    "--gcp-machine-type-standard": ("LAUNCHYARD_GCP_MACHINE_TYPE_STANDARD", "LAUNCHER_GCP_MACHINE_TYPE_STANDARD"),
    "--gcp-machine-type-llm": ("LAUNCHYARD_GCP_MACHINE_TYPE_LLM", "LAUNCHER_GCP_MACHINE_TYPE_LLM"),
}


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ("URL", "LAUNCHER_KEY", "LAUNCHER_NAME", "DATACENTER", "PROVIDER", "SUBSCRIPTION", "SOURCE_API"):
        monkeypatch.delenv(f"LAUNCHYARD_{field}", raising=False)


def test_settings_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "rack 7/alpha.example")

    settings = read(GOOD)

    assert (settings.slots, settings.heartbeat_seconds, settings.subscription) == (2, 20, None)
    assert (settings.drain_seconds, settings.machine_disk_mib) == (60, 64)
    assert (settings.memory_mib, settings.vcpus) == (host.host_memory_mib(), host.host_vcpus())
    assert settings.launcher_name == "rack-7-alpha.example"
    assert settings.sources == Sources()


def test_the_environment_sets_fields_without_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_SOURCE_API", "http://127.0.0.1:9000")
    monkeypatch.setenv("LAUNCHYARD_PROVIDER", "qemu")
    monkeypatch.setenv("LAUNCHYARD_SUBSCRIPTION", "")

    settings = read(GOOD)

    assert settings.sources.api == "http://127.0.0.1:9000"
    assert settings.provider is ProviderName.PROCESS
    assert settings.subscription is None


@pytest.mark.parametrize(
    ("ours", "twin", "field"),
    [
        ("URL", "CP_URL", "url"),
        ("LAUNCHER_KEY", "LAUNCHER_API_KEY", "launcher_key"),
        ("INTEL_API_KEY", "INTEL_API_KEY", "intel_api_key"),
        ("INTEL_API_KEY", "ITA_API_KEY", "intel_api_key"),
        ("DATACENTER", "LAUNCHER_DATACENTER", "datacenter"),
        ("NODE_SIZE", "LAUNCHER_NODE_SIZE", "node_size"),
        ("PROVIDERS", "LAUNCHER_PROVIDERS", "providers"),
        ("POLL_SECONDS", "LAUNCHER_POLL_SECONDS", "poll_seconds"),
        ("MAX_ORDERS", "LAUNCHER_MAX_ORDERS", "max_orders"),
        ("NAME_PREFIX", "LAUNCHER_NAME_PREFIX", "name_prefix"),
        ("GCP_PROJECT", "LAUNCHER_GCP_PROJECT", "gcp_project"),
        ("LLM_VCPUS", "EASYENCLAVE_LLM_VCPUS", "llm_vcpus"),
    ],
)
def test_a_setting_may_be_given_by_the_contracts_name_and_ours_wins_and_a_flag_wins_over_both(
    monkeypatch: pytest.MonkeyPatch, ours: str, twin: str, field: str
) -> None:
    first, second, third = VALUES.get(field, ("one", "two", "three"))
    others = {name: value for name, value in (GOOD | {"gcp_project": "p"}).items() if name not in (field, "datacenter")}

    monkeypatch.setenv(twin, first)
    assert shown(read(others), field) == first
    monkeypatch.setenv(f"LAUNCHYARD_{ours}", second)
    assert shown(read(others), field) == second
    assert shown(read(others | {field: third}), field) == third


def test_the_contracts_defaults_are_ours() -> None:
    settings = read(GOOD | {"datacenter": ""})

    assert settings.providers == (Cloud.BAREMETAL,)
    assert (settings.datacenter, settings.node_size, settings.mode) == (None, None, Mode.DAEMON)
    assert settings.name_prefix == "easyenclave-agent"
    assert settings.gcp_machine_type_default == "c3-standard-4"
    assert settings.sizes.tiny == Size(memory_mib=4096, vcpus=4)
    assert settings.sizes.standard == Size(memory_mib=16384, vcpus=16)
    assert settings.sizes.llm == Size(memory_mib=131072, vcpus=16, disk_mib=81920)


def test_node_sizes_are_settings_in_mib_and_those_of_llm_have_twins_in_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASYENCLAVE_LLM_MEM_GIB", "64")
    monkeypatch.setenv("EASYENCLAVE_LLM_DISK_GIB", "0")
    monkeypatch.setenv("LAUNCHYARD_TINY_MEMORY_MIB", "256")
    monkeypatch.setenv("LAUNCHYARD_LLM_GPUS", "0000:17:00.0, 0000:65:00.0")

    sizes = read(GOOD).sizes

    assert sizes.tiny == Size(memory_mib=256, vcpus=4)
    assert sizes.llm == Size(memory_mib=65536, vcpus=16, disk_mib=0, gpus=2)
    monkeypatch.setenv("LAUNCHYARD_LLM_MEMORY_MIB", "1000")
    assert read(GOOD).sizes.llm.memory_mib == 1000


def test_zones_are_a_list_with_commas_in_the_launchers_own_settings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_GCP_ZONES", "us-central1-b, us-east1-b")

    assert read(GOOD).gcp_zones == ("us-central1-b", "us-east1-b")
    assert read(GOOD | {"gcp_zones": "us-central1-c"}).gcp_zones == ("us-central1-c",)


def test_an_empty_machine_type_is_the_default_as_a_flag_too() -> None:
    assert read(GOOD | {"gcp_machine_type_tiny": ""}).gcp_machine_type_tiny is None


@pytest.mark.parametrize(
    ("flags", "actual"),
    [
        ({"providers": "gcp"}, "LAUNCHYARD_PROVIDERS"),
        ({"providers": "azure"}, "LAUNCHYARD_PROVIDERS"),
        ({"datacenter": "google:us-central1-a"}, "LAUNCHYARD_DATACENTER"),
        ({"providers": "gcp", "gcp_project": "p", "datacenter": "baremetal:rack-7"}, "LAUNCHYARD_DATACENTER"),
        ({"node_size": "huge"}, "LAUNCHYARD_NODE_SIZE"),
        ({"poll_seconds": "1"}, "LAUNCHYARD_POLL_SECONDS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contradictory_settings_are_refused(flags: dict[str, str], actual: str) -> None:
    with pytest.raises(SettingsWrong, match=actual):
        read(GOOD | flags)


def test_a_cloud_alone_needs_no_guest_image(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(GOOD | {"provider": "qemu", "providers": "gcp", "gcp_project": "p", "datacenter": "google"})

    assert settings.datacenter == "gcp:default"
    assert settings.image is None


def test_every_flag_is_shown_with_its_twins_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    shown = CliRunner().invoke(app, ["run", "--help"]).output

    words = " ".join(shown.replace("│", " ").split())
    texts = {name: text for names, text in OPTION.findall(words) for name in names.split(",")}
    assert {name: set(twins) - set(re.findall(r"[A-Z_]{6,}", texts[name])) for name, twins in FLAGS.items()} == {
        name: set() for name in FLAGS
    }
    assert "0 done, 1 an error, 2 wrong settings or usage, 130 interrupted" in words


def shown(settings: LauncherSettings, field: str) -> str:
    """Return a setting as it would be written."""
    value = getattr(settings, field)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, tuple) else str(value).removesuffix(".0")


def test_every_wrong_setting_is_reported_at_once_and_the_launcher_exits_with_2() -> None:
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


def test_a_launcher_takes_no_session_without_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_PROJECT_DIRS", "/srv/work")

    assert read(GOOD).executor_config is None
    assert read(GOOD | {"executor": " "}).executor_config is None


def test_an_executor_is_a_command_line_and_the_settings_of_sessions_reach_their_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAUNCHYARD_EXECUTOR", "env 'HOME=/home/an agent' /opt/executor --model x")
    monkeypatch.setenv("LAUNCHYARD_EXECUTOR_API_URL", "https://control-plane.example/k/a-key")
    monkeypatch.setenv("LAUNCHYARD_PROJECT_DIR", "/srv/default")
    monkeypatch.setenv("LAUNCHYARD_PROJECT_DIRS", "/srv/work, /srv/other,")
    monkeypatch.setenv("LAUNCHYARD_LABELS", "gpu, executor=claude-code")
    monkeypatch.setenv("LAUNCHYARD_MAX_SESSIONS", "4")

    settings = read(GOOD)

    assert settings.executor_config == Executor(
        command=("env", "HOME=/home/an agent", "/opt/executor", "--model", "x"),
        project_dir="/srv/default",
        project_dirs=("/srv/work", "/srv/other"),
        api_url="https://control-plane.example/k/a-key",
    )
    assert (settings.labels, settings.max_sessions) == (("gpu", "executor=claude-code"), 4)
    assert "a-key" not in repr(settings)


@pytest.mark.parametrize(("limit", "sessions"), [({}, 3), ({"max_sessions": "2"}, 2)])
def test_a_launcher_takes_as_many_sessions_as_it_has_slots_unless_they_are_limited(
    tmp_path: Path, limit: dict[str, str], sessions: int
) -> None:
    admission = admission_of(read(GOOD | {"slots": "3", "state_dir": str(tmp_path)} | limit))

    assert admission.room(Lane("any/session", "process", Resources(machines=1, sessions=1))) == sessions
    assert admission.room(Lane("any/task", "process", Resources(machines=1))) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("executor", "sh -c 'no end"),
        ("labels", "Upper"),
        ("labels", ",".join(f"label-{number}" for number in range(9))),
        ("max_sessions", "0"),
    ],
)
def test_a_wrong_setting_of_sessions_is_refused(field: str, value: str) -> None:
    with pytest.raises(SettingsWrong, match=f"LAUNCHYARD_{field.upper()}"):
        read(GOOD | {field: value})


@pytest.mark.parametrize("kind", [LauncherSettings, DoctorSettings, ToolSettings])
def test_a_relative_path_is_relative_to_where_the_command_was_started_whichever_setting_it_is(
    kind: type[HostSettings],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {name for name, field in kind.model_fields.items() if "Path" in str(field.annotation)} | {"qemu"}
    paths |= {"executor"} & kind.model_fields.keys()
    given = {name: f"bin/{name}" for name in paths}

    read = shared.settings.read(kind, ({**GOOD, "image_digest": "0" * 64} if kind is LauncherSettings else {}) | given)

    def first(value: object) -> object:
        return value[0] if isinstance(value, tuple) else value

    assert {name: str(first(getattr(read, name))) for name in paths} == {
        name: f"{tmp_path}/bin/{name}" for name in paths
    }
    assert paths >= {"image", "tdx_firmware", "quote_socket"}


def test_a_hypervisor_named_without_a_folder_is_looked_for_on_the_path() -> None:
    assert read({**GOOD, "qemu": "qemu-system-x86_64"}).qemu == "qemu-system-x86_64"


def test_a_mode_that_this_host_lacks_is_reported_and_the_launcher_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.host.probe.boots", lambda accelerator, hypervisor: False)
    monkeypatch.setattr("launcher.daemon.logs.configure", lambda file: None)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back at the end
    for field, value in (GOOD | {"provider": "qemu", "image": str(tmp_path), "image_digest": "0" * 64}).items():
        monkeypatch.setenv(f"LAUNCHYARD_{field.upper()}", value)

    result = CliRunner().invoke(app, ["run", "--qemu-mode", "tdx", "--state-dir", str(tmp_path)])

    assert result.exit_code == 2
    assert "Mode tdx needs a usable KVM" in result.stderr
