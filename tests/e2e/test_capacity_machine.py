"""A capacity order of the contract, fulfilled by a real machine of our own launcher, and released."""

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulators.environment import FILE
from emulators.settings import DATACENTER, BackendChoice, ProviderChoice
from launcher.machines.directory import MANIFEST
from shared.client import ControlPlane
from shared.domain.order import State
from tests.harness.processes import await_end, is_running
from tests.harness.stack import await_machine, in_state, machine, stack_of
from tests.harness.waiting import ANSWER_SECONDS

TARGETS = "/api/v1/admin/agents/capacity/targets"
RECONCILE = "/api/v1/admin/agents/capacity/reconcile"
ORDERS = "/api/v1/admin/agents/capacity/orders"


@pytest.mark.slow
@pytest.mark.vm
@pytest.mark.emulator
def test_a_target_of_one_boots_a_machine_that_its_own_report_fulfils_and_a_target_of_none_ends_it(
    guest_image: Path, tmp_path: Path
) -> None:
    with ExitStack() as cleanup:
        stack = cleanup.enter_context(stack_of(tmp_path, ProviderChoice.QEMU, BackendChoice.GOOGLE, guest_image.parent))
        url, key = operator(stack.home)
        stack = replace(stack, api=cleanup.enter_context(ControlPlane(url, key)))
        bearer = {"Authorization": f"Bearer {key}"}
        admin = cleanup.enter_context(httpx.Client(base_url=url, headers=bearer, timeout=ANSWER_SECONDS))
        set_target(admin, 1)
        (open_,) = orders(admin)
        process = await_machine(stack.state)
        running = stack.await_order(open_["order_id"], in_state(State.RUNNING))

        (fulfilled,) = orders(admin, "?status=fulfilled")
        (directory,) = stack.state.glob("vms/*")
        manifest = json.loads((directory / MANIFEST).read_text())
        assert (running.epoch, running.attempt) == (1, 1)
        assert fulfilled["vm_name"] == manifest["vm"] == running.vm
        assert (manifest["order_id"], manifest["epoch"]) == (running.id, 1)
        assert any(manifest["uuid"] in argument for argument in process.cmdline())
        assert "started on Linux" in (directory / "serial.log").read_text(errors="replace")
        assert is_running(process)

        set_target(admin, 0)
        released = stack.await_order(running.id, in_state(State.SUCCEEDED))
        await_end(process)
        stack.await_no_machine()
        assert (released.reason, machine(stack.state)) == ("released", None)
        assert orders(admin, "?status=open") == []
        (ended,) = orders(admin)
        assert (ended["status"], ended["fulfilled_at"]) == ("fulfilled", fulfilled["fulfilled_at"])


def operator(home: Path) -> tuple[str, str]:
    """Return the stack's address, and the operators' key."""
    environment = dict(line.split("=", 1) for line in (home / FILE).read_text().splitlines())
    return environment["LAUNCHYARD_URL"], environment["LAUNCHYARD_ADMIN_KEY"]


def set_target(admin: httpx.Client, count: int) -> None:
    """Set the pool's target, and reconcile at once."""
    target = {"datacenter": DATACENTER, "node_size": "tiny", "min_warm_count": count, "dispatch": True}
    assert admin.put(TARGETS, json=target).status_code == 200
    assert admin.post(RECONCILE, json={"dispatch": True}).status_code == 200


def orders(admin: httpx.Client, query: str = "") -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = admin.get(f"{ORDERS}{query}").json()["orders"]
    return listed
