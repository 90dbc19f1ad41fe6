"""`launchyard vm new`, `list`, `status`: what they print, and how they fail."""

import json
from pathlib import Path

import psutil
import pytest

from launcher.host.checks.host import Case, Host
from launcher.host.checks.registry import examine, missing
from launcher.host.hypervisor import QemuMode
from launcher.machines.directory import VmDirectory
from launcher.vm_tool import console, machines
from launcher.vm_tool.console import ConsoleSilent
from tests.launcher.fake_control_plane import DEADLINE
from tests.launcher.stand_ins import STAYS
from tests.launcher.tdx_host import write
from tests.launcher.vm_tool.tool import NAME, SMALL, Tool, a_machine


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
    process.wait(DEADLINE)

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
    location = ("--cloud-provider", "baremetal", "--availability-zone", "rack-7", "--easyenclave-url", "https://h/")

    answer = tool.new(*flags, *location)

    vm = machines.find(tool.state, answer["name"])
    assert b"s3cret" not in b"".join(file.read_bytes() for file in vm.path.iterdir() if file.is_file())
    assert json.loads(vm.config.read_text()) == {
        "program": "idle",
        "vm": answer["name"],
        "control_plane": "https://h",
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


def test_a_half_made_machine_is_neither_listed_nor_removed(tool: Tool) -> None:
    partial = tool.state / "vms" / ".one-0.partial"
    partial.mkdir(parents=True)

    assert tool.succeed("list") == ""
    tool.succeed("delete", "all")

    assert partial.is_dir()


def test_an_unreadable_machine_is_reported_and_hides_no_other(tool: Tool) -> None:
    made, _ = a_machine(tool.state, STAYS)
    write(tool.state / "vms" / "another-0" / "manifest.json", "{}")

    done = tool.run("list")

    assert (done.exit_code, done.stdout) == (0, f"{made.manifest.vm}\n")
    assert "another-0" in done.stderr


def test_machines_that_cannot_be_listed_do_not_count_as_none(tool: Tool) -> None:
    tool.state.mkdir()
    unlisted = write(tool.state / "vms", "not a folder")

    for words in (("list",), ("delete", "all"), ("status", "any")):
        done = tool.run(*words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "Not a directory" in done.stderr

    unlisted.unlink()


def test_a_file_systems_own_folders_are_not_machines(tool: Tool) -> None:
    (tool.state / "vms" / "lost+found").mkdir(parents=True)

    done = tool.run("list")

    assert (done.exit_code, done.output) == (0, "")
