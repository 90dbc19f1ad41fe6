"""Workers written from the contracts alone, in another language than ours, as the images of exports and tasks.

They run in machines of a local Fly, with the machine's environment and nothing else, and know nothing of us.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from emulators.processes import LOOPBACK
from emulators.settings import EXPORT_IMAGE, BackendChoice, ProviderChoice, free_ports
from shared.domain.order import State
from shared.domain.spec import ExportSpec, TaskSpec
from shared.http_client import open_client
from shared.log_events import LogEvent
from shared.wire.orders import OrderView
from tests.fly import Fake
from tests.harness import plain_http
from tests.harness.stack import Stack, in_state, stack_of
from tests.harness.waiting import ANSWER_SECONDS, await_value

IMAGES: Final = Path(__file__).with_name("images")
PI: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
NO_PI: Final = "01K9MJD9K0G13C0PG6DRH5AN49"
REPEATS: Final = "registry.example/repeats-and-contradicts:1"
OTHERS_KEY: Final = "registry.example/writes-to-another-key:1"
ANOTHER: Final = "exports/export_mods_1763059915123_a3f8c2d1/another.xml"
TASK: Final = "registry.example/task:1"
FAILS: Final = "registry.example/task-exits-with-3:1"
ANOTHERS: Final = "registry.example/task-completes-another:1"
VICTIM: Final = "the-order-of-another"
ENDED: Final = in_state(State.SUCCEEDED, State.FAILED)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with ExitStack() as cleanup:
        yield cleanup.enter_context(a_stack(tmp_path_factory.mktemp("images")))


def a_stack(folder: Path) -> Any:
    ports = free_ports()
    source, store = f"http://{LOOPBACK}:{ports['source_port']}", f"{LOOPBACK}:{ports['s3_port']}"
    mods = ("/usr/bin/perl", str(IMAGES / "mods_worker.pl"), "--api", source, "--store", store)
    task = ("/usr/bin/perl", str(IMAGES / "task_worker.pl"))
    images: dict[str, tuple[str, ...]] = {
        EXPORT_IMAGE: mods,
        REPEATS: (*mods, "--callbacks", "success,success,error"),
        OTHERS_KEY: (*mods, "--key", ANOTHER),
        TASK: task,
        FAILS: (*task, "--then", "exit=3"),
        ANOTHERS: (*task, "--then", f"another={VICTIM}"),
    }
    return stack_of(folder, ProviderChoice.FLY, BackendChoice.MEMORY, folder, slots=8, fly_images=images, **ports)


def machine_of(stack: Stack, order: OrderView) -> dict[str, Any]:
    variables = stack.environment
    fake = Fake(variables["LAUNCHYARD_FLY_ENDPOINT"], variables["LAUNCHYARD_FLY_API_TOKEN"])
    [made] = [one for one in fake.made() if one["name"] == order.vm]
    return dict(made)


def ended(stack: Stack, order_id: str) -> OrderView:
    return stack.await_order(order_id, ENDED)


def create(stack: Stack, spec: ExportSpec | TaskSpec) -> str:
    return stack.api.create_order(spec, str(uuid4())).id


def ignored(stack: Stack, order_id: str) -> list[str]:
    """Return why each callback of this order was ignored, as the control plane has logged it."""
    lines = [json.loads(line) for line in (stack.home / "logs" / "functions.log").read_text().splitlines()]
    mine = [line for line in lines if line.get("event") == LogEvent.CALLBACK_IGNORED and order_id in line.values()]
    return [line["why"] for line in mine]


def test_an_unmodified_worker_makes_an_export_that_an_unmodified_client_asks_for(stack: Stack) -> None:
    with open_client(stack.environment["LAUNCHYARD_URL"], timeout=ANSWER_SECONDS) as client:
        started = client.post("/export/mods", json={"pi": PI, "options": {"recursive": False}}).json()

        def finished() -> dict[str, Any] | None:
            status = client.get(f"/status/{started['task_id']}").json()
            return status if status["status"] != "processing" else None

        status = await_value(finished, "the end of the export")
        assert status["status"] == "success", status
        assert status["output_r2_key"] == f"exports/{started['task_id']}/{PI}.xml"
        file = client.get(f"/download/{started['task_id']}", follow_redirects=True)
    assert (file.status_code, len(file.content)) == (200, status["output_file_size"])
    assert f'<identifier type="arke-pi">{PI}</identifier>' in file.text


def test_the_worker_gets_a_key_that_opens_its_own_prefix_and_is_not_the_buckets(stack: Stack) -> None:
    own = ended(stack, create(stack, ExportSpec(pi=PI, image=EXPORT_IMAGE)))
    other = ended(stack, create(stack, ExportSpec(pi=PI, image=OTHERS_KEY)))

    assert own.state is State.SUCCEEDED, own.message
    environment, all_variables = machine_of(stack, own)["config"]["env"], stack.environment
    assert all_variables["LAUNCHYARD_S3_SECRET_ACCESS_KEY"] not in environment.values()
    assert (other.state, other.message) == (State.FAILED, "The upload was refused: 403")


def test_a_repeated_and_a_contradicting_callback_change_nothing_and_are_logged(stack: Stack) -> None:
    order = ended(stack, create(stack, ExportSpec(pi=PI, image=REPEATS)))

    assert order.state is State.SUCCEEDED, order.message
    await_value(lambda: len(ignored(stack, order.id)) == 2, "the log of both callbacks")
    assert ignored(stack, order.id) == ["repeated", "contradicting"]
    assert stack.api.get_order(order.id).state is State.SUCCEEDED


def test_a_failed_export_has_the_workers_own_words(stack: Stack) -> None:
    order = ended(stack, create(stack, ExportSpec(pi=NO_PI, image=EXPORT_IMAGE)))

    assert order.state is State.FAILED
    assert order.message == "Failed to fetch manifest: 404 Not Found"


def test_a_forged_callback_is_no_task_and_changes_nothing(stack: Stack) -> None:
    url = stack.environment["LAUNCHYARD_URL"]
    order_id = plain_http.post(f"{url}/export/mods", json={"pi": PI}, timeout=ANSWER_SECONDS).json()["task_id"]

    forged = plain_http.post(
        f"{url}/callback/{order_id}/1_forged", json={"task_id": order_id, "status": "error"}, timeout=ANSWER_SECONDS
    )

    assert (forged.status_code, forged.json()) == (404, {"error": "Task not found"})
    assert ignored(stack, order_id) == ["forged"]
    assert ended(stack, order_id).state is State.SUCCEEDED


def test_an_unmodified_task_worker_runs_to_its_end(stack: Stack) -> None:
    order = ended(stack, create(stack, TaskSpec(image=TASK, project_id="proj-456")))

    assert (order.state, order.attempt) == (State.SUCCEEDED, 1), order.message
    assert State.RUNNING in order.entered
    assert machine_of(stack, order)["config"]["init"]["cmd"] == ["--task", order.id]
    stack.await_no_machine()


def test_a_task_that_fails_after_its_start_is_not_run_again(stack: Stack) -> None:
    order = ended(stack, create(stack, TaskSpec(image=FAILS)))

    assert (order.state, order.attempt) == (State.FAILED, 1)


@pytest.mark.slow
def test_a_worker_that_names_another_task_completes_neither_and_its_own_ends_unconfirmed(stack: Stack) -> None:
    order = ended(stack, create(stack, TaskSpec(image=ANOTHERS)))  # half a minute after its exit

    assert order.state is State.SUCCEEDED
    assert order.message is not None
    assert "unconfirmed" in order.message
    assert ignored(stack, order.id) == ["wrong_task"]
