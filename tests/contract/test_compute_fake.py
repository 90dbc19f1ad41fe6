"""The fake Compute Engine answers the real client library as the real one does."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, GoogleAPICallError, NotFound, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud.compute_v1 import InstancesClient, Operation, ZoneOperationsClient
from requests import RequestException

from tests.compute import PROJECT, ZONE, Fake, NoGuests, a_fake

HOUR = 3600
OTHER_ZONE = "us-central1-b"


class Client:
    """The real library's clients, with the fields that all requests of these tests share."""

    def __init__(self, url: str) -> None:
        how: dict[str, Any] = {
            "client_options": ClientOptions(api_endpoint=url),
            "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]
        }
        self.instances, self.operations = InstancesClient(**how), ZoneOperationsClient(**how)

    def insert(self, instance: dict[str, Any], zone: str = ZONE, request_id: str | None = None) -> Operation:
        request = {"project": PROJECT, "zone": zone, "instance_resource": instance}
        return self.instances.insert_unary({**request, "request_id": request_id or str(uuid4())}, retry=None)

    def wait(self, operation: Operation, zone: str = ZONE) -> Operation:
        return self.operations.wait(project=PROJECT, zone=zone, operation=operation.name)

    def status(self, name: str, zone: str = ZONE) -> str:
        return str(self.instances.get(project=PROJECT, zone=zone, instance=name).status)

    def delete(self, name: str, zone: str = ZONE) -> Operation:
        return self.instances.delete_unary(project=PROJECT, zone=zone, instance=name)

    def names(self, **request: Any) -> list[str]:
        pages = self.instances.list({"project": PROJECT, "zone": ZONE, **request}, retry=None)
        return [instance.name for instance in pages]


def an_instance(name: str = "one", zone: str = ZONE, **changes: Any) -> dict[str, Any]:
    usual = {
        "name": name,
        "machine_type": f"zones/{zone}/machineTypes/c3-standard-4",
        "labels": {"colour": "green"},
        "confidential_instance_config": {"confidential_instance_type": "TDX"},
        "scheduling": {"on_host_maintenance": "TERMINATE", "automatic_restart": False},
        "disks": [{"boot": True, "initialize_params": {"source_image": "projects/p/global/images/i"}}],
        "network_interfaces": [{"network": "global/networks/default"}],
    }
    return usual | changes


@pytest.fixture
def guests() -> NoGuests:
    return NoGuests()


@pytest.fixture
def fake(guests: NoGuests) -> Iterator[Fake]:
    with a_fake(guests) as fake:
        yield fake


@pytest.fixture
def client(fake: Fake) -> Client:
    return Client(fake.url)


def test_an_instance_goes_through_its_states_by_the_clock(fake: Fake, client: Client) -> None:
    fake.behave(stage_seconds=HOUR)
    operation = client.insert(an_instance())
    assert operation.status == Operation.Status.RUNNING
    assert client.status("one") == "PROVISIONING"
    fake.forward(HOUR)
    assert client.status("one") == "STAGING"
    fake.forward(HOUR)
    assert client.status("one") == "RUNNING"
    assert client.wait(operation).status == Operation.Status.DONE
    client.delete("one")
    assert client.status("one") == "STOPPING"
    fake.forward(HOUR)
    with pytest.raises(NotFound):
        client.status("one")


def test_an_instance_is_returned_as_it_was_requested(client: Client) -> None:
    client.insert(an_instance(metadata={"items": [{"key": "launchyard-config", "value": "{}"}]}))
    instance = client.instances.get(project=PROJECT, zone=ZONE, instance="one")
    assert instance.confidential_instance_config.confidential_instance_type == "TDX"
    assert instance.scheduling.on_host_maintenance == "TERMINATE"
    assert dict(instance.labels) == {"colour": "green"}
    assert instance.metadata.items[0].value == "{}"


def test_a_repeated_request_is_the_same_operation_and_makes_no_second_instance(fake: Fake, client: Client) -> None:
    request_id = str(uuid4())
    first = client.insert(an_instance(), request_id=request_id)
    client.delete("one")
    again = client.insert(an_instance(), request_id=request_id)
    assert again.name == first.name
    assert len(fake.made()) == 1
    assert not fake.instances()


