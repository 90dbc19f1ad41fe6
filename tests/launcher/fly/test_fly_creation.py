"""A creation makes one machine, or leaves none."""

import errno

import pytest
from pydantic import SecretStr
from werkzeug import Response

from emulators.serving import serving
from launcher.machines.port import LaunchFailed
from launcher.providers.fly import machines_api
from launcher.providers.fly.creation import read_record
from launcher.providers.fly.errors import FlyUnreachable
from launcher.providers.fly.machines_api import MachinesApi
from launcher.providers.fly.options import FlyGuest, FlyOptions
from launcher.providers.fly.provider import FlyProvider
from shared.domain.order import Failure, Reason
from shared.domain.spec import OrderKind
from tests.fly import APP, Fake
from tests.launcher.fly.machines import (
    FOREIGN_EXPORT,
    TASK,
    MakeVm,
    a_provider,
    an_options,
    no_pace,
)


@pytest.fixture(autouse=True)
def short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines_api, "CREATE_SECONDS", 0.5)


def test_a_start_takes_one_request(fake: Fake, provider: FlyProvider, make_vm: MakeVm) -> None:
    provider.start(make_vm(TASK)).leave()
    assert fake.calls() == {"create": 1}


def test_a_create_whose_answer_is_lost_is_looked_up_and_makes_one_machine(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm
) -> None:
    fake.behave(silent=["create"])
    vm = make_vm(TASK)
    provider.start(vm).leave()
    [made] = fake.made()
    written = read_record(vm)
    assert written is not None
    assert (written.id, written.name) == (made["id"], made["name"])
    assert fake.calls()["create"] == 1
    fake.behave()


@pytest.mark.parametrize("status", [409, 422])
def test_a_name_that_an_earlier_request_took_is_the_machine(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm, status: int
) -> None:
    fake.behave(name_taken=status)
    vm = make_vm(TASK)
    provider.start(vm).leave()
    provider.start(vm).leave()
    assert fake.calls()["create"] == 2
    assert len(fake.made()) == 1


def test_a_create_is_tried_three_times_with_growing_waits(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm, waits: list[float]
) -> None:
    fake.behave(refusals=[{"method": "create", "status": 503}])
    with pytest.raises(LaunchFailed, match="did not make the machine") as failed:
        provider.start(make_vm(TASK))
    assert (failed.value.reason, failed.value.failure) == (Reason.LAUNCH_FAILED, Failure.RETRYABLE)
    assert fake.calls()["create"] == 3
    assert waits == [2, 5]


def test_a_machine_that_was_made_and_is_seen_only_after_the_last_try_is_destroyed(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm
) -> None:
    fake.behave(silent=["create"], refusals=[{"method": "list", "times": 9}])  # each look-up is tried three times
    with pytest.raises(LaunchFailed, match="did not make the machine"):
        provider.start(make_vm(TASK))
    fake.behave()
    assert len(fake.made()) == 1
    fake.await_gone()


def test_if_it_is_unknown_whether_something_runs_its_directory_stays(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm
) -> None:
    fake.behave(refusals=[{"method": "create"}, {"method": "list"}])
    with pytest.raises(OSError, match="It is unknown") as failed:
        provider.start(make_vm(TASK))
    assert failed.value.errno == errno.EIO


def test_a_refusal_after_an_unanswered_try_leaves_nothing(fake: Fake, options: FlyOptions, make_vm: MakeVm) -> None:
    def fill_up(_seconds: float) -> None:
        fake.behave(full=["ord"], refusals=[{"method": "create", "status": 422, "message": "insufficient memory"}])

    fake.behave(silent=["create"], refusals=[{"method": "list", "times": 3}])
    with pytest.raises(LaunchFailed, match="insufficient"):
        a_provider(options, sleep=fill_up).start(make_vm(TASK))
    assert len(fake.made()) == 1
    fake.await_gone()


