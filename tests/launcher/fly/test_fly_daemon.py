"""A launcher, as a process, that makes machines on this host and on Fly."""

import signal

from shared.domain.spec import ExportSpec
from tests.factories import TASK
from tests.fly import APP, FOREIGN_IMAGE, TOKEN, Fake
from tests.launcher.daemons import Start
from tests.launcher.fake_control_plane import CLAIMS, DEADLINE, FakeControlPlane
from tests.launcher.fly.machines import PI

OF_FLY = ("any/export/image", "any/task/image")


def lanes_asked_for(server: FakeControlPlane) -> set[tuple[str, ...]]:
    return {tuple(body["lanes"]) for body in server.bodies(CLAIMS)}


def test_orders_for_fly_are_claimed_by_a_loop_of_their_own_which_no_other_order_holds_up(
    server: FakeControlPlane, start: Start, fake: Fake
) -> None:
    daemon = start(
        server.url,
        PROVIDERS="baremetal,fly",
        FLY_APP=APP,
        FLY_API_TOKEN=TOKEN,
        FLY_ENDPOINT=fake.url,
        FLY_OWN_IMAGES=FOREIGN_IMAGE,
        DRAIN_SECONDS="0",
    )
    order_id = server.offer(ExportSpec(pi=PI, image=FOREIGN_IMAGE))
    here = server.offer(TASK)

    [made] = fake.await_made()
    assert made["name"] == f"launchyard-{order_id}-1"
    server.wait_for(lambda: bool(server.statuses(here)))
    server.wait_for(lambda: OF_FLY in lanes_asked_for(server))
    assert not any(set(lanes) & set(OF_FLY) for lanes in lanes_asked_for(server) if lanes != OF_FLY)

    assert {body["wait_seconds"] for body in server.bodies(CLAIMS)} == {
        0
    }  # a claim that waits would hold the last room

    daemon.send_signal(signal.SIGTERM)
    daemon.communicate(timeout=DEADLINE)
    assert daemon.returncode == 0
    assert [one["name"] for one in fake.machines()] == [made["name"]]  # it runs on for the next daemon
