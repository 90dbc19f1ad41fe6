"""What a launcher is told about the image of an order that it holds, and what it reports about such a machine."""

from typing import Final

from shared.domain.spec import TaskSpec
from tests.factories import CAPACITY
from tests.functions.world import LAUNCHER, OTHER_LAUNCHER, World

IMAGE: Final = TaskSpec(image="registry.example/worker:1", project_id="project-1")


def held(world: World, spec: TaskSpec = IMAGE) -> str:
    order_id = str(world.place(spec)["id"])
    assert world.claim(order_id, lanes=["any/task", "any/task/image"]) is not None
    return order_id


def ask(world: World, order_id: str, epoch: int = 1, key: str = LAUNCHER) -> int:
    return world.post(f"/v1/environments/{order_id}", {"launcher": "alpha", "epoch": epoch}, key).status_code


def test_only_the_holder_of_the_present_epoch_gets_an_environment(world: World) -> None:
    order_id = held(world)

    assert ask(world, order_id) == 200
    assert ask(world, order_id, epoch=2) == 409
    assert ask(world, order_id, key=OTHER_LAUNCHER) == 404


def test_an_order_that_has_ended_has_no_environment(world: World) -> None:
    order_id = held(world)
    assert (
        world.update(order_id, "failed", reason="launch_failed", message="no", failure="permanent").status_code == 200
    )

    assert ask(world, order_id) == 409


def test_an_order_that_names_an_image_is_offered_only_to_launchers_that_run_images(world: World) -> None:
    order_id = str(world.place(IMAGE)["id"])

    assert world.claim_next(lanes=["any/task"]) is None
    assert world.claim_next(lanes=["any/task/image"])["order_id"] == order_id  # type: ignore[index]


def test_a_launcher_reports_that_a_machine_runs_whose_program_does_not_report_it(world: World) -> None:
    order_id = held(world)

    assert world.update(order_id, "running").get_json()["state"] == "running"
    assert world.update(order_id, "running").status_code == 200


def test_a_late_report_that_the_machine_runs_changes_nothing(world: World) -> None:
    order_id = held(world)
    assert world.call_back(order_id, "started").status_code == 200

    assert world.update(order_id, "running").get_json()["state"] == "running"


def test_no_launcher_says_that_a_capacity_order_runs(world: World) -> None:
    order_id = str(world.place(CAPACITY)["id"])
    assert world.claim(order_id) is not None

    assert world.update(order_id, "running").status_code == 409
    assert world.view(order_id)["state"] == "claimed"


def test_progress_is_shown_and_starts_anew_with_each_attempt(world: World) -> None:
    order_id = held(world)
    assert world.call_back(order_id, "started").status_code == 200

    assert world.call_back(order_id, "progress", progress={"entities_done": 3}).status_code == 200
    assert world.view(order_id)["progress"] == {"entities_done": 3}

    world.lapse(order_id)
    assert world.claim(order_id, lanes=["any/task/image"]) is not None
    assert world.view(order_id)["progress"] == {}


def test_progress_of_an_earlier_attempt_is_refused(world: World) -> None:
    order_id = held(world)
    assert world.call_back(order_id, "started").status_code == 200
    world.lapse(order_id)
    assert world.claim(order_id, lanes=["any/task/image"]) is not None

    assert world.call_back(order_id, "progress", epoch=1, progress={"entities_done": 3}).status_code == 409