def test_a_name_that_is_taken_is_a_conflict_in_its_zone_only(fake: Fake, client: Client) -> None:
    client.insert(an_instance())
    with pytest.raises(Conflict):
        client.insert(an_instance())
    client.insert(an_instance(zone=OTHER_ZONE), zone=OTHER_ZONE)
    assert len(fake.instances()) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduling": {"on_host_maintenance": "MIGRATE"}}, "onHostMaintenance"),
        ({"machine_type": f"zones/{ZONE}/machineTypes/n2-standard-4"}, "n2-standard-4"),
        ({"machine_type": f"zones/{OTHER_ZONE}/machineTypes/c3-standard-4"}, "machineType"),
        ({"name": "One"}, "resource.name"),
        ({"name": "o" * 64}, "resource.name"),
        ({"labels": {"colour": "Green"}}, "labels"),
        ({"disks": []}, "boot disk"),
        ({"network_interfaces": []}, "networkInterfaces"),
        (
            {"scheduling": {"on_host_maintenance": "TERMINATE", "max_run_duration": {"seconds": 60}}},
            "instanceTerminationAction",
        ),
    ],
)
def test_an_instance_that_compute_engine_would_refuse_is_refused(
    fake: Fake, client: Client, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        client.insert(an_instance(**changes))
    assert not fake.made()


def test_a_request_id_is_a_uuid_other_than_zero(client: Client) -> None:
    for wrong in ("one", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(BadRequest, match="requestId"):
            client.insert(an_instance(), request_id=wrong)


def test_a_list_has_pages_and_a_filter_of_labels(client: Client) -> None:
    for number in range(5):
        client.insert(an_instance(f"green-{number}"))
    client.insert(an_instance("red", labels={"colour": "red"}))
    client.insert(an_instance("elsewhere", OTHER_ZONE), zone=OTHER_ZONE)
    assert client.names(filter="labels.colour=green", max_results=2) == [f"green-{number}" for number in range(5)]
    assert client.names(filter="(labels.colour=red) AND (labels.size=large)") == []
    everywhere = client.instances.aggregated_list({"project": PROJECT, "filter": "labels.colour=green"})
    found = {scope: len(scoped.instances) for scope, scoped in everywhere}
    assert found == {f"zones/{ZONE}": 5, f"zones/{OTHER_ZONE}": 1}


def test_an_exhausted_zone_takes_the_request_and_fails_the_operation(fake: Fake, client: Client) -> None:
    fake.behave(shortages=[{"code": "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "zone": ZONE}])
    failed = client.wait(client.insert(an_instance()))
    assert [error.code for error in failed.error.errors] == ["ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"]
    elsewhere = client.wait(client.insert(an_instance(zone=OTHER_ZONE), zone=OTHER_ZONE), OTHER_ZONE)
    assert not elsewhere.error.errors
    assert [one["zone"].rpartition("/")[2] for one in fake.instances()] == [OTHER_ZONE]


def test_a_quota_is_an_error_of_the_operation_or_of_the_request(fake: Fake, client: Client) -> None:
    fake.behave(shortages=[{"code": "QUOTA_EXCEEDED"}])
    failed = client.wait(client.insert(an_instance()))
    assert failed.error.errors[0].code == "QUOTA_EXCEEDED"
    assert failed.http_error_status_code == 403
    fake.behave(refusals=[{"method": "insert", "status": 403, "reason": "quotaExceeded"}])
    with pytest.raises(Forbidden) as refused:
        client.insert(an_instance())
    assert refused.value.errors[0]["reason"] == "quotaExceeded"


def test_a_method_is_refused_as_often_as_it_is_to_be(fake: Fake, client: Client) -> None:
    fake.behave(refusals=[{"method": "insert", "times": 2}])
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            client.insert(an_instance())
    client.insert(an_instance())
    assert fake.calls()["insert"] == 3


def test_an_answer_may_be_slower_than_a_client_waits(fake: Fake, client: Client) -> None:
    fake.behave(latency_seconds=1)
    with pytest.raises(RequestException):
        client.instances.get({"project": PROJECT, "zone": ZONE, "instance": "one"}, retry=None, timeout=0.05)


def test_a_zone_may_be_left_out_of_lists(fake: Fake, client: Client) -> None:
    client.insert(an_instance())
    fake.behave(unseen=[ZONE])
    assert client.names() == []
    assert client.status("one") == "RUNNING"


def test_an_instance_may_linger_although_its_operation_failed(fake: Fake, client: Client) -> None:
    fake.behave(shortages=[{"lingers": True}])
    assert client.wait(client.insert(an_instance())).error.errors
    assert client.status("one") == "RUNNING"


def test_an_instance_is_deleted_when_it_has_run_as_long_as_it_may(fake: Fake, client: Client) -> None:
    limits = {"max_run_duration": {"seconds": HOUR}, "instance_termination_action": "DELETE"}
    client.insert(an_instance(scheduling=an_instance()["scheduling"] | limits))
    fake.forward(HOUR / 2)  # and the time that the test itself takes
    assert client.status("one") == "RUNNING"
    fake.forward(HOUR / 2)
    assert not fake.instances()


def test_an_instance_whose_guest_powers_off_stays_terminated(fake: Fake, client: Client, guests: NoGuests) -> None:
    client.insert(an_instance())
    guests.off.add("one")
    assert client.status("one") == "TERMINATED"
    client.delete("one")
    fake.await_gone()


def test_a_missing_object_is_not_found(client: Client) -> None:
    for call in (client.status, client.delete):
        with pytest.raises(NotFound):
            call("one")
    with pytest.raises(GoogleAPICallError):
        client.insert(an_instance(zone="nowhere"), zone="nowhere")
