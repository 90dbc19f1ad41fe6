"""The provider `gcp` against the fake Compute Engine, by the real client library."""

import errno
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from google.cloud.compute_v1 import InstancesClient
from werkzeug import Response

from emulators.serving import serving
from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.port import LaunchFailed, MachineState
from launcher.machines.records import VmManifest
from launcher.providers.gcp import compute
from launcher.providers.gcp import machine as gcp_machine
from launcher.providers.gcp.errors import Kind, NoAnswer, Refused
from launcher.providers.gcp.fleet import Fleet
from launcher.providers.gcp.insertion import InstanceRecord, read_record
from launcher.providers.gcp.machine import GcpMachine
from launcher.providers.gcp.names import NAME, instance_name, labels, of_launcher
from launcher.providers.gcp.options import GcpOptions, image_path
from launcher.providers.gcp.provider import GcpProvider
from launcher.providers.gcp.strays import Strays
from shared.domain.order import Failure, Reason
from shared.domain.spec import CapacitySpec, NodeSize, TaskSpec
from shared.guest.config import WorkerConfig
from shared.wire.launchers import Hold
from tests.compute import PROJECT, ZONE, Fake, NoGuests, a_fake
from tests.launcher.stand_ins import A_LEASE, IDENTITY, NAMESAKES

OTHER_ZONE: Final = "us-central1-b"
THIRD_ZONE: Final = "us-east1-b"
DEADLINE: Final = 120.0
QUOTA_403: Final = {"method": "insert", "status": 403, "reason": "quotaExceeded"}


@pytest.fixture
def guests() -> NoGuests:
    return NoGuests()