def test_too_many_requests_reach_nobody(fake: Fake, provider: FlyProvider, make_vm: MakeVm) -> None:
    fake.behave(refusals=[{"method": "create", "status": 429, "times": 4}])
    provider.start(make_vm(TASK)).leave()
    assert len(fake.made()) == 1


OWN = (Reason.LAUNCH_FAILED, Failure.PERMANENT)
UNABLE = (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE)
NO_ROOM = (Reason.NO_CAPACITY, Failure.NO_CAPACITY)
OTHER = (Reason.LAUNCH_FAILED, Failure.RETRYABLE)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "failed to get manifest registry.fly.io/nobodys:latest: request failed: not found [http 404]", OWN),
        (422, "invalid_argument: unable to resolve image", OWN),
        (400, "failed to get manifest registry.fly.io/insufficient:1: request failed: not found [http 404]", OWN),
        (404, "Could not find image registry.fly.io/some-app:1", OWN),
        (403, "not authorized to pull the image registry.fly.io/nobodys:1", OWN),
        (400, "invalid_argument: region zzz not found", OWN),
        (422, "invalid_argument: config.env is too large", OWN),
        (400, "invalid_argument: config.guest: unknown cpu kind", OTHER),
        (401, "unauthorized", UNABLE),
        (403, "forbidden", UNABLE),
        (404, "app not found", UNABLE),
        (404, "Could not find App", UNABLE),
        (422, "insufficient resources available in region ord", NO_ROOM),
        (412, "aborted: could not reserve resource for machine: insufficient memory available", NO_ROOM),
        (409, "aborted: could not reserve resource for machine", NO_ROOM),
        (503, "insufficient resources available to fulfill request", NO_ROOM),
        (422, "Your organization has reached its machine limit", NO_ROOM),
        (429, "rate limit exceeded", NO_ROOM),
        (418, "teapot", OTHER),
    ],
)
def test_a_refusal_is_the_orders_or_the_providers(
    fake: Fake,
    provider: FlyProvider,
    make_vm: MakeVm,
    status: int,
    message: str,
    expected: tuple[Reason, Failure],
) -> None:
    fake.behave(refusals=[{"method": "create", "status": status, "message": message}])
    with pytest.raises(LaunchFailed, match="Fly refused the machine") as failed:
        provider.start(make_vm(FOREIGN_EXPORT.model_copy(update={"region": "iad"})))
    assert (failed.value.reason, failed.value.failure) == expected


def test_a_bad_image_region_or_size_of_the_settings_is_not_the_orders_failure(fake: Fake, make_vm: MakeVm) -> None:
    for changes, reason in (
        ({"own_images": ("nobodys",)}, Reason.IMAGE_MISSING),
        ({"region": "zzz"}, Reason.LAUNCH_FAILED),
        ({"sizes": dict.fromkeys(OrderKind, FlyGuest("shared", 1, 4096))}, Reason.LAUNCH_FAILED),
    ):
        with pytest.raises(LaunchFailed, match="Fly refused the machine") as failed:
            a_provider(an_options(fake, **changes)).start(make_vm(TASK))
        assert (failed.value.reason, failed.value.failure) == (reason, Failure.RETRYABLE)


def test_a_page_of_a_proxy_does_not_count_as_an_answer() -> None:
    with serving(Response("<html>Please log in.</html>", content_type="text/html")) as url:
        api = MachinesApi(url, APP, SecretStr("token"), no_pace())
        for ask in (lambda: api.marked({}), lambda: api.get("one"), lambda: api.create({})):
            with pytest.raises(FlyUnreachable, match="the answer is not"):
                ask()


def test_an_error_shows_no_token(fake: Fake, make_vm: MakeVm) -> None:
    options = an_options(fake, token=SecretStr("a-wrong-secret"))
    with pytest.raises(LaunchFailed) as failed:
        a_provider(options).start(make_vm(TASK))
    assert "a-wrong-secret" not in str(failed.value) + repr(options)
