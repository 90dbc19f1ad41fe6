"""A deployment that is rolled out with an order in flight: real HTTP, a real worker, the Firestore emulator."""

import json
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import stamina
from google.cloud.firestore import Client
from werkzeug import Request, Response

from emulators.serving import serving
from functions.adapters.firestore import ORDERS, FirestoreOrderStore
from functions.engine.candidates import Candidates
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from shared.guest.config import WorkerConfig
from tests.functions.world import LAUNCHER, World, by_id
from tests.later_answers import with_more_fields
from worker.logs import open_log
from worker.network import client
from worker.runtime import Worker

pytestmark = pytest.mark.emulator

OLDER_FIRST: Final = 3
"""How many tries of each report reach the instance that is older."""
FAILED: Final[dict[str, Any]] = {"reason": "program_failed", "message": "It says no.", "failure": "permanent"}


class Deployment:
    """Two versions behind one address: what the newer one has written, the older one cannot read.

    The newer one is this version, whose answers have fields more; it reads what it wrote. The older one is this
    version, too, before which the order has a reason that it does not know.
    """

    def __init__(self, world: World, documents: Client) -> None:
        self.answers: list[tuple[str, int]] = []
        self._world, self._orders = world, documents.collection(ORDERS)
        self._tries: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        with self._lock:
            return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        body = request.get_data()
        event, order_id = json.loads(body)["event"], request.path.rpartition("/")[2]
        self._tries[event] = self._tries.get(event, 0) + 1
        newer = self._tries[event] > OLDER_FIRST
        document = self._orders.document(order_id)
        stands = (document.get().to_dict() or {})["reason"]
        if not newer:
            document.update({"reason": "a_reason_of_the_newer_version"})
        answer = self._world.http.post(request.path, data=body, headers=dict(request.headers))
        if not newer:
            document.update({"reason": stands})
        self.answers.append((event, answer.status_code))
        told = with_more_fields(answer.get_json()) if newer else answer.get_json()
        return Response(json.dumps(told), answer.status_code, mimetype=answer.mimetype)


def test_a_workers_reports_that_reach_an_older_instance_are_repeated_until_a_newer_one_answers(
    world: World, firestore_client: Client, tmp_path: Path
) -> None:
    """No attempt is lost: it would be a session's only one."""
    world.ports = replace(world.ports, store=FirestoreOrderStore(firestore_client))
    spec = TaskSpec(command=("false",))
    order_id = world.place(spec)["id"]
    claimed = world.claim(order_id)
    assert claimed is not None
    deployment = Deployment(world, firestore_client)

    with serving(deployment) as url, client(None) as http, stamina.set_testing(True, attempts=100, cap=True):
        config = WorkerConfig(
            order_id=order_id, epoch=1, control_plane=url, callback_token=claimed["callback_token"], spec=spec
        )
        code = Worker(config, http, tmp_path, open_log(config), watch_seconds=600).run()

    assert code == 0
    each = [503] * OLDER_FIRST + [200]
    assert deployment.answers == [*(("started", status) for status in each), *(("failed", status) for status in each)]
    order = world.order(order_id)
    assert (order.state, order.reason, order.attempt, order.epoch) == (State.FAILED, "program_failed", 1, 1)


class Newer:
    """Writes orders as a newer version does: of a kind, and with fields, that this version does not know."""

    def __init__(self, documents: Client) -> None:
        self._orders = documents.collection(ORDERS)
        self._readable: dict[str, Any] = {}

    def write(self, order_id: str) -> None:
        document = self._orders.document(order_id)
        self._readable[order_id] = spec = (document.get().to_dict() or {})["spec"]
        document.update({"spec": spec | {"kind": "simulation", "steps": 9}, "priority": 7})

    def read(self, order_id: str) -> None:
        """Have this version read what it wrote, fields that it does not know included."""
        self._orders.document(order_id).update({"spec": self._readable[order_id] | {"steps": 9}})

    def version(self, order_id: str) -> object:
        return self._orders.document(order_id).get().update_time

    def fields(self, order_id: str) -> tuple[object, object]:
        stored = self._orders.document(order_id).get().to_dict() or {}
        return stored["priority"], stored["spec"]["steps"]


def test_an_order_of_a_newer_version_outlasts_a_rollback_unseen_and_unchanged_and_is_fulfilled_after_it(
    world: World, firestore_client: Client
) -> None:
    store = FirestoreOrderStore(firestore_client)
    world.ports = replace(world.ports, store=store, any_order=Candidates(store, pause=timedelta()))
    newer, waits, runs = Newer(firestore_client), world.place()["id"], world.place()["id"]
    assert world.claim(runs) is not None
    assert world.call_back(runs, "started").get_json()["state"] == "running"
    for order_id in (waits, runs):
        newer.write(order_id)
    written = [newer.version(order_id) for order_id in (waits, runs)]

    # The deployment is rolled back: this version serves, and everybody goes on with what they do.
    for _ in range(20):
        world.clock.now += timedelta(minutes=15)
        assert world.sweep()["looked_at"] == 0
        assert world.claim_next() is None
        assert world.heartbeat((runs, 1)) == {"renewed": [], "stop": []}
    assert world.get("/v1/orders").get_json() == {"orders": [], "next": None}
    for order_id in (waits, runs):
        assert world.get(f"/v1/orders/{order_id}").status_code == 503
        assert world.post(f"/v1/orders/{order_id}/cancel").status_code == 503
        assert world.delete(f"/v1/orders/{order_id}").status_code == 503
    assert world.post("/v1/claims", by_id(waits), LAUNCHER).status_code == 503
    assert world.call_back(runs, "failed", **FAILED).status_code == 503
    assert [newer.version(order_id) for order_id in (waits, runs)] == written

    # The newer version serves again.
    for order_id in (waits, runs):
        newer.read(order_id)
    assert {order["id"] for order in world.get("/v1/orders").get_json()["orders"]} == {waits, runs}
    assert world.call_back(runs, "failed", **FAILED).get_json()["state"] == "failed"
    assert world.claim_next() is not None
    assert world.call_back(waits, "started").get_json()["state"] == "running"
    assert [world.order(order_id).epoch for order_id in (waits, runs)] == [1, 1]
    assert [newer.fields(order_id) for order_id in (waits, runs)] == [(7, 9), (7, 9)]
