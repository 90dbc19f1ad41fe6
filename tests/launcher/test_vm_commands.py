"""`launchyard vm` with real QEMU processes, whose kernel halts at once; and a control plane that knows agents."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psutil
import pytest
import structlog.testing
from typer.testing import CliRunner, Result

from launcher.cli.vm import app
from launcher.host.checks.host import Case, Host
from launcher.host.checks.registry import examine, missing
from launcher.host.hypervisor import QemuMode
from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.records import VmManifest, VmProcess
from launcher.machines.resources import Size, Sizes
from launcher.providers.process.identity import started_at
from launcher.providers.process.start import start_process
from launcher.providers.qemu.provider import QemuProvider
from launcher.vm_tool import console, machines
from launcher.vm_tool.console import ConsoleSilent
from shared.guest.console import REGISTERS, UP
from tests.launcher.agents import a_control_plane_with_agents
from tests.launcher.fake_control_plane import DEADLINE
from tests.launcher.stand_ins import A_LEASE, ENDS, STAYS, a_manifest
from tests.launcher.tdx_host import QEMU as QEMU_SCRIPT
from tests.launcher.tdx_host import a_tdx_host, write
from tests.launcher.test_qemu import write_image

NAME: Final = "tdvirsh-trust_domain_verity-"
SMALL: Final = ("--size", "tiny", "--memory", "64M", "--vcpus", "1", "--disk", "2M")
VALUES: Final = {name: f"{number:02x}" * 48 for number, name in enumerate(REGISTERS)}
MEASURED: Final = f"MEASURE {' '.join(f'{name}={value}' for name, value in VALUES.items())}"


@dataclass(frozen=True)
class Tool:
    state: Path
    image: Path

    def run(self, command: str, *words: str) -> Result:
        return CliRunner().invoke(app, [command, *words, "--state-dir", str(self.state)])

    def succeed(self, command: str, *words: str) -> str:
        done = self.run(command, *words)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    def new(self, *words: str) -> dict[str, Any]:
        return dict(json.loads(self.succeed("new", "-i", str(self.image), *SMALL, *words)))

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(int(json.loads(self.succeed("status", name))["id"]))


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tool]:
    for name in ("ADMIN_TOKEN", "EASYENCLAVE_CP_URL", "EASYENCLAVE_DEFAULT_SIZE", "LAUNCHYARD_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAUNCHYARD_QEMU_MODE", "tcg")
    monkeypatch.setattr(machines, "PATIENCE_SECONDS", 0.2)  # a kernel that halts hears no power button
    write_image(tmp_path / "image")
    tool = Tool(tmp_path / "state", tmp_path / "image")
    yield tool
    tool.succeed("delete", "all")


@pytest.mark.vm
def test_new_prints_one_object_and_its_machine_outlives_the_command(tool: Tool) -> None:
    answer = tool.new()

    assert set(answer) == {"name", "uuid", "mode", "qemu_mode", "verity", "serial_log", "info"}
    assert answer["name"] == f"{NAME}{answer['uuid']}"
    assert (answer["mode"], answer["qemu_mode"], answer["verity"]) == ("agent", "tcg", True)
    assert answer["info"].splitlines()[1] == f"Name:           {answer['name']}"
    assert Path(answer["serial_log"]).is_absolute()
    assert answer["uuid"] in tool.process(answer["name"]).cmdline()


@pytest.mark.vm
def test_machines_are_listed_and_looked_at_by_name(tool: Tool) -> None:
    names = sorted(tool.new()["name"] for _ in range(2))

    assert sorted(tool.succeed("list").splitlines()) == names
    listed = json.loads(tool.succeed("list", "--json"))
    assert sorted((one["name"], one["state"]) for one in listed) == [(name, "running") for name in names]
    status = json.loads(tool.succeed("status", names[0]))
    assert status["name"] == names[0]
    assert (status["state"], status["cpu(s)"], status["max_memory"]) == ("running", "1", f"{64 << 10} KiB")


@pytest.mark.vm
def test_a_deleted_machine_is_gone_and_the_others_stay(tool: Tool) -> None:
    gone, stays = tool.new()["name"], tool.new()["name"]
    process = tool.process(gone)

    assert tool.succeed("delete", gone) == f"deleted {gone}\n"

    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert tool.succeed("list").splitlines() == [stays]
    assert tool.process(stays).is_running()


@pytest.mark.vm
def test_a_machine_that_ended_by_itself_is_shut_off_until_it_is_deleted(tool: Tool) -> None:
    name = tool.new()["name"]
    process = tool.process(name)
    process.kill()
    process.wait(120)

    assert json.loads(tool.succeed("status", name))["state"] == "shut off"
    tool.succeed("delete", name)
    assert tool.succeed("list") == ""


@pytest.mark.vm
def test_a_machine_whose_wait_fails_is_ended_and_nothing_is_printed(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(made: VmDirectory) -> str:
        processes.append(psutil.Process(made.process().pid))  # type: ignore[union-attr]  # it was just started
        raise ConsoleSilent("not a word")

    processes: list[psutil.Process] = []
    monkeypatch.setattr(console, "await_sign", silent)

    done = tool.run("new", "-i", str(tool.image), *SMALL, "--wait")

    assert (done.exit_code, done.stdout) == (1, "")
    assert "not a word" in done.stderr
    assert not processes[0].is_running() or processes[0].status() == psutil.STATUS_ZOMBIE
    assert tool.succeed("list") == ""


@pytest.mark.vm
def test_a_machines_configuration_holds_no_secret(tool: Tool) -> None:
    flags = ("--intel-api-key", "s3cret", "--bootstrap-token", "s3cret", "--bootstrap-order-id", "one")
    location = ("--cloud-provider", "baremetal", "--availability-zone", "rack-7", "--easyenclave-url", "http://h/")

    answer = tool.new(*flags, *location)

    vm = machines.find(tool.state, answer["name"])
    assert b"s3cret" not in b"".join(file.read_bytes() for file in vm.path.iterdir() if file.is_file())
    assert json.loads(vm.config.read_text()) == {
        "program": "idle",
        "vm": answer["name"],
        "control_plane": "http://h",
        "datacenter": "baremetal:rack-7",
        "node_size": "tiny",
        "bootstrap_order_id": "one",
    }


@pytest.mark.vm
def test_a_hypervisor_named_relative_to_the_working_directory_is_found_from_the_machines_own(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bin" / "qemu", '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n').chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAUNCHYARD_QEMU", "bin/qemu")

    assert tool.process(tool.new()["name"]).is_running()


@pytest.mark.vm
def test_a_machine_that_does_not_start_leaves_nothing(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_QEMU", "/bin/false")

    done = tool.run("new", "-i", str(tool.image), *SMALL)

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr
    assert list((tool.state / "vms").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (("status", "nobody"), 1, "no machine nobody"),
        (("delete", "nobody"), 1, "no machine nobody"),
        (("new",), 1, "No image is named"),
        (("new", "-i", "/no/such/image"), 1, "manifest.json cannot be read"),
        (("new", "--size", "huge"), 2, "huge"),
        (("new", "--memory", "a lot"), 2, "memory"),
        (("new", "--easyenclave-url", "nowhere"), 2, "EASYENCLAVE_CP_URL"),
        (("new", "--image", ""), 2, "LAUNCHYARD_IMAGE"),
        (("new", "--datacenter", ""), 2, "--datacenter"),
        (("delete", "nobody", "--admin-token", ""), 2, "ADMIN_TOKEN"),
        (("measure", "--no-such-flag"), 2, "no-such-flag"),
    ],
)
def test_failures_exit_1_and_wrong_words_2_with_text_on_stderr(
    tool: Tool, words: tuple[str, ...], code: int, answer: str
) -> None:
    done = tool.run(*words)

    assert (done.exit_code, done.stdout) == (code, "")
    assert answer in done.stderr


def test_a_host_without_tdx_measures_nothing_and_reports_it_in_the_doctors_words(tool: Tool) -> None:
    done = tool.run("measure", "-i", str(tool.image))

    assert (done.exit_code, done.stdout) == (1, "")
    actual = {f"{result.check.name}: {result.finding}" for result in missing(examine(Case(Host(), QemuMode.TDX)))}
    assert set(done.stderr.splitlines()) <= actual
    assert "tdx module: " in done.stderr


def a_measuring_provider(folder: Path, host: Host, console_says: str) -> QemuProvider:
    """A provider of a TDX host whose QEMU is a real one under emulation, with words on the console beforehand."""
    stays = 'exec qemu-system-x86_64 -uuid "$2" -machine q35 -accel tcg -m 16M -nodefaults -nographic'
    monitor = "-chardev socket,id=qmp,path=qmp.sock,server=on,wait=off -mon chardev=qmp,mode=control"
    script = QEMU_SCRIPT.replace(
        "*) exit", f"-uuid) echo '{console_says}' >> serial.log; {stays} {monitor};;\n  *) exit"
    )
    write(Path(host.hypervisor.binary), script)
    sizes = Sizes(work=Size(memory_mib=64, vcpus=1))
    return QemuProvider(QemuMode.TDX, folder / "image", write_image(folder / "image"), sizes, host=host)


@pytest.mark.vm
def test_a_trust_domain_prints_its_registers_and_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "PATIENCE_SECONDS", 0.2)
    with a_tdx_host(tmp_path) as host:
        provider = a_measuring_provider(tmp_path, host, MEASURED)

        answer = machines.measure(tmp_path / "state", provider, Size(memory_mib=64, vcpus=1), seconds=20)

    assert answer == VALUES
    assert list((tmp_path / "state" / "vms").iterdir()) == []


@pytest.mark.vm
def test_a_trust_domain_that_cannot_measure_itself_is_reported_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "PATIENCE_SECONDS", 0.2)
    with a_tdx_host(tmp_path) as host:
        provider = a_measuring_provider(tmp_path, host, "MEASURE failed: /sys: No such file or directory")

        with pytest.raises(ConsoleSilent, match="could not measure itself: failed: /sys"):
            machines.measure(tmp_path / "state", provider, Size(memory_mib=64, vcpus=1), seconds=20)

    assert list((tmp_path / "state" / "vms").iterdir()) == []


def an_operators_manifest(argv: tuple[str, ...] = STAYS, order_id: str | None = None) -> VmManifest:
    return a_manifest(order_id or str(uuid4()), argv).model_copy(update={"vm": f"{NAME}{uuid4()}"})


def a_machine(state: Path, argv: tuple[str, ...]) -> tuple[VmDirectory, psutil.Process]:
    made = directory.create(state, an_operators_manifest(argv), b"{}", A_LEASE)
    machine = start_process(made, made.launch_log)
    machine.leave()
    return made, psutil.Process(machine.pid)


def test_a_sign_of_life_is_looked_for_every_two_seconds(tmp_path: Path) -> None:
    made, _ = a_machine(tmp_path, STAYS)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            made.serial_log.write_text(f"SeaBIOS\r\n[worker] vm=one {UP}, 5.0 s after its boot\r\n")

    assert console.await_sign(made, pause) == "10.0.2.15"
    assert pauses == [2, 2, 2]
    machines.end(made)


def test_a_silent_machine_is_given_up_when_the_time_is_over(tmp_path: Path) -> None:
    made, _ = a_machine(tmp_path, STAYS)
    made.serial_log.write_text("Kernel panic")
    pauses: list[float] = []

    with pytest.raises(ConsoleSilent, match=r"within 120 s\. Its last output: Kernel panic"):
        console.await_sign(made, pauses.append)

    assert sum(pauses) == 120
    machines.end(made)


def test_a_machine_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    made, process = a_machine(tmp_path, ENDS)
    process.wait(120)

    with pytest.raises(ConsoleSilent, match="The machine ended"):
        console.await_sign(made, lambda seconds: pytest.fail(f"waited {seconds} s"))

    machines.end(made)


def test_a_process_that_may_not_be_the_machine_is_left_alone(tool: Tool) -> None:
    stranger = psutil.Popen((*STAYS, str(uuid4())))
    made = directory.create(tool.state, an_operators_manifest(), b"{}", A_LEASE)
    made.record_process(VmProcess(pid=stranger.pid, started=started_at(stranger.pid)))
    try:
        done = tool.run("delete", made.manifest.vm)

        assert done.exit_code == 1
        assert "end it by hand" in done.stderr
        assert stranger.is_running()
        assert made.path.exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_all_that_can_be_deleted_are_although_one_of_them_cannot(tool: Tool) -> None:
    stranger = psutil.Popen((*STAYS, str(uuid4())))
    unclear = directory.create(tool.state, an_operators_manifest(STAYS, "0"), b"{}", A_LEASE)
    unclear.record_process(VmProcess(pid=stranger.pid, started=started_at(stranger.pid)))
    made, process = a_machine(tool.state, STAYS)
    try:
        done = tool.run("delete", "all")

        assert (done.exit_code, done.stdout) == (1, f"deleted {made.manifest.vm}\n")
        assert "end it by hand" in done.stderr
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        assert stranger.is_running()
    finally:
        stranger.kill()
        stranger.wait()


def test_all_are_deleted_although_the_control_plane_refuses(tool: Tool) -> None:
    processes = [a_machine(tool.state, STAYS)[1] for _ in range(2)]
    with a_control_plane_with_agents({}, "t0ken") as plane:
        done = tool.run("delete", "all", "--easyenclave-url", plane.url, "--admin-token", "wr0ng")

    assert done.exit_code == 1
    assert done.stderr.count("The control plane answered 401 at /api/v1/agents.") == 2
    assert all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in processes)
    assert tool.succeed("list") == ""


def test_an_orders_machine_is_none_of_an_operators_whatever_the_folder(tool: Tool) -> None:
    manifest = a_manifest(argv=STAYS)
    made = directory.create(tool.state, manifest, b"{}", A_LEASE)
    machine = start_process(made, made.launch_log)
    try:
        assert tool.succeed("list") == ""
        assert tool.succeed("delete", "all") == ""
        assert tool.run("delete", manifest.vm).exit_code == 1

        assert psutil.Process(machine.pid).is_running()
        assert made.path.exists()
    finally:
        machine.destroy()


def test_a_machine_that_ends_while_it_is_looked_at_is_still_described(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(process: psutil.Process) -> None:
        raise psutil.NoSuchProcess(process.pid)

    made, _ = a_machine(tool.state, STAYS)
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "cpu_times", ended)
        answer = json.loads(tool.succeed("status", made.manifest.vm))

    assert (answer["id"], answer["cpu_time"], answer["used_memory"]) == ("-", "0.0s", "0 KiB")


def test_what_is_half_made_is_neither_listed_nor_removed(tool: Tool) -> None:
    partial = tool.state / "vms" / ".one-0.partial"
    partial.mkdir(parents=True)

    assert tool.succeed("list") == ""
    tool.succeed("delete", "all")

    assert partial.is_dir()


def test_what_cannot_be_read_hides_no_other_machine_and_is_reported(tool: Tool) -> None:
    made, _ = a_machine(tool.state, STAYS)
    write(tool.state / "vms" / "another-0" / "manifest.json", "{}")

    done = tool.run("list")

    assert (done.exit_code, done.stdout) == (0, f"{made.manifest.vm}\n")
    assert "another-0" in done.stderr


def test_machines_that_cannot_be_listed_are_not_taken_for_none(tool: Tool) -> None:
    tool.state.mkdir()
    unlisted = write(tool.state / "vms", "not a folder")

    for words in (("list",), ("delete", "all"), ("status", "any")):
        done = tool.run(*words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "Not a directory" in done.stderr

    unlisted.unlink()


def test_what_a_file_system_has_of_its_own_is_no_machine(tool: Tool) -> None:
    (tool.state / "vms" / "lost+found").mkdir(parents=True)

    done = tool.run("list")

    assert (done.exit_code, done.output) == (0, "")


def test_with_an_admins_token_the_agents_of_a_deleted_machine_are_deleted_too(tool: Tool) -> None:
    made, _ = a_machine(tool.state, STAYS)
    name = made.manifest.vm
    with a_control_plane_with_agents({"a": name, "b": "another", "c": name}, "t0ken") as plane:
        answer = tool.succeed("delete", name, "--easyenclave-url", plane.url, "--admin-token", "t0ken")

        assert plane.agents == {"b": "another"}
    assert answer.splitlines() == [f"deleted {name}", f"deleted 2 agent records of {name}"]


def test_without_a_token_no_agent_is_looked_for(tool: Tool) -> None:
    made, _ = a_machine(tool.state, STAYS)
    with a_control_plane_with_agents({"a": made.manifest.vm}, "t0ken") as plane:
        tool.succeed("delete", made.manifest.vm, "--easyenclave-url", plane.url)

        assert plane.agents == {"a": made.manifest.vm}


def test_a_control_plane_that_refuses_is_reported_after_the_machine_is_removed(tool: Tool) -> None:
    made, process = a_machine(tool.state, STAYS)
    with a_control_plane_with_agents({"a": made.manifest.vm}, "t0ken") as plane:
        flags = ("--easyenclave-url", plane.url, "--admin-token", "wr0ng")
        done = tool.run("delete", made.manifest.vm, *flags)

    assert done.exit_code == 1
    assert "The control plane answered 401 at /api/v1/agents." in done.stderr
    assert "wr0ng" not in done.stderr + done.stdout
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.vm
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_gets_a_signal_while_it_waits_leaves_no_machine(
    tool: Tool, tmp_path: Path, number: signal.Signals
) -> None:
    command = a_waiting_command(tool)
    process = psutil.Process(await_process(tool.state))

    command.send_signal(number)
    answer, actual = command.communicate(timeout=DEADLINE)

    assert command.returncode not in (0, -number), actual
    assert answer == b""
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert list((tool.state / "vms").iterdir()) == []


@pytest.mark.vm
def test_a_second_signal_does_not_cut_the_cleanup_short(tool: Tool) -> None:
    command = a_waiting_command(tool)
    process = psutil.Process(await_process(tool.state))

    process.suspend()  # so that its end takes until it is killed
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        command.send_signal(number)
    command.communicate(timeout=DEADLINE)

    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert list((tool.state / "vms").iterdir()) == []


@pytest.mark.vm
def test_a_measurement_that_is_interrupted_leaves_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(made: VmDirectory, _seconds: float) -> dict[str, str]:
        recorded = made.process()
        assert recorded is not None
        processes.append(psutil.Process(recorded.pid))
        raise SystemExit(128 + signal.SIGTERM)

    processes: list[psutil.Process] = []
    monkeypatch.setattr(machines, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(console, "await_registers", interrupted)
    with a_tdx_host(tmp_path) as host:
        provider = a_measuring_provider(tmp_path, host, "")

        with pytest.raises(SystemExit):
            machines.measure(tmp_path / "state", provider, Size(memory_mib=64, vcpus=1), seconds=20)

    assert not processes[0].is_running() or processes[0].status() == psutil.STATUS_ZOMBIE
    assert list((tmp_path / "state" / "vms").iterdir()) == []


def test_a_machine_that_cannot_be_removed_on_the_way_out_is_named(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    def unclear(_made: VmDirectory) -> None:
        raise machines.MachineUnclear("end it by hand")

    made, _ = a_machine(tool.state, STAYS)
    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(machines, "end", unclear)
        with pytest.raises(machines.MachineUnclear), machines.removed_on_failure(tool.state, made.manifest.vm):
            raise SystemExit(1)

    assert [line["vm"] for line in logs] == [made.manifest.vm]


def a_waiting_command(tool: Tool) -> "subprocess.Popen[bytes]":
    words = ("new", "-i", str(tool.image), *SMALL, "--wait", "--state-dir", str(tool.state))
    argv = (sys.executable, "-m", "cli.main", "vm", *words)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def await_process(state: Path) -> int:
    """Return the process of the one machine, once its monitor is there: what is looked at tells nobody of it."""
    deadline = time.monotonic() + DEADLINE
    while not (sockets := list(state.glob("vms/[!.]*/qmp.sock"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    recorded = directory.read(sockets[0].parent).process()
    assert recorded is not None
    return recorded.pid
