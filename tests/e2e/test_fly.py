"""`LAUNCHYARD_PROVIDER=fly launchyard up`: exports and tasks in machines of a local Fly."""

from collections.abc import Iterator

import pytest

from emulators.settings import Backend, ProviderChoice
from shared.domain.order import State
from shared.domain.spec import ExportSpec, TaskSpec
from tests.harness.stack import Stack, in_state, stack_of

ENDED = in_state(State.SUCCEEDED, State.FAILED)
ROOT = "01K9MHPYR07M6YMZ1QGR8DZB8S"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("fly")
    with stack_of(folder, ProviderChoice.FLY, Backend.MEMORY, folder) as stack:
        yield stack


def test_an_export_and_a_task_run_in_machines_and_leave_their_outputs(stack: Stack) -> None:
    export = stack.api.create_order(ExportSpec(pi=ROOT), idempotency_key="export").id
    task = stack.api.create_order(TaskSpec(command=("echo", "hello")), idempotency_key="task").id

    for order_id in (export, task):
        order = stack.await_order(order_id, ENDED)
        assert order.state is State.SUCCEEDED, order.message
        assert order.vm == f"launchyard-{order_id}-1"
