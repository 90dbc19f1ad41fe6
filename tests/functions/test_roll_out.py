"""A deployment that is rolled out with an order in flight: real HTTP, a real worker, the Firestore emulator."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import stamina
from google.cloud.firestore import Client
from werkzeug import Request, Response

from emulators.serving import serving
from functions.adapters.firestore import ORDERS, FirestoreOrderStore
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from shared.guest.config import WorkerConfig
from tests.functions.world import World
from tests.later_answers import with_more_fields
from worker.logs import open_log
from worker.network import client
from worker.runtime import Worker

pytestmark = pytest.mark.emulator

OLDER_FIRST: Final = 3
"""How many tries of each report reach the instance that is older."""


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
