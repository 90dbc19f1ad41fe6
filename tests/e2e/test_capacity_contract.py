"""Unmodified workers of the capacity contract against the control plane: real processes, real emulators."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT
from typing import Final
from uuid import uuid4

import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK, stop
from emulators.services import start_functions
from shared.client import ControlPlane
from shared.domain.order import State
from shared.domain.spec import CapacitySpec, NodeSize, OrderKind
from tests.harness import plain_http
from tests.harness.projects import sharing
from tests.harness.waiting import ANSWER_SECONDS, await_value

pytestmark = pytest.mark.emulator

WORKER: Final = Path(__file__).with_name("capacity_worker.py")
GCP: Final = CapacitySpec(datacenter="gcp:us-central1-a", node_size=NodeSize.TINY)
ORDERS: Final = 200
WORKERS: Final = 8


@dataclass(frozen=True)
class Served:
    url: str
    api: ControlPlane = field(repr=False)
    key: str = field(repr=False)
    """Of a launcher account."""

    def fulfilled(self) -> list[str | None]:
        """Return the machines of the orders that are fulfilled."""
        machines, after = list[str | None](), None
        while True:
            page = self.api.list_orders(State.RUNNING, OrderKind.CAPACITY, 200, after)
            machines += [order.vm for order in page.orders]
            after = page.next
            if after is None:
                return machines


@pytest.fixture
def served(firestore_host: str, pubsub_host: str, tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as cleanup:
        projects = cleanup.enter_context(sharing(firestore_host, pubsub_host, tmp_path))
        variables = cleanup.enter_context(projects.create()).variables
        port = free_port()
        cleanup.callback(stop, start_functions(port, tmp_path, variables))
        url = f"http://{LOOPBACK}:{port}"
        api = cleanup.enter_context(ControlPlane(url, variables["LAUNCHYARD_CLIENT_KEY"]))
        created = plain_http.post(
            f"{url}/api/v1/accounts",
            json={"name": "rack-7", "account_type": "launcher"},
            headers={"Authorization": f"Bearer {variables['LAUNCHYARD_ADMIN_KEY']}"},
            timeout=ANSWER_SECONDS,
        )
        assert created.status_code == 200, created.text
        yield Served(url, api, created.json()["api_key"])


def start_worker(served: Served, folder: Path, *flags: str) -> subprocess.Popen[str]:
    argv = [sys.executable, str(WORKER), "--cp-url", served.url, "--machines", str(folder / "machines"), *flags]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env={"LAUNCHER_API_KEY": served.key}, stdout=pipe, stderr=pipe, text=True)


def test_a_worker_that_only_polls_and_reports_fulfils_an_order(served: Served, tmp_path: Path) -> None:
    order = served.api.create_order(GCP, str(uuid4()))
    worker = start_worker(served, tmp_path, "--one-shot", "--node-size", "tiny")
    printed, errors = worker.communicate(timeout=300)

    machine = f"tdvirsh-trust_domain_verity-{order.id}"
    assert (worker.returncode, errors) == (0, "")
    assert printed.splitlines() == [
        f"[launcher] claimed order={order.id} dc=gcp:us-central1-a size=tiny",
        f"[launcher] order={order.id} fulfilled vm={machine}",
    ]
    assert served.api.get_order(order.id).state is State.RUNNING
    assert served.fulfilled() == [machine]


@pytest.mark.slow
def test_two_hundred_orders_and_eight_such_workers_start_each_order_once(served: Served, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        placed = {order.id for order in pool.map(lambda _: served.api.create_order(GCP, str(uuid4())), range(ORDERS))}
    workers = [start_worker(served, tmp_path, "--poll-seconds", "2") for _ in range(WORKERS)]
    try:
        await_value(lambda: len(served.fulfilled()) >= ORDERS, f"{ORDERS} fulfilled orders")
    finally:
        for worker in workers:
            worker.send_signal(SIGINT)
        ended = [(worker.communicate(timeout=300), worker.returncode) for worker in workers]

    assert [(errors, code) for (_, errors), code in ended] == [("", 130)] * WORKERS
    claimed = Counter(
        line.split()[2] for (printed, _), _ in ended for line in printed.splitlines() if " claimed " in line
    )
    assert claimed == Counter(f"order={order_id}" for order_id in placed)
    machines = sorted(f"tdvirsh-trust_domain_verity-{order_id}" for order_id in placed)
    assert sorted((tmp_path / "machines").read_text().split()) == machines
    assert sorted(str(machine) for machine in served.fulfilled()) == machines
