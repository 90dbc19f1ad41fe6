"""Runs one order of each kind, and counts what each step of its life is billed for.

The functions run in this process, on the emulators and the local S3, over HTTP. Each request meets a new instance,
which remembers nothing (keys, counts of quotas), so the counts are upper bounds. What repeats while an order runs is
counted once.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from uuid import uuid4

import functions_framework
import httpx

from bench.operations import Meter, Operations, counting_requests, metered
from emulators import s3
from emulators.environment import KEY_OF, make_environment
from emulators.google import start_firestore, start_pubsub
from emulators.processes import stop
from emulators.seeding import seed
from emulators.services import FUNCTIONS
from emulators.serving import serving
from emulators.settings import BUCKET, DATACENTER, BackendChoice, StackSettings, free_ports
from functions.domain.access import Role
from functions.wiring import clock
from shared.client import ControlPlane
from shared.domain.lanes import lane
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, TaskSpec
from shared.guest.config import WorkerConfig
from shared.wire.launchers import ClaimById, Claimed, HeartbeatRequest, Hold, MachineGone, Provisioning, Stopped
from shared.wire.operators import SweepRequest
from shared.wire.workers import UploadGrant
from worker.callbacks import Callbacks, MeasuredOutput

LAUNCHER: Final = "bench"
RETENTION: Final = timedelta(days=9)
"""After this time the sweep has nothing left to do for an order."""
EVENTS: Final = 50
"""How many messages an agent's session reports."""


@dataclass(frozen=True, slots=True)
class Life:
    """`once` happens once for each order; `repeats` again and again while it runs."""

    once: Operations
    repeats: Mapping[str, Operations] = field(default_factory=dict)