@pytest.fixture
def fake(guests: NoGuests) -> Iterator[Fake]:
    with a_fake(guests) as fake:
        yield fake


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have calls be repeated, but without a rest between."""
    monkeypatch.setattr(compute, "FIRST_WAIT_SECONDS", 0)
    monkeypatch.setattr(compute, "ATTEMPTS", 3)
    monkeypatch.setattr(gcp_machine, "RETRY_SECONDS", 0.01)


@pytest.fixture
def over(fake: Fake) -> Iterator[threading.Event]:
    """Until when providers look for strays."""
    over = threading.Event()
    yield over
    over.set()


@pytest.fixture
def options(fake: Fake) -> GcpOptions:
    return GcpOptions(
        project=PROJECT,
        launcher="Alpha.1",
        identity=IDENTITY,
        control_plane="https://control-plane.example",
        endpoint=fake.url,
        zones=(OTHER_ZONE, THIRD_ZONE),
        look_seconds=0.05,
    )


@pytest.fixture
def provider(options: GcpOptions) -> GcpProvider:
    return GcpProvider(options)


@pytest.fixture
def make_vm(tmp_path: Path, provider: GcpProvider) -> Callable[..., VmDirectory]:
    """Plan a machine and write its directory, as the runner does."""

    def vm(hold: Hold | None = None, size: NodeSize = NodeSize.TINY, zone: str = ZONE) -> VmDirectory:
        hold = hold or a_hold()
        config = a_config(hold, size, zone)
        plan = provider.plan(hold, str(uuid4()), config)
        manifest = VmManifest(
            **hold.model_dump(),
            vm=plan.vm or "",
            uuid=str(uuid4()),
            provider=provider.name,
            mode=plan.mode,
            image_digest=plan.image_digest,
            argv=plan.argv,
            resources=provider.resources(config.spec),
        )
        return directory.create(tmp_path, manifest, config.canonical(), A_LEASE)

    return vm


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


# --- what an instance is ----------------------------------------------------------------------------------------------


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
    names = [instance_name(prefix, Hold(order_id=order_id, epoch=epoch)) for epoch in (1, 2, 123_456)]
    assert all(NAME.fullmatch(name) for name in names)
    assert len(set(names)) == 3
    assert instance_name(prefix, Hold(order_id=order_id, epoch=1)) == names[0]


def test_orders_whose_ids_differ_in_what_a_label_cannot_hold_have_other_labels() -> None:
    spec = CapacitySpec(datacenter=f"gcp:{ZONE}", node_size=NodeSize.TINY)
    options = GcpOptions(PROJECT, "alpha", IDENTITY, "https://control-plane.example")
    ids = ("ABC", "abc", "x" * 100 + "1", "x" * 100 + "2")
    actual = {labels(options, Hold(order_id=one, epoch=1), spec)["launchyard-order"] for one in ids}
    assert len(actual) == len(ids)


def test_an_image_is_named_by_its_link_or_its_project_and_family() -> None:
    assert image_path("ours/guest") == "projects/ours/global/images/family/guest"
    assert image_path("projects/ours/global/images/guest-7") == "projects/ours/global/images/guest-7"


def test_work_that_is_no_capacity_never_goes_to_compute_engine(provider: GcpProvider) -> None:
    config = a_config(a_hold()).model_copy(update={"spec": TaskSpec(command=("true",))})
    with pytest.raises(LaunchFailed, match="task"):
        provider.plan(a_hold(), str(uuid4()), config)


# --- asking for one ---------------------------------------------------------------------------------------------------


def test_a_start_takes_one_insert_and_one_wait(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    provider.start(make_vm()).leave()
    assert fake.calls() == {"insert": 1, "operation": 1}


def test_an_insert_whose_answer_is_lost_is_repeated_and_makes_one_instance(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    fake.behave(refusals=[{"method": "insert", "times": 2}])
    provider.start(make_vm()).leave()
    assert fake.calls()["insert"] == 3
    assert len(fake.made()) == 1


def test_the_same_order_and_epoch_is_the_same_request(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    vm = make_vm()
    machine = provider.start(vm)
    machine.stop(lambda: DEADLINE)
    machine.reap()
    provider.start(vm).leave()
    assert fake.calls()["insert"] == 2
    assert len(fake.made()) == 1


def test_a_name_that_an_earlier_request_took_is_the_machine(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    monkeypatch.setattr("launcher.providers.gcp.insertion.request_id", lambda *_: str(uuid4()))
    provider.start(vm).leave()
    assert fake.calls()["insert"] == 2
    assert len(fake.made()) == 1


@pytest.mark.parametrize("code", ["ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"])
def test_where_a_zone_is_exhausted_the_next_is_tried(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, code: str
) -> None:
    fake.behave(shortages=[{"code": code, "zone": ZONE}, {"code": "QUOTA_EXCEEDED", "zone": OTHER_ZONE}])
    vm = make_vm()
    machine = provider.start(vm)
    machine.leave()
    assert machine.zones == (ZONE, OTHER_ZONE, THIRD_ZONE)
    assert zones_of(fake.made()) == [THIRD_ZONE]
    assert fake.made()[0]["labels"]["ee-dc"] == f"gcp-{ZONE}"


def test_a_zone_without_the_machine_type_is_passed_over(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    fake.behave(lacking=[ZONE, OTHER_ZONE])
    provider.start(make_vm()).leave()
    assert zones_of(fake.made()) == [THIRD_ZONE]


def test_a_configured_zone_that_there_is_not_is_passed_over_and_keeps_no_machine_from_its_end(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    fake.behave(shortages=[{"zone": ZONE}], no_zones=[OTHER_ZONE])
    machine = provider.start(make_vm())
    assert machine.zones == (ZONE, OTHER_ZONE, THIRD_ZONE)
    machine.kill()  # so that a deletion that is refused is not tried again for ever
    machine.stop(lambda: DEADLINE)
    machine.reap()
    fake.await_gone()


@pytest.mark.parametrize(
    ("zone", "behaviour", "actual"),
    [
        ("mars-1", {}, "Unknown zone"),
        ("us-mars1-a", {"no_zones": ["us-mars1-a"]}, "Unknown zone"),
        (ZONE, {"lacking": [ZONE, OTHER_ZONE, THIRD_ZONE]}, "does not exist in zone"),
        (ZONE, {"lacking": [ZONE, OTHER_ZONE], "no_zones": [THIRD_ZONE]}, "does not exist in zone"),
    ],
)
def test_what_an_order_asks_wrongly_is_its_own_failure_for_good(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, zone: str, behaviour: dict[str, Any], actual: str
) -> None:
    fake.behave(**behaviour)
    with pytest.raises(LaunchFailed, match=actual) as failed:
        provider.start(make_vm(zone=zone))
    assert failed.value.failure is Failure.PERMANENT
    assert not fake.made()


@pytest.mark.parametrize("behaviour", [{"lacking": [OTHER_ZONE, THIRD_ZONE]}, {"no_zones": [OTHER_ZONE, THIRD_ZONE]}])
def test_zones_that_only_the_launcher_names_wrongly_are_no_orders_failure(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, behaviour: dict[str, Any]
) -> None:
    fake.behave(**behaviour)
    with pytest.raises(LaunchFailed) as failed:
        provider.start(make_vm(zone="default"))
    assert failed.value.failure is Failure.RETRYABLE


def test_where_one_zone_may_have_room_later_the_order_waits(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    fake.behave(lacking=[ZONE, THIRD_ZONE], shortages=[{"zone": OTHER_ZONE}])
    with pytest.raises(LaunchFailed, match="EXHAUSTED") as failed:
        provider.start(make_vm())
    assert failed.value.failure is Failure.NO_CAPACITY


@pytest.mark.parametrize(
    ("code", "status", "message", "kind"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", 503, "The zone has none of it.", Kind.EXHAUSTED),
        ("QUOTA_EXCEEDED", 403, "Quota 'C3_CPUS' exceeded.  Limit: 8.0 in region us-central1.", Kind.EXHAUSTED),
        ("quotaExceeded", 403, "Quota 'C3_CPUS' exceeded.", Kind.EXHAUSTED),
        ("forbidden", 403, "Required 'compute.instances.create' permission", Kind.CREDENTIALS),
        ("invalid", 400, "Invalid value for field 'zone': 'mars-1'. Unknown zone.", Kind.NO_ZONE),
        ("notFound", 404, "The resource 'projects/p/zones/us-mars1-a' was not found", Kind.NO_ZONE),
        (
            *("invalid", 400),
            "Invalid value for field 'resource.machineType': 'zones/europe-west8-a/machineTypes/f1-micro'. "
            "Machine type with name 'f1-micro' does not exist in zone 'europe-west8-a'.",
            Kind.LACKING,
        ),
        ("notFound", 404, "The resource 'projects/p/zones/us-a1-a/machineTypes/c3' was not found", Kind.LACKING),
        ("invalid", 400, "Confidential instance type TDX is not supported in zone us-a1-a.", Kind.LACKING),
        ("notFound", 404, "The resource 'projects/p/global/images/family/i' was not found", Kind.IMAGE),
        (
            *("invalid", 400),
            "Invalid value for field 'resource.confidentialInstanceConfig': '{}'. Confidential Instance Config can "
            "only be set when using a TDX compatible image.",
            Kind.IMAGE,
        ),
        ("invalid", 400, "Invalid value for field 'resource.metadata.items[0].value': too large.", Kind.ORDER),
        ("invalid", 400, "Invalid value for field 'resource.networkInterfaces[0].network': 'n'.", Kind.OTHER),
        ("notFound", 404, "The resource 'projects/p/zones/us-a1-a/diskTypes/pd-quick' was not found", Kind.OTHER),
        ("notFound", 404, "The resource 'projects/p/global/networks/n' was not found", Kind.OTHER),
    ],
)
def test_a_refusals_kind_follows_from_compute_engines_words(code: str, status: int, message: str, kind: Kind) -> None:
    assert Refused(code, status, message).kind is kind


def test_an_order_that_names_no_zone_has_the_configured_ones_or_the_usual(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    provider.start(make_vm(zone="default")).leave()
    GcpProvider(replace(options, zones=())).start(make_vm(zone="default")).leave()
    assert zones_of(fake.made()) == [OTHER_ZONE, "us-central1-a"]


@pytest.mark.parametrize(
    "behaviour",
    [
        {"shortages": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED"}]},
        {"shortages": [{"code": "QUOTA_EXCEEDED"}]},
        {"refusals": [QUOTA_403]},
    ],
)
def test_where_nothing_is_left_anywhere_no_attempt_is_burnt(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, behaviour: dict[str, Any]
) -> None:
    fake.behave(**behaviour)
    with pytest.raises(LaunchFailed) as failed:
        provider.start(make_vm())
    assert failed.value.reason is Reason.NO_CAPACITY
    assert failed.value.failure is Failure.NO_CAPACITY
    assert fake.calls()["insert"] == 3  # one a zone
    assert not fake.made()


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ({"status": 403, "reason": "forbidden"}, Reason.HYPERVISOR_MISSING),
        ({"status": 401, "reason": "authError"}, Reason.HYPERVISOR_MISSING),
        (
            {"status": 404, "reason": "notFound", "message": "'projects/p/global/images/i' was not found"},
            Reason.IMAGE_MISSING,
        ),
        ({"status": 400, "reason": "invalid"}, Reason.LAUNCH_FAILED),
        ({"status": 503}, Reason.LAUNCH_FAILED),
    ],
)
def test_a_refusal_that_no_zone_would_avoid_is_reported_as_what_it_is(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, refusal: dict[str, Any], reason: Reason
) -> None:
    fake.behave(refusals=[{"method": "insert", **refusal}])
    with pytest.raises(LaunchFailed) as failed:
        provider.start(make_vm())
    assert failed.value.reason is reason
    assert failed.value.failure is Failure.RETRYABLE
    assert "token-of-a-callback" not in str(failed.value)


def test_an_insert_that_is_carried_out_and_never_answered_leaves_nothing(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "CALL_OPTIONS", {"timeout": 0.2, "retry": None})
    fake.behave(silent=["insert"])
    with pytest.raises(LaunchFailed, match="does not answer"):
        provider.start(make_vm())
    fake.behave()
    assert len(fake.made()) == 1
    fake.await_gone()


@pytest.mark.parametrize("refusal", [QUOTA_403, {"method": "insert", "status": 403, "reason": "forbidden"}])
def test_an_insert_whose_answer_is_lost_and_whose_repeat_is_refused_leaves_nothing(
    fake: Fake,
    options: GcpOptions,
    provider: GcpProvider,
    make_vm: MakeVm,
    monkeypatch: pytest.MonkeyPatch,
    refusal: dict[str, object],
) -> None:
    monkeypatch.setattr(compute, "CALL_OPTIONS", {"timeout": 0.5, "retry": None})
    vm, insert = make_vm(), InstancesClient.insert_unary

    def insert_once(*asked: Any, **how: Any) -> Any:
        fake.behave(silent=["insert"]) if not fake.made() else fake.behave(refusals=[refusal])
        return insert(*asked, **how)

    monkeypatch.setattr(InstancesClient, "insert_unary", insert_once)

    with pytest.raises(LaunchFailed):
        provider.start(vm)

    assert len(fake.made()) == 1
    fake.await_gone()


def test_an_insert_whose_operation_may_not_be_asked_for_leaves_nothing(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    fake.behave(refusals=[{"method": "operation", "status": 403, "reason": "forbidden"}])
    with pytest.raises(LaunchFailed, match="forbidden"):
        provider.start(make_vm())
    assert len(fake.made()) == 1
    fake.await_gone()


def test_what_is_no_answer_of_compute_engines_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Response("<html>Please log in.</html>", content_type="text/html")) as url:
        asked = compute.Compute(PROJECT, url)
        for ask in (lambda: asked.labelled({"a": "b"}), lambda: asked.insert(ZONE, {"name": "one"}, str(uuid4()))):
            with pytest.raises(NoAnswer, match="ParseError"):
                ask()


def test_an_instance_that_lingers_after_its_operation_failed_is_deleted(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    fake.behave(shortages=[{"zone": ZONE, "lingers": True}])
    provider.start(make_vm()).leave()
    assert zones_of(fake.made()) == [ZONE, OTHER_ZONE]
    assert zones_of(fake.instances()) == [OTHER_ZONE]


def test_if_it_is_unknown_whether_something_runs_its_directory_stays(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    fake.behave(refusals=[{"method": "insert"}, {"method": "delete"}])
    with pytest.raises(OSError, match="It is unknown") as failed:
        provider.start(make_vm())
    assert failed.value.errno == errno.EIO


# --- its end ----------------------------------------------------------------------------------------------------------


def test_a_machine_that_is_deleted_elsewhere_has_ended(
    provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    machine = provider.start(make_vm())
    assert not ends_within(machine, 0)
    GcpProvider(options).delete_strays(tuple, over)
    assert ends_within(machine, DEADLINE)
    machine.reap()


def test_a_machine_whose_guest_powers_off_has_ended_and_is_deleted(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, guests: NoGuests
) -> None:
    machine = provider.start(make_vm())
    guests.off.add(machine.name)
    assert ends_within(machine, DEADLINE)
    assert fake.instances()[0]["status"] == "TERMINATED"
    assert machine.reap() is None
    fake.await_gone()


def test_the_cost_backstop_ends_a_machine(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm())
    fake.forward(30 * 24 * 3600)
    assert ends_within(machine, DEADLINE)
    machine.reap()


def test_a_stopped_machine_is_gone(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    fake.behave(stage_seconds=0.2)
    machine = provider.start(make_vm())
    machine.stop(lambda: DEADLINE)
    assert not fake.instances()
    machine.reap()
    assert fake.calls()["delete"] == 1


def test_a_stop_without_patience_asks_for_the_end_and_does_not_wait(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    machine = provider.start(make_vm())
    fake.behave(stage_seconds=3600)
    machine.stop(lambda: 0)
    machine.reap()
    [left] = fake.instances()
    assert left["status"] == "STOPPING"
    assert fake.calls()["delete"] == 1


def test_a_stop_is_tried_until_it_is_taken(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm())
    fake.behave(refusals=[{"method": "delete", "times": 7}])
    machine.stop(lambda: 0)
    machine.reap()
    fake.await_gone()


def test_a_stop_that_is_hurried_and_not_taken_leaves_the_directory_to_the_next_daemon(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    machine = provider.start(make_vm())
    fake.behave(refusals=[{"method": "delete"}])
    machine.kill()
    with pytest.raises(OSError, match="cannot be deleted"):
        machine.stop(lambda: DEADLINE)
    machine.reap()
    assert fake.instances()


def test_a_list_that_fails_ends_no_machine(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm())
    fake.behave(refusals=[{"method": "list"}])
    await_calls(fake, "list", 3)
    assert not ends_within(machine, 0)
    machine.leave()


def test_a_zone_that_does_not_answer_ends_none_of_its_machines_and_hides_no_others_end(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, guests: NoGuests
) -> None:
    unseen, seen = provider.start(make_vm(zone=OTHER_ZONE)), provider.start(make_vm())
    fake.behave(unseen=[OTHER_ZONE])
    await_calls(fake, "get", 2)
    assert not ends_within(unseen, 0)
    fake.behave(unseen=[OTHER_ZONE], refusals=[{"method": "get"}])
    guests.off.add(seen.name)
    assert ends_within(seen, DEADLINE)
    assert not ends_within(unseen, 0)
    for machine in (unseen, seen):
        machine.leave()


def test_many_machines_are_watched_with_one_call_a_look(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    machines = [provider.start(make_vm()) for _ in range(5)]
    before = fake.calls().get("list", 0)
    await_calls(fake, "list", before + 3)
    assert "get" not in fake.calls()
    for machine in machines:
        machine.leave()


def await_calls(fake: Fake, method: str, count: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while fake.calls().get(method, 0) < count:
        assert time.monotonic() < deadline, fake.calls()
        time.sleep(0.02)


# --- after a restart --------------------------------------------------------------------------------------------------


def test_the_next_daemon_adopts_a_machine_and_ends_it(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    following = GcpProvider(options)
    assert following.state_of(vm) is MachineState.RUNS
    machine = following.adopt(vm)
    assert machine is not None
    assert machine.pid is None
    assert not ends_within(machine, 0)
    machine.stop(lambda: DEADLINE)
    machine.reap()
    fake.await_gone()
    assert len(fake.made()) == 1


def test_an_instance_of_which_only_the_intention_was_written_down_is_found_in_whichever_zone_it_is(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = make_vm()
    fake.behave(shortages=[{"zone": ZONE}])
    machine = provider.start(vm)
    machine.leave()
    assert read_record(vm) == InstanceRecord(project=PROJECT, name=machine.name, zones=(ZONE, OTHER_ZONE))
    following = GcpProvider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    adopted.stop(lambda: DEADLINE)
    adopted.reap()
    fake.await_gone()


def test_a_directory_whose_instance_was_never_asked_for_has_none(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    assert provider.state_of(make_vm()) is MachineState.NEVER_RAN
    assert fake.calls() == {}


def test_an_instance_that_is_gone_has_ended(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    vm = make_vm()
    machine = provider.start(vm)
    machine.stop(lambda: DEADLINE)
    machine.reap()
    assert provider.state_of(vm) is MachineState.ENDED


def test_an_instance_that_has_ended_and_is_still_there_is_adopted_to_be_deleted(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, guests: NoGuests
) -> None:
    vm = make_vm()
    machine = provider.start(vm)
    machine.leave()
    guests.off.add(machine.name)
    following = GcpProvider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    assert ends_within(adopted, DEADLINE)
    adopted.reap()
    fake.await_gone()


def test_an_instance_of_another_project_is_not_taken_to_have_ended(
    provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    with pytest.raises(OSError, match=PROJECT):
        GcpProvider(replace(options, project="another")).state_of(vm)


def test_where_compute_engine_does_not_answer_a_machine_is_adopted_all_the_same(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    fake.behave(refusals=[{"method": "list"}, {"method": "get"}])
    following = GcpProvider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    assert not ends_within(adopted, 0.2)
    adopted.leave()


def test_many_machines_are_traced_with_one_call(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = [make_vm() for _ in range(5)]
    for one in vm:
        provider.start(one).leave()
    before = fake.calls().get("list", 0)
    following = GcpProvider(options)
    assert {following.state_of(one) for one in vm} == {MachineState.RUNS}
    assert fake.calls()["list"] == before + 1


def test_a_host_without_credentials_is_refused(options: GcpOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(Refused, match="credentials"):
        GcpProvider(replace(options, endpoint=None))


# --- strays -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def strays(options: GcpOptions) -> Strays:
    """Those of another daemon of the same name, which looks when it is told to, and then always at a new list."""
    asked = compute.Compute(PROJECT, options.endpoint)
    return Strays(options, asked, Fleet(asked, of_launcher(options), count(0, 60).__next__))


def test_what_no_hold_explains_is_deleted_when_it_is_seen_twice_and_nothing_else(
    fake: Fake, provider: GcpProvider, strays: Strays, options: GcpOptions, make_vm: MakeVm
) -> None:
    kept, stray = make_vm(), make_vm()
    earlier = make_vm(Hold(order_id=kept.manifest.order_id, epoch=7))
    for vm in (kept, stray, earlier):
        provider.start(vm).leave()
    beta = GcpProvider(replace(options, launcher="beta"))
    namesake = GcpProvider(replace(options, control_plane="https://another.example"))
    twin = GcpProvider(replace(options, identity=NAMESAKES))
    foreign = [make_vm(), make_vm(), make_vm()]
    for other, vm in zip((beta, namesake, twin), foreign, strict=True):
        other.start(vm).leave()

    strays.look(lambda: [hold_of(kept)])
    assert len(fake.instances()) == 3 + len(foreign)
    strays.look(lambda: [hold_of(kept)])

    left = {one["name"] for one in fake.instances() if one["status"] == "RUNNING"}
    assert left == {vm.manifest.vm for vm in (kept, *foreign)}


def test_no_instance_is_deleted_whose_labels_name_another_launcher_whatever_a_list_shows(
    fake: Fake, options: GcpOptions, provider: GcpProvider, make_vm: MakeVm
) -> None:
    provider.start(make_vm()).leave()
    asked = compute.Compute(PROJECT, options.endpoint)
    another = replace(options, launcher="beta")
    strays = Strays(another, asked, Fleet(asked, of_launcher(options), count(0, 60).__next__))

    for _ in range(3):
        strays.look(tuple)

    assert len(fake.instances()) == 1


def test_one_list_that_is_looked_at_twice_is_one_look(
    fake: Fake, options: GcpOptions, provider: GcpProvider, make_vm: MakeVm
) -> None:
    provider.start(make_vm()).leave()
    asked = compute.Compute(PROJECT, options.endpoint)
    strays = Strays(options, asked, Fleet(asked, of_launcher(options), lambda: 0.0))

    for _ in range(3):
        strays.look(tuple)

    assert len(fake.instances()) == 1


def test_an_insert_that_is_carried_out_late_is_deleted_while_the_launcher_runs(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    provider.delete_strays(tuple, over)
    await_calls(fake, "list", 2)
    late = GcpProvider(options)  # whose requests come when this one has given up
    late.start(make_vm()).leave()
    fake.await_gone()


def test_an_instance_that_ended_by_itself_without_a_hold_is_deleted_with_its_disk(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, strays: Strays, guests: NoGuests
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    guests.off.add(vm.manifest.vm)
    while fake.instances()[0]["status"] != "TERMINATED":
        time.sleep(0.01)
    for _ in range(2):
        strays.look(tuple)
    fake.await_gone()


def test_a_stray_that_cannot_be_deleted_keeps_no_other_from_it_and_is_tried_again(
    fake: Fake, provider: GcpProvider, strays: Strays, make_vm: MakeVm
) -> None:
    for vm in (make_vm(), make_vm()):
        provider.start(vm).leave()
    fake.behave(refusals=[{"method": "delete", "status": 403, "reason": "forbidden", "times": 1}])
    for _ in range(2):
        strays.look(tuple)
    assert len([one for one in fake.instances() if one["status"] == "RUNNING"]) == 1
    strays.look(tuple)
    fake.await_gone()


def test_what_this_daemon_itself_started_or_adopted_is_no_stray(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    provider.delete_strays(tuple, over)
    following = GcpProvider(options)
    adopted = following.adopt(vm)
    following.delete_strays(tuple, over)
    await_calls(fake, "list", 6)
    assert len(fake.instances()) == 1
    assert adopted is not None
    adopted.leave()


def test_a_machine_whose_last_deletion_was_refused_is_a_stray(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, guests: NoGuests, over: threading.Event
) -> None:
    provider.delete_strays(tuple, over)
    machine = provider.start(make_vm())
    fake.behave(refusals=[{"method": "delete", "times": 3}])
    guests.off.add(machine.name)
    assert ends_within(machine, DEADLINE)
    machine.reap()
    fake.await_gone()


def test_the_look_for_strays_is_repeated_until_it_is_answered(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    provider.start(make_vm()).leave()
    fake.behave(refusals=[{"method": "list", "times": 7}])
    GcpProvider(options).delete_strays(tuple, over)
    fake.await_gone()
