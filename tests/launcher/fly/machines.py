"""Orders and machines for the tests of the provider `fly`."""

import select
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final
from uuid import uuid4

from pydantic import SecretStr

from launcher.machines.directory import VmDirectory
from launcher.machines.remote.marks import Owner
from launcher.providers.fly.machine import FlyMachine
from launcher.providers.fly.options import FlyOptions
from launcher.providers.fly.pacing import Pacers
from launcher.providers.fly.provider import FlyProvider
from shared.client_errors import ControlPlaneError
from shared.domain.spec import ExportSpec, TaskSpec
from shared.guest.config import WorkerConfig
from shared.wire.launchers import EnvironmentAnswer, Hold
from tests.fly import APP, FOREIGN_IMAGE, TOKEN, Fake
from tests.launcher.stand_ins import IDENTITY

DEADLINE: Final = 300.0
PI: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
EXPORT: Final = ExportSpec(pi=PI)
FOREIGN_EXPORT: Final = ExportSpec(pi=PI, image=FOREIGN_IMAGE)
TASK: Final = TaskSpec(command=("echo", "hello"))
FOREIGN_TASK: Final = TaskSpec(image=FOREIGN_IMAGE)
OWNER: Final = Owner("Alpha.1", IDENTITY, "https://control-plane.example")

MakeVm = Callable[..., VmDirectory]


@dataclass
class Environments:
    """What the control plane answers about foreign images."""

    asked: list[Hold] = field(default_factory=list)
    error: ControlPlaneError | None = None

    def __call__(self, hold: Hold) -> EnvironmentAnswer:
        self.asked.append(hold)
        if self.error is not None:
            raise self.error
        return EnvironmentAnswer(variables={"TASK_ID": hold.order_id}, arguments=("--task", hold.order_id))


def no_pace() -> Pacers:
    """Return pacers that let every request pass at once."""
    return Pacers(count(0, 3600).__next__, lambda _: None)


def an_options(fake: Fake, **changes: object) -> FlyOptions:
    usual = {"app": APP, "token": SecretStr(TOKEN), "owner": OWNER, "endpoint": fake.url, "check_seconds": 0.05}
    return FlyOptions(**(usual | changes))  # type: ignore[arg-type]


def a_provider(
    options: FlyOptions, environments: Environments | None = None, sleep: Callable[[float], None] = lambda _: None
) -> FlyProvider:
    return FlyProvider(options, environments or Environments(), no_pace(), sleep)


def a_hold(epoch: int = 1) -> Hold:
    return Hold(order_id=str(uuid4()), epoch=epoch)


def a_config(hold: Hold, spec: ExportSpec | TaskSpec = EXPORT) -> WorkerConfig:
    return WorkerConfig(
        **hold.model_dump(),
        control_plane="https://control-plane.example",
        callback_token=SecretStr("token-of-a-callback"),
        spec=spec,
    )


def ends_within(machine: FlyMachine, seconds: float) -> bool:
    return readable_within(machine.fileno(), seconds)


def readable_within(descriptor: int | None, seconds: float) -> bool:
    assert descriptor is not None
    events = select.poll()
    events.register(descriptor, select.POLLIN)
    return bool(events.poll(seconds * 1000))
