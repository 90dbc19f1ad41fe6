"""Orders, machines and zones for the tests of the provider `gcp`."""

import select
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from launcher.machines.directory import VmDirectory
from launcher.providers.gcp.machine import GcpMachine
from shared.domain.spec import CapacitySpec, NodeSize
from shared.guest.config import WorkerConfig
from shared.wire.launchers import Hold
from tests.compute import ZONE, Fake

OTHER_ZONE: Final = "us-central1-b"
THIRD_ZONE: Final = "us-east1-b"
DEADLINE: Final = 300.0


QUOTA_403: Final = {"method": "insert", "status": 403, "reason": "quotaExceeded"}


def a_hold(epoch: int = 1) -> Hold:
    return Hold(order_id=str(uuid4()), epoch=epoch)


def a_config(hold: Hold, size: NodeSize = NodeSize.TINY, zone: str = ZONE) -> WorkerConfig:
    return WorkerConfig(
        **hold.model_dump(),
        control_plane="https://control-plane.example",
        callback_token="token-of-a-callback",
        spec=CapacitySpec(datacenter=f"gcp:{zone}", node_size=size),
    )


def hold_of(vm: VmDirectory) -> Hold:
    return Hold(order_id=vm.manifest.order_id, epoch=vm.manifest.epoch)


def ends_within(machine: GcpMachine, seconds: float) -> bool:
    ended = select.poll()
    ended.register(machine.fileno(), select.POLLIN)
    return bool(ended.poll(seconds * 1000))


def zones_of(instances: list[dict[str, Any]]) -> list[str]:
    return [one["zone"].rpartition("/")[2] for one in instances]


MakeVm = Callable[..., VmDirectory]


def await_calls(fake: Fake, method: str, count: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while fake.calls().get(method, 0) < count:
        assert time.monotonic() < deadline, fake.calls()
        time.sleep(0.02)
