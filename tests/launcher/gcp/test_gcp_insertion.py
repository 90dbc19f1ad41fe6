"""An insert makes one instance, or leaves none."""

import errno
from typing import Any
from uuid import uuid4

import pytest
from google.cloud.compute_v1 import InstancesClient
from werkzeug import Response

from emulators.serving import serving
from launcher.machines.port import LaunchFailed
from launcher.providers.gcp import compute
from launcher.providers.gcp.errors import ComputeUnreachable
from launcher.providers.gcp.options import GcpOptions
from launcher.providers.gcp.provider import GcpProvider
from tests.compute import PROJECT, ZONE, Fake
from tests.launcher.gcp.instances import DEADLINE, OTHER_ZONE, QUOTA_403, MakeVm, zones_of


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


def test_a_page_of_a_proxy_does_not_count_as_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Response("<html>Please log in.</html>", content_type="text/html")) as url:
        asked = compute.Compute(PROJECT, url)
        for ask in (lambda: asked.labelled({"a": "b"}), lambda: asked.insert(ZONE, {"name": "one"}, str(uuid4()))):
            with pytest.raises(ComputeUnreachable, match="ParseError"):
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
