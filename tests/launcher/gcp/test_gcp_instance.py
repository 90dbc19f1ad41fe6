"""The instance that an order becomes: its resource, name and labels."""

from dataclasses import replace
from uuid import uuid4

import pytest

from launcher.machines.port import LaunchFailed
from launcher.machines.remote.marks import NAME, machine_name
from launcher.providers.gcp.errors import ComputeRefused
from launcher.providers.gcp.names import labels
from launcher.providers.gcp.options import GcpOptions, image_path
from launcher.providers.gcp.provider import GcpProvider
from shared.domain.spec import CapacitySpec, NodeSize, TaskSpec
from shared.wire.launchers import Hold
from tests.compute import PROJECT, ZONE, Fake
from tests.launcher.gcp.instances import MakeVm, a_config, a_hold
from tests.launcher.stand_ins import IDENTITY


def test_an_instance_is_a_td_with_a_longest_run_time(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    [made] = fake.made()
    assert made["name"] == vm.manifest.vm == f"easyenclave-agent-{vm.manifest.order_id}-1"
    assert made["machineType"] == f"zones/{ZONE}/machineTypes/c3-standard-4"
    assert made["confidentialInstanceConfig"] == {"confidentialInstanceType": "TDX"}
    assert made["scheduling"] == {
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
        "maxRunDuration": {"seconds": str(30 * 24 * 3600)},
        "instanceTerminationAction": "DELETE",
    }
    assert made["networkInterfaces"][0]["nicType"] == "GVNIC"
    assert made["disks"][0]["autoDelete"] is True
    assert made.get("serviceAccounts", []) == []


def test_an_instance_carries_labels_of_ours_and_of_the_contract(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    vm = make_vm(size=NodeSize.STANDARD)
    provider.start(vm).leave()
    actual = fake.made()[0]["labels"]
    order_id = vm.manifest.order_id
    assert actual.pop("launchyard-launcher").startswith("alpha-1-")
    assert actual.pop("launchyard-control-plane")
    assert actual == {
        "launchyard": "managed",
        "launchyard-identity": IDENTITY,
        "launchyard-order": order_id,
        "launchyard-epoch": "1",
        "easyenclave": "managed",
        "ee-run": order_id[:30],
        "ee-cloud": "gcp",
        "ee-node": "standard",
        "ee-dc": "gcp-us-central1-a",
    }


def test_its_worker_finds_its_configuration_in_the_metadata(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    [item] = fake.made()[0]["metadata"]["items"]
    assert item["key"] == "launchyard-config"
    assert item["value"].encode() == vm.config.read_bytes()


def test_a_size_may_have_a_machine_type_of_its_own(fake: Fake, options: GcpOptions, make_vm: MakeVm) -> None:
    own = GcpProvider(replace(options, machine_types={NodeSize.LLM: "a3-highgpu-1g"}, max_run_seconds=3600))
    own.start(make_vm(size=NodeSize.LLM)).leave()
    own.start(make_vm(size=NodeSize.TINY)).leave()
    llm, tiny = fake.made()
    assert llm["machineType"].endswith("/a3-highgpu-1g")
    assert tiny["machineType"].endswith("/c3-standard-4")
    assert llm["scheduling"]["maxRunDuration"] == {"seconds": "3600"}


@pytest.mark.parametrize("prefix", ["easyenclave-agent", "A_Prefix.Of-ours", "9", "p" * 80])
@pytest.mark.parametrize("order_id", [str(uuid4()), "An_order-" + "x" * 100, "a"])
def test_a_name_is_one_that_compute_engine_takes_and_another_epoch_has_another(prefix: str, order_id: str) -> None:
    names = [machine_name(prefix, Hold(order_id=order_id, epoch=epoch)) for epoch in (1, 2, 123_456)]
    assert all(NAME.fullmatch(name) for name in names)
    assert len(set(names)) == 3
    assert machine_name(prefix, Hold(order_id=order_id, epoch=1)) == names[0]


def test_orders_whose_ids_differ_only_in_invalid_characters_have_different_labels() -> None:
    spec = CapacitySpec(datacenter=f"gcp:{ZONE}", node_size=NodeSize.TINY)
    options = GcpOptions(PROJECT, "alpha", IDENTITY, "https://control-plane.example")
    ids = ("ABC", "abc", "x" * 100 + "1", "x" * 100 + "2")
    actual = {labels(options, Hold(order_id=one, epoch=1), spec)["launchyard-order"] for one in ids}
    assert len(actual) == len(ids)


def test_an_image_is_named_by_its_link_or_its_project_and_family() -> None:
    assert image_path("ours/guest") == "projects/ours/global/images/family/guest"
    assert image_path("projects/ours/global/images/guest-7") == "projects/ours/global/images/guest-7"


def test_only_capacity_orders_go_to_compute_engine(provider: GcpProvider) -> None:
    config = a_config(a_hold()).model_copy(update={"spec": TaskSpec(command=("true",))})
    with pytest.raises(LaunchFailed, match="task"):
        provider.plan(a_hold(), str(uuid4()), config)


def test_a_host_without_credentials_is_refused(options: GcpOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(ComputeRefused, match="credentials"):
        GcpProvider(replace(options, endpoint=None))
