"""`launchyard vm delete` removes exactly the operator's machines, and their agents' records."""

from uuid import uuid4

import psutil

from launcher.machines import directory
from launcher.machines.records import VmProcess
from launcher.machines.start_times import started_at
from launcher.providers.process.start import start_process
from tests.launcher.agents import a_control_plane_with_agents
from tests.launcher.stand_ins import A_LEASE, STAYS, a_manifest
from tests.launcher.vm_tool.tool import Tool, a_machine, an_operators_manifest


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


def test_an_orders_machine_never_counts_as_an_operators(tool: Tool) -> None:
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
