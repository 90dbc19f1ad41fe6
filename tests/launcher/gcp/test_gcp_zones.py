"""Zones and refusals: where an instance is made, and which failure a refusal means."""

from dataclasses import replace
from typing import Any

import pytest

from launcher.machines.port import LaunchFailed
from launcher.providers.gcp.errors import ComputeRefusalKind, ComputeRefused
from launcher.providers.gcp.options import GcpOptions
from launcher.providers.gcp.provider import GcpProvider
from shared.domain.order import Failure, Reason
from tests.compute import ZONE, Fake
from tests.launcher.gcp.instances import DEADLINE, OTHER_ZONE, QUOTA_403, THIRD_ZONE, MakeVm, zones_of


@pytest.mark.parametrize("code", ["ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"])
def test_if_a_zone_is_exhausted_the_next_is_tried(
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
        ("mars-1", {}, "not a zone's name"),
        ("us-mars1-a", {"no_zones": ["us-mars1-a"]}, "Unknown zone"),
        (ZONE, {"lacking": [ZONE, OTHER_ZONE, THIRD_ZONE]}, "does not exist in zone"),
        (ZONE, {"lacking": [ZONE, OTHER_ZONE], "no_zones": [THIRD_ZONE]}, "does not exist in zone"),
    ],
)
def test_an_order_with_wrong_demands_fails_permanently(
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


def test_if_one_zone_may_have_room_later_the_order_waits(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    fake.behave(lacking=[ZONE, THIRD_ZONE], shortages=[{"zone": OTHER_ZONE}])
    with pytest.raises(LaunchFailed, match="EXHAUSTED") as failed:
        provider.start(make_vm())
    assert failed.value.failure is Failure.NO_CAPACITY


@pytest.mark.parametrize(
    ("code", "status", "message", "kind"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", 503, "The zone has none of it.", ComputeRefusalKind.EXHAUSTED),
        (
            "QUOTA_EXCEEDED",
            403,
            "Quota 'C3_CPUS' exceeded.  Limit: 8.0 in region us-central1.",
            ComputeRefusalKind.USED_UP,
        ),
        ("quotaExceeded", 403, "Quota 'C3_CPUS' exceeded.", ComputeRefusalKind.USED_UP),
        (
            "forbidden",
            403,
            "Permission denied on 'locations/us-mars1-a' (or it may not exist).",
            ComputeRefusalKind.NO_ZONE,
        ),
        ("forbidden", 403, "Required 'compute.instances.create' permission", ComputeRefusalKind.CREDENTIALS),
        ("invalid", 400, "Invalid value for field 'zone': 'mars-1'. Unknown zone.", ComputeRefusalKind.NO_ZONE),
        ("notFound", 404, "The resource 'projects/p/zones/us-mars1-a' was not found", ComputeRefusalKind.NO_ZONE),
        (
            *("invalid", 400),
            "Invalid value for field 'resource.machineType': 'zones/europe-west8-a/machineTypes/f1-micro'. "
            "Machine type with name 'f1-micro' does not exist in zone 'europe-west8-a'.",
            ComputeRefusalKind.LACKING,
        ),
        (
            "notFound",
            404,
            "The resource 'projects/p/zones/us-a1-a/machineTypes/c3' was not found",
            ComputeRefusalKind.LACKING,
        ),
        (
            "invalid",
            400,
            "Confidential instance type TDX is not supported in zone us-a1-a.",
            ComputeRefusalKind.LACKING,
        ),
        ("notFound", 404, "The resource 'projects/p/global/images/family/i' was not found", ComputeRefusalKind.IMAGE),
        (
            *("invalid", 400),
            "Invalid value for field 'resource.confidentialInstanceConfig': '{}'. Confidential Instance Config can "
            "only be set when using a TDX compatible image.",
            ComputeRefusalKind.IMAGE,
        ),
        (
            "invalid",
            400,
            "Invalid value for field 'resource.metadata.items[0].value': too large.",
            ComputeRefusalKind.ORDER,
        ),
        (
            "invalid",
            400,
            "Invalid value for field 'resource.networkInterfaces[0].network': 'n'.",
            ComputeRefusalKind.OTHER,
        ),
        (
            "notFound",
            404,
            "The resource 'projects/p/zones/us-a1-a/diskTypes/pd-quick' was not found",
            ComputeRefusalKind.OTHER,
        ),
        ("notFound", 404, "The resource 'projects/p/global/networks/n' was not found", ComputeRefusalKind.OTHER),
    ],
)
def test_a_refusals_kind_follows_from_compute_engines_words(
    code: str, status: int, message: str, kind: ComputeRefusalKind
) -> None:
    assert ComputeRefused(code, status, message).kind is kind


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
def test_if_nothing_is_left_anywhere_no_attempt_is_used(
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
def test_a_refusal_that_every_zone_would_give_is_reported_at_once(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, refusal: dict[str, Any], reason: Reason
) -> None:
    fake.behave(refusals=[{"method": "insert", **refusal}])
    with pytest.raises(LaunchFailed) as failed:
        provider.start(make_vm())
    assert failed.value.reason is reason
    assert failed.value.failure is Failure.RETRYABLE
    assert "token-of-a-callback" not in str(failed.value)