class CostedDeployment:
    """The control plane: behind its address, each request of `caller` and `ask` meets a new instance."""

    def __init__(self, environment: Mapping[str, str], meter: Meter, folder: Path) -> None:
        self.meter, self.folder = meter, folder
        self._environment, self._ahead = environment, timedelta()
        self._app: Any = self._new_instance()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._app(environ, start_response)

    @contextmanager
    def served(self) -> Iterator["CostedDeployment"]:
        """Serve it. Its clock is this object (`now`), which `afterwards` moves."""
        with patch.object(clock, "datetime", self), serving(counting_requests(self, self.meter)) as self.url:
            yield self

    def now(self, zone: tzinfo) -> datetime:
        return datetime.now(zone) + self._ahead

    @contextmanager
    def caller(self, role: Role) -> Iterator[ControlPlane]:
        self._app = self._new_instance()
        with ControlPlane(self.url, self._environment[KEY_OF[role]]) as api:
            yield api

    def ask(self, role: Role, method: str, path: str, body: object = None) -> Any:
        """Send a request that the Python client does not know, and return the answer's body."""
        self._app = self._new_instance()
        headers = {"Authorization": f"Bearer {self._environment[KEY_OF[role]]}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False) as http:
            answer = http.request(method, path, json=body).raise_for_status()
        return answer.json() if answer.content else None

    def sweep(self) -> None:
        with self.caller(Role.ADMIN) as operator:
            while operator.sweep(SweepRequest()).more:
                pass

    def heartbeat(self, *holds: Hold) -> None:
        with self.caller(Role.LAUNCHER) as launcher:
            launcher.heartbeat(HeartbeatRequest(launcher=LAUNCHER, holds=holds))

    def afterwards(self) -> Operations:
        """Return what the sweep does until nothing is left of an order, beside what every sweep does."""
        always = self.meter.during(self.sweep)
        self._ahead += RETENTION
        return self.meter.during(self.sweep) - always

    def _new_instance(self) -> Any:
        return functions_framework.create_app("everything", str(FUNCTIONS)).wsgi_app  # type: ignore[no-untyped-call]


@contextmanager
def deployment() -> Iterator[CostedDeployment]:
    """Run the control plane on the emulators and the local S3, and count what this process does."""
    with tempfile.TemporaryDirectory() as home, ExitStack() as running:
        folder = Path(home)
        settings = StackSettings.model_validate({**free_ports(), "backend": BackendChoice.GOOGLE})
        environment = make_environment(settings) | {"LAUNCHER_POLL_TIMEOUT": "1"}
        running.callback(stop, start_firestore(settings.firestore_port, folder))
        running.callback(stop, start_pubsub(settings.pubsub_port, folder))
        keys = (environment["LAUNCHYARD_S3_ACCESS_KEY_ID"], environment["LAUNCHYARD_S3_SECRET_ACCESS_KEY"])
        for server in s3.start_s3(settings.s3_port, folder, *keys, BUCKET):
            running.callback(stop, server)
        seed(environment)
        os.environ.update(environment, FUNCTION_TARGET="everything", FUNCTION_SIGNATURE_TYPE="http")
        meter = running.enter_context(metered(environment["LAUNCHYARD_S3_ENDPOINT"]))
        here = running.enter_context(CostedDeployment(environment, meter, folder).served())
        here.sweep()  # the clients connect
        yield here


def capacity(here: CostedDeployment) -> Life:
    """A machine that its client releases."""
    begun, claimed, worker = start(here, CapacitySpec(datacenter=DATACENTER, node_size=NodeSize.TINY))
    repeats = repeated(here, claimed, worker)
    return Life(begun + here.meter.during(lambda: release(here, claimed)) + here.afterwards(), repeats)


def export(here: CostedDeployment) -> Life:
    begun, claimed, worker = start(here, ExportSpec(pi="01K9MHPYR07M6YMZ1QGR8DZB8S"))
    repeats = repeated(here, claimed, worker)
    repeats["progress"] = here.meter.during(lambda: worker.progress({"entities": 1}))
    return Life(begun + here.meter.during(lambda: complete(here, claimed, worker)) + here.afterwards(), repeats)


def task(here: CostedDeployment) -> Life:
    begun, claimed, worker = start(here, TaskSpec(command=("true",)))
    repeats = repeated(here, claimed, worker)
    return Life(begun + here.meter.during(lambda: complete(here, claimed, worker)) + here.afterwards(), repeats)


def agents_job(here: CostedDeployment) -> Life:
    """A job for a launcher that polls, with the reports of its executor."""
    by = registered(here)

    def run() -> None:
        here.ask(Role.CLIENT, "POST", "/jobs", {"type": "start_session", "session_name": "bench", "prompt": "Do it."})
        job = here.ask(Role.LAUNCHER, "GET", f"/launcher/jobs?launcher_id={by['launcher_id']}")["job"]["job_id"]
        here.ask(Role.LAUNCHER, "POST", f"/launcher/jobs/{job}/started", by)
        session = {"session_id": str(uuid4()), "session_name": "bench"}
        here.ask(Role.LAUNCHER, "POST", "/sessions", session)
        for nth in range(EVENTS):
            event = {"timestamp": f"2026-11-22T12:00:{nth:02}.000000+00:00", "role": "assistant", "content": []}
            path = f"/sessions/{session['session_id']}/events"
            here.ask(Role.LAUNCHER, "POST", path, {"event_type": "message", **session, **event})
        here.ask(Role.LAUNCHER, "POST", f"/launcher/jobs/{job}/completed", {**by, "status": "success"})

    return Life(here.meter.during(run) + here.afterwards())


def registered(here: CostedDeployment) -> dict[str, str]:
    """Register an agent launcher, and return the field that names it."""
    answer = here.ask(Role.LAUNCHER, "POST", "/launcher/register", {"hostname": "bench", "executor_type": "bench"})
    return {"launcher_id": answer["launcher_id"]}


def start(here: CostedDeployment, spec: AnySpec) -> tuple[Operations, Claimed, Callbacks]:
    """Bring a new order to where its worker runs; return what that took, the claim, and the worker."""
    begun: list[tuple[Claimed, Callbacks]] = []

    def begin() -> None:
        with here.caller(Role.CLIENT) as client:
            order_id = client.create_order(spec, str(uuid4())).id
        with here.caller(Role.LAUNCHER) as launcher:
            asked = ClaimById(request_id=str(uuid4()), launcher=LAUNCHER, order_id=order_id, lanes=(lane(spec),))
            claimed = launcher.claim(asked).claimed
        if claimed is None:
            sys.exit(f"The order {order_id} was not claimed.")
        with here.caller(Role.LAUNCHER) as launcher:
            launcher.update(order_id, Provisioning(vm="vm-1", **reporter(claimed)))
        worker = worker_of(here, claimed)
        worker.started()
        begun.append((claimed, worker))

    counted = here.meter.during(begin)
    return counted, *begun.pop()


def repeated(here: CostedDeployment, claimed: Claimed, worker: Callbacks) -> dict[str, Operations]:
    """Return what happens again and again while the order runs. A heartbeat's other part is the launcher's, not its."""
    hold = Hold(order_id=claimed.order_id, epoch=claimed.epoch)
    renewal = here.meter.during(lambda: here.heartbeat(hold)) - here.meter.during(here.heartbeat)

    def read() -> None:
        with here.caller(Role.CLIENT) as client:
            client.get_order(claimed.order_id)

    reads = here.meter.during(read)
    return {"renewals": renewal, "worker's reads": here.meter.during(worker.started_again), "client's reads": reads}


def release(here: CostedDeployment, claimed: Claimed) -> None:
    with here.caller(Role.CLIENT) as client:
        client.cancel_order(claimed.order_id)
    with here.caller(Role.LAUNCHER) as launcher:
        launcher.update(claimed.order_id, Stopped(**reporter(claimed)))


def complete(here: CostedDeployment, claimed: Claimed, worker: Callbacks) -> None:
    """Upload an output, report it, remove the machine, and download the output."""
    file, text = here.folder / "output.txt", f"the output of {claimed.order_id}".encode()
    file.write_bytes(text)
    output = MeasuredOutput(file, "text/plain", len(text), hashlib.sha256(text).hexdigest())
    grant = worker.upload_parts(output, None)
    if not isinstance(grant, UploadGrant):
        sys.exit("A small output is uploaded in one piece.")
    with httpx.Client(trust_env=False) as http:
        http.put(grant.url, content=text, headers=dict(grant.headers)).raise_for_status()
    worker.completed(output, {})
    with here.caller(Role.LAUNCHER) as launcher:
        launcher.update(claimed.order_id, MachineGone(exit_code=0, message="", **reporter(claimed)))
    with here.caller(Role.CLIENT) as client:
        order = client.get_order(claimed.order_id)
    with here.caller(Role.CLIENT) as client:
        client.download_output(order, here.folder / "downloaded.txt")


def worker_of(here: CostedDeployment, claimed: Claimed) -> Callbacks:
    http = httpx.Client(trust_env=False, timeout=60)
    config = WorkerConfig(
        order_id=claimed.order_id,
        epoch=claimed.epoch,
        control_plane=here.url,
        callback_token=claimed.callback_token,
        spec=claimed.spec,
    )
    return Callbacks(http, config)


def reporter(claimed: Claimed) -> dict[str, Any]:
    return {"request_id": str(uuid4()), "launcher": LAUNCHER, "epoch": claimed.epoch}


KINDS: Final[Mapping[str, Callable[[CostedDeployment], Life]]] = {
    "capacity": capacity,
    "export": export,
    "task": task,
    "agent's job": agents_job,
}
