"""`LAUNCHYARD_PROVIDER=fly launchyard up`: exports, tasks and images in machines of a local Fly."""

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from emulators.mods import validate
from emulators.settings import OWN_IMAGE, BackendChoice, ProviderChoice
from shared.domain.order import Reason, State
from shared.domain.spec import AnySpec, ExportSpec, TaskSpec
from shared.wire.orders import OrderView
from tests.fly import Fake
from tests.harness.processes import await_end
from tests.harness.stack import Stack, in_state, stack_of

PI = "01K9MHPYR07M6YMZ1QGR8DZB8S"
ENDED = in_state(State.SUCCEEDED, State.FAILED)
SLOTS = 12
A_FOREIGN_IMAGE = "registry.example/prints-its-arguments:1"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("fly")
    images = {A_FOREIGN_IMAGE: (sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(3)")}
    chosen = {"slots": SLOTS, "fly_images": images}
    with stack_of(folder, ProviderChoice.FLY, BackendChoice.MEMORY, folder, **chosen) as stack:
        yield stack


def fake_of(stack: Stack) -> Fake:
    variables = stack.environment
    return Fake(variables["LAUNCHYARD_FLY_ENDPOINT"], variables["LAUNCHYARD_FLY_API_TOKEN"])


def create(stack: Stack, spec: AnySpec) -> str:
    return stack.api.create_order(spec, str(uuid4())).id


def ended(stack: Stack, order_id: str) -> OrderView:
    return stack.await_order(order_id, ENDED)


def test_an_export_runs_in_a_machine_that_is_gone_after_it(stack: Stack, tmp_path: Path) -> None:
    order = ended(stack, create(stack, ExportSpec(pi=PI)))

    assert order.state is State.SUCCEEDED, order.message
    record = tmp_path / "record.xml"
    stack.api.download_output(order, record)
    assert validate(record) == []
    assert PI in record.read_text()
    fake = fake_of(stack)
    fake.await_gone()
    [made] = [one for one in fake.made() if one["name"] == order.vm]
    assert made["config"]["metadata"]["launchyard-order"] == order.id
    stack.await_no_machine()


@pytest.mark.slow
def test_a_burst_of_orders_is_started_at_flys_pace(stack: Stack) -> None:
    order_ids = [create(stack, TaskSpec(command=("echo", str(number)))) for number in range(SLOTS)]

    orders = [ended(stack, order_id) for order_id in order_ids]

    assert {(order.state, order.attempt, order.epoch) for order in orders} == {(State.SUCCEEDED, 1, 1)}
    fake = fake_of(stack)
    names = [machine["name"] for machine in fake.made()]
    assert [names.count(f"launchyard-{order_id}-1") for order_id in order_ids] == [1] * SLOTS
    assert fake.is_mostly_within_limits()
    fake.await_gone()


def test_an_image_that_does_not_exist_is_its_orders_failure_and_the_next_order_does_not_wait(stack: Stack) -> None:
    bad = create(stack, TaskSpec(image="registry.example/nobodys:latest"))
    nowhere = create(stack, ExportSpec(pi=PI, image=OWN_IMAGE, region="zzz"))
    failed = [ended(stack, order_id) for order_id in (bad, nowhere)]
    assert {(order.state, order.reason, order.attempt) for order in failed} == {(State.FAILED, Reason.LAUNCH_FAILED, 1)}
    good = ended(stack, create(stack, ExportSpec(pi=PI, image=OWN_IMAGE)))
    assert good.state is State.SUCCEEDED


@pytest.mark.slow
def test_a_cancelled_orders_machine_is_destroyed(stack: Stack) -> None:
    order_id = create(stack, TaskSpec(command=("sleep", "600")))
    stack.await_order(order_id, in_state(State.RUNNING))
    stack.api.cancel_order(order_id)
    stack.await_order(order_id, in_state(State.CANCELLED))
    stack.await_no_machine()
    fake_of(stack).await_gone()


@pytest.mark.slow
def test_a_launcher_that_is_killed_finds_its_machine_again_and_makes_no_second(stack: Stack, tmp_path: Path) -> None:
    done = tmp_path / "done"
    wait = f"for look in $(seq 1200); do [ -e {done} ] && break; sleep 0.1; done; echo over"
    order_id = create(stack, TaskSpec(command=("sh", "-c", wait)))
    stack.await_order(order_id, in_state(State.RUNNING))
    daemon = psutil.Process(stack.launcher.pid)
    environment = stack.environment

    daemon.kill()
    await_end(daemon)
    stack.start_launcher(environment)
    done.touch()

    order = ended(stack, order_id)
    assert (order.state, order.epoch, order.attempt) == (State.SUCCEEDED, 1, 1)
    assert [one["name"] for one in fake_of(stack).made()].count(f"launchyard-{order_id}-1") == 1
    stack.await_no_machine()


@pytest.mark.slow
def test_the_usual_stack_runs_images_on_fly_and_all_else_on_this_host(tmp_path: Path) -> None:
    with stack_of(tmp_path, ProviderChoice.PROCESS, BackendChoice.MEMORY, tmp_path) as stack:
        here = ended(stack, create(stack, TaskSpec(command=("true",))))
        there = ended(stack, create(stack, ExportSpec(pi=PI, image=OWN_IMAGE)))
        assert (here.state, there.state) == (State.SUCCEEDED, State.SUCCEEDED)
        assert [one["name"] for one in fake_of(stack).made()] == [there.vm]
