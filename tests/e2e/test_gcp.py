"""`launchyard launcher run --providers gcp --one-shot`: real processes, the real client, a fake Compute Engine whose
instances run the real worker."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from emulators.environment import make_environment
from emulators.fakes.compute.server import start_compute
from emulators.ports import free_port
from emulators.processes import stop
from emulators.settings import BackendChoice, StackSettings
from shared.client import ControlPlane
from shared.domain.order import Reason, State
from shared.domain.spec import CapacitySpec, NodeSize
from tests.compute import PROJECT, ZONE, Fake
from tests.harness.forked import Forked, forked_functions
from tests.harness.stack import await_order
from tests.harness.waiting import MAX_SECONDS

ONE_SHOT: Final = "--one-shot"
ORDER: Final = CapacitySpec(datacenter=f"gcp:{ZONE}", node_size=NodeSize.TINY)


@dataclass(frozen=True)
class Deployment:
    """A control plane and a fake Compute Engine, as processes. `environment` is the launcher's."""

    api: ControlPlane
    fake: Fake
    environment: dict[str, str]
    state: Path

    @contextmanager
    def launcher(self, *flags: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a launcher with the settings of the contract's worker, and the fake's address; kill it at the end."""
        variables = {"PATH": os.defpath, **self.environment}
        with Forked("launcher", ("run", "--providers", "gcp", *flags), variables, self.state.parent) as process:
            try:
                yield process
            finally:
                process.kill()

    def run_once(self) -> tuple[int, list[str]]:
        """Run a launcher for one order; return its exit code, and the lines that it printed."""
        with self.launcher(ONE_SHOT) as launcher:
            printed, _ = launcher.communicate(timeout=MAX_SECONDS)
            return launcher.returncode, printed.splitlines()

    def order(self) -> str:
        return self.api.create_order(ORDER, idempotency_key=os.urandom(8).hex()).id

    def directories(self) -> list[str]:
        return [path.name for path in self.state.glob("vms/*")]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    logs, port = tmp_path / "logs", free_port()
    settings = StackSettings(port=port, compute_port=free_port(), backend=BackendChoice.MEMORY, home=tmp_path)
    variables = make_environment(settings)
    compute = start_compute(settings.compute_port, logs, variables)
    try:
        environment = {
            "CP_URL": variables["LAUNCHYARD_URL"],
            "LAUNCHER_API_KEY": variables["LAUNCHYARD_LAUNCHER_KEY"],
            "INTEL_API_KEY": "key-of-intels",
            "LAUNCHER_GCP_PROJECT": PROJECT,
            "LAUNCHYARD_GCP_ENDPOINT": variables["LAUNCHYARD_GCP_ENDPOINT"],
            "LAUNCHYARD_STATE_DIR": str(tmp_path / "state"),
        }
        fake = Fake(variables["LAUNCHYARD_GCP_ENDPOINT"])
        with (
            forked_functions(logs / "functions.log", variables, port=port) as url,
            ControlPlane(url, variables["LAUNCHYARD_CLIENT_KEY"]) as api,
        ):
            yield Deployment(api, fake, environment, tmp_path / "state")
    finally:
        stop(compute)


def test_one_shot_leaves_a_td_running_whose_worker_fulfils_the_order(deployment: Deployment) -> None:
    deployment.fake.behave(boot=True, stage_seconds=0.1)
    order_id = deployment.order()

    code, printed = deployment.run_once()

    assert code == 0
    [instance] = deployment.fake.instances()
    assert printed == [
        f"[launcher] claimed order={order_id} dc=gcp:{ZONE} size=tiny",
        f"[launcher] order={order_id} fulfilled vm={instance['name']}",
    ]
    order = deployment.api.get_order(order_id)
    assert (order.state, order.vm) == (State.RUNNING, instance["name"])
    assert instance["status"] == "RUNNING"
    assert instance["confidentialInstanceConfig"]["confidentialInstanceType"] == "TDX"
    assert instance["scheduling"]["onHostMaintenance"] == "TERMINATE"
    assert instance["scheduling"]["maxRunDuration"]["seconds"] == str(30 * 24 * 3600)
    assert instance["scheduling"]["instanceTerminationAction"] == "DELETE"
    labelled = {"launchyard-order": order_id, "launchyard-epoch": "1", "ee-node": "tiny", "easyenclave": "managed"}
    assert labelled.items() <= instance["labels"].items()
    assert "key-of-intels" not in str(instance)

    deployment.api.cancel_order(order_id)
    await_order(deployment.api, order_id, lambda order: order.state is State.SUCCEEDED)
    assert deployment.run_once() == (0, [])
    deployment.fake.await_gone()
    assert deployment.directories() == []


def test_a_launcher_killed_after_the_insert_and_restarted_makes_no_second_instance(deployment: Deployment) -> None:
    deployment.fake.behave(silent=["insert"], boot=True, stage_seconds=0.1)
    order_id = deployment.order()
    with deployment.launcher(ONE_SHOT) as killed:
        deployment.fake.await_made()
        killed.kill()
    deployment.fake.behave(boot=True, stage_seconds=0.1)

    code, _ = deployment.run_once()

    assert code == 0
    [made] = deployment.fake.made()
    order = deployment.api.get_order(order_id)
    assert (order.state, order.epoch, order.attempt, order.vm) == (State.RUNNING, 1, 1, made["name"])
    assert deployment.fake.calls()["insert"] == 1


def test_a_daemon_that_is_killed_leaves_its_machine_to_the_next_which_ends_it_when_its_order_does(
    deployment: Deployment,
) -> None:
    deployment.fake.behave(boot=True, stage_seconds=0.1)
    order_id = deployment.order()
    with deployment.launcher() as killed:
        await_order(deployment.api, order_id, lambda order: order.state is State.RUNNING)
        killed.kill()

    with deployment.launcher() as following:
        deployment.api.cancel_order(order_id)
        order = await_order(deployment.api, order_id, lambda order: order.state is State.SUCCEEDED)
        following.terminate()
        assert following.wait(MAX_SECONDS) == 0

    assert (order.epoch, order.reason) == (1, Reason.RELEASED)
    assert len(deployment.fake.made()) == 1
    assert deployment.fake.instances() == []
    assert deployment.directories() == []


@pytest.mark.parametrize(
    "behaviour",
    [
        {"refusals": [{"method": "insert", "status": 403, "reason": "quotaExceeded"}]},
        {"shortages": [{"code": "QUOTA_EXCEEDED"}]},
    ],
    ids=["of the request", "of the operation"],
)
def test_a_quota_error_queues_the_order_again_and_uses_no_attempt(
    deployment: Deployment, behaviour: dict[str, object]
) -> None:
    deployment.fake.behave(**behaviour)
    order_id = deployment.order()

    code, _ = deployment.run_once()

    assert code == 1
    order = deployment.api.get_order(order_id)
    assert (order.state, order.attempt, order.reason) == (State.QUEUED, 0, Reason.NO_CAPACITY)
    assert deployment.fake.made() == []
    assert deployment.directories() == []
