"""Launchers of one name: only the one whose identity holds an order changes it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from emulators.serving import serving
from launcher.orders import leftovers
from shared.client import ControlPlane
from shared.client_errors import Refused
from shared.domain.order import State
from shared.log_events import LogEvent
from shared.wire.launchers import IDENTITY_HEADER, ClaimById, ClaimNext, HeartbeatRequest, Hold, Returned
from tests.functions.world import ANY_LANES, LAUNCHER, World
from tests.harness.waiting import MAX_SECONDS, await_value

ROOT: Final = Path(__file__).parents[2]
NAME_SHARED: Final = f'"event": "{LogEvent.NAME_SHARED}"'
FIRST, SECOND = "0c1f8c0e-0000-4000-8000-000000000001", "0c1f8c0e-0000-4000-8000-000000000002"
STAYS: Final = """
import argparse, json, pathlib, time, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("--config", type=pathlib.Path, required=True)
config = json.loads(parser.parse_args().config.read_bytes())
body = json.dumps({"event": "started", "epoch": config["epoch"]}).encode()
headers = {"Content-Type": "application/json", "Authorization": "Bearer " + config["callback_token"]}
address = config["control_plane"] + "/v1/callbacks/" + config["order_id"]
urllib.request.urlopen(urllib.request.Request(address, body, headers))
time.sleep(600)
"""
"""A worker that reports that it is up, and stays."""

As = Callable[[str | None], ControlPlane]


@pytest.fixture
def launcher(world: World) -> Iterator[As]:
    """Return the client of the launcher `alpha` with this identity; None: a launcher of an earlier version."""
    with ExitStack() as clients:
        transport = httpx.WSGITransport(app=world.http.application)
        yield lambda identity: clients.enter_context(ControlPlane("http://test", LAUNCHER, transport, identity))


def claimed(world: World, client: ControlPlane) -> Hold:
    order_id = world.place()["id"]
    request = ClaimById(request_id=str(uuid4()), launcher="alpha", order_id=order_id, lanes=tuple(ANY_LANES))
    assert client.claim(request).claimed is not None
    return Hold(order_id=order_id, epoch=1)


def renews(client: ControlPlane, hold: Hold) -> bool:
    answer = client.heartbeat(HeartbeatRequest(launcher="alpha", holds=(hold,)))
    assert [stop.why for stop in answer.stop] == ([] if answer.renewed else ["lease_lost"])
    return bool(answer.renewed)


def gives_up(client: ControlPlane, hold: Hold) -> None:
    client.update(hold.order_id, Returned(request_id=str(uuid4()), launcher="alpha", epoch=1, message="gone"))


def holds(client: ControlPlane, namesakes: bool = False) -> list[str]:
    return [view.order_id for view in client.holds("alpha", namesakes).holds]


def test_a_namesake_neither_holds_renews_nor_gives_up_what_another_holds(world: World, launcher: As) -> None:
    hold = claimed(world, launcher(FIRST))

    assert holds(launcher(SECOND)) == []
    assert holds(launcher(SECOND), namesakes=True) == [hold.order_id]
    assert not renews(launcher(SECOND), hold)
    with pytest.raises(Refused) as refused:
        gives_up(launcher(SECOND), hold)
    assert refused.value.code == "lease_lost"
    assert holds(launcher(FIRST)) == [hold.order_id]
    assert renews(launcher(FIRST), hold)


def test_an_order_that_an_earlier_version_claimed_is_renewed_after_the_upgrade(world: World, launcher: As) -> None:
    hold = claimed(world, launcher(None))

    assert holds(launcher(FIRST)) == []  # nobody can tell whose it is: it is not given up
    assert renews(launcher(FIRST), hold)
    assert holds(launcher(FIRST)) == [hold.order_id]
    assert not renews(launcher(SECOND), hold)


def test_a_launcher_that_goes_back_to_an_earlier_version_keeps_its_orders(world: World, launcher: As) -> None:
    hold = claimed(world, launcher(FIRST))

    assert holds(launcher(None)) == [hold.order_id]
    assert renews(launcher(None), hold)
    assert renews(launcher(FIRST), hold)


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize(("first", "again"), [(None, FIRST), (FIRST, None)])
def test_a_claim_that_is_repeated_at_an_instance_of_another_version_gets_the_same_order(
    world: World, launcher: As, first: str | None, again: str | None, by_id: bool
) -> None:
    """An instance of an earlier version sees no identity."""
    order_id, _ = world.place()["id"], world.place()
    asked: dict[str, Any] = {"request_id": str(uuid4()), "launcher": "alpha", "lanes": tuple(ANY_LANES)}
    request = ClaimById(order_id=order_id, **asked) if by_id else ClaimNext(**asked)

    taken = launcher(first).claim(request).claimed
    repeated = launcher(again).claim(request).claimed

    assert taken is not None
    assert repeated is not None
    assert (repeated.order_id, repeated.epoch) == (taken.order_id, 1)


@pytest.mark.parametrize("identity", ["not one", ""])
def test_an_invalid_identity_is_refused_by_the_headers_name(world: World, identity: str) -> None:
    headers = {"Authorization": f"Bearer {LAUNCHER}", IDENTITY_HEADER: identity}

    response = world.http.get("/v1/holds?launcher=alpha", headers=headers)

    assert response.status_code == 422
    assert [error["field"] for error in response.get_json()["errors"]] == [IDENTITY_HEADER]


def test_two_launchers_of_one_name_leave_each_others_orders_alone(world: World, tmp_path: Path) -> None:
    world.ports = replace(world.ports, clock=lambda: datetime.now(UTC), wait=threading.Event.wait)
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__main__.py").write_text(STAYS)
    with serving(world.http.application) as url, ExitStack() as launchers:
        launchers.callback(leftovers.clear, tmp_path / "one")
        launchers.callback(leftovers.clear, tmp_path / "two")
        order_id = world.place()["id"]
        launchers.enter_context(a_launcher(tmp_path, url, "one"))
        await_state(world, order_id, State.RUNNING)
        ((directory),) = (tmp_path / "one" / "vms").iterdir()
        renewed = lease_of(world, order_id)

        second = launchers.enter_context(a_launcher(tmp_path, url, "two"))
        other = world.place()["id"]
        await_state(world, other, State.RUNNING)  # it takes orders: each has a slot
        await_value(lambda: lease_of(world, order_id) > renewed, "a renewal of the first launcher")

        (warning,) = [line for line in (tmp_path / "two.log").read_text().splitlines() if NAME_SHARED in line]
        assert order_id in warning
        assert world.order(order_id).state is State.RUNNING
        assert world.order(order_id).epoch == 1
        assert directory.is_dir()
        second.send_signal(signal.SIGTERM)
        second.send_signal(signal.SIGINT)
        second.wait(MAX_SECONDS)
        assert world.order(order_id).state is State.RUNNING


def lease_of(world: World, order_id: str) -> datetime:
    lease = world.order(order_id).lease
    assert lease is not None
    return lease.until


def await_state(world: World, order_id: str, state: State) -> None:
    await_value(lambda: world.order(order_id).state is state, f"the state {state}")


@contextmanager
def a_launcher(folder: Path, url: str, state: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the launcher `alpha` with a state directory and a log of its own, and one slot."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LAUNCHYARD_LAUNCHER_KEY": LAUNCHER,
        "LAUNCHYARD_DATACENTER": "local:dev",
        "LAUNCHYARD_SLOTS": "1",
        "LAUNCHYARD_HEARTBEAT_SECONDS": "0.5",
    }
    flags = ("--name", "alpha", "--url", url, "--provider", "process", "--state-dir", str(folder / state))
    argv = (sys.executable, "-m", "launcher", "run", *flags)
    with (
        (folder / f"{state}.log").open("wb") as log,
        subprocess.Popen(argv, cwd=folder, env=environment, stdout=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()
