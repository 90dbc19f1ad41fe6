"""What Fly is asked for: the machine that an order becomes."""

import json
from typing import Any

import pytest

from launcher.machines.port import LaunchFailed
from launcher.machines.remote.marks import NAME
from launcher.providers.fly.options import OWN_IMAGE, FlyOptions
from launcher.providers.fly.provider import FlyProvider
from shared.client_errors import Unreachable
from shared.domain.order import Failure
from shared.domain.spec import CapacitySpec, ExportSpec, NodeSize, TaskSpec
from shared.guest.config import WorkerConfig
from shared.wire.launchers import EnvironmentAnswer, Hold
from tests.fly import FOREIGN_IMAGE, Fake
from tests.launcher.fly.machines import (
    FOREIGN_EXPORT,
    FOREIGN_TASK,
    PI,
    TASK,
    Environments,
    MakeVm,
    a_config,
    a_hold,
    no_pace,
)
from tests.launcher.stand_ins import IDENTITY


def the_body(fake: Fake) -> dict[str, Any]:
    [made] = fake.made()
    return {name: made[name] for name in ("name", "region", "config")}


def test_the_machine_of_a_foreign_export_is_as_the_contract_has_it_and_told_what_the_control_plane_says(
    fake: Fake, provider: FlyProvider, environments: Environments, make_vm: MakeVm
) -> None:
    vm = make_vm(FOREIGN_EXPORT)

    provider.start(vm).leave()

    order_id = vm.manifest.order_id
    assert the_body(fake) == {
        "name": f"launchyard-{order_id}-1",
        "region": "ord",
        "config": {
            "image": FOREIGN_IMAGE,
            "auto_destroy": True,
            "restart": {"policy": "no"},
            "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 1024},
            "env": {"TASK_ID": order_id},
            "init": {"cmd": ["--task", order_id]},
            "metadata": {
                "launchyard": "managed",
                "launchyard-launcher": "alpha-1-dae373c19ca9178fe5b67082",
                "launchyard-control-plane": "7d88f3f824b8d5209c6b5c6e",
                "launchyard-identity": IDENTITY,
                "launchyard-order": order_id,
                "launchyard-epoch": "1",
            },
        },
    }
    assert environments.asked == [vm.manifest.hold]


def test_our_own_worker_gets_its_configuration_and_nothing_else(
    fake: Fake, provider: FlyProvider, environments: Environments, make_vm: MakeVm
) -> None:
    vm = make_vm(TASK)

    provider.start(vm).leave()

    config = the_body(fake)["config"]
    assert (config["image"], config["guest"]["cpus"], config["guest"]["memory_mb"]) == (OWN_IMAGE, 1, 512)
    assert "init" not in config
    assert config["env"].keys() == {"LAUNCHYARD_WORKER_CONFIG"}
    given = WorkerConfig.model_validate_json(config["env"]["LAUNCHYARD_WORKER_CONFIG"])
    assert given == a_config(vm.manifest.hold, TASK)
    assert json.loads(vm.config.read_bytes()) == json.loads(config["env"]["LAUNCHYARD_WORKER_CONFIG"])
    assert environments.asked == []


@pytest.mark.parametrize(
    ("spec", "image", "region"),
    [
        (ExportSpec(pi=PI), OWN_IMAGE, "ord"),
        (ExportSpec(pi=PI, region="iad"), OWN_IMAGE, "iad"),
        (FOREIGN_EXPORT, FOREIGN_IMAGE, "ord"),
        (TASK, OWN_IMAGE, "ord"),
        (TaskSpec(image=FOREIGN_IMAGE, region="fra"), FOREIGN_IMAGE, "fra"),
    ],
)
def test_an_orders_own_image_and_region_win(
    options: FlyOptions, spec: ExportSpec | TaskSpec, image: str, region: str
) -> None:
    assert (options.image_of(spec), options.region_of(spec)) == (image, region)


def test_a_name_is_fit_for_any_order_and_the_same_for_the_same_epoch(provider: FlyProvider) -> None:
    hold = Hold(order_id="export_mods_1763059915123_A3f8c2d1", epoch=2)
    names = [provider.plan(hold, "a-uuid", a_config(hold)).vm for _ in range(2)]
    assert names[0] == names[1]
    assert NAME.fullmatch(str(names[0]))
    later = Hold(order_id=hold.order_id, epoch=3)
    assert provider.plan(later, "a-uuid", a_config(later)).vm != names[0]


def test_capacity_is_refused_before_anything_is_written(provider: FlyProvider) -> None:
    hold = a_hold()
    spec = CapacitySpec(datacenter="fly:ord", node_size=NodeSize.TINY)
    with pytest.raises(LaunchFailed, match="exports and tasks"):
        provider.plan(hold, "a-uuid", a_config(hold).model_copy(update={"spec": spec}))


def test_if_the_control_plane_does_not_say_what_a_worker_needs_nothing_is_created(
    fake: Fake, options: FlyOptions, make_vm: MakeVm
) -> None:
    def silent(_hold: Hold) -> EnvironmentAnswer:
        raise Unreachable("no answer")

    provider = FlyProvider(options, silent, no_pace(), lambda _: None)
    with pytest.raises(LaunchFailed, match="does not say") as failed:
        provider.start(make_vm(FOREIGN_TASK))
    assert failed.value.failure is Failure.RETRYABLE
    assert fake.made() == []
