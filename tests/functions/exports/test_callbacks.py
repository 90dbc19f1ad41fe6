"""What a machine's image reports, once, at the address that it was given."""

import json
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.order import State
from shared.log_events import LogEvent
from tests.functions.exports.client import (
    FILE,
    IMAGE,
    METRICS,
    NAME,
    PI,
    Machine,
    configure,
    launch,
    of_images,
    start,
    status,
)
from tests.functions.world import World

RECEIVED = {"received": True}
NOT_FOUND = {"error": "Task not found"}


def whys(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return why callbacks were ignored."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line["why"] for line in lines if line["event"] == LogEvent.CALLBACK_IGNORED]


def test_the_size_is_the_buckets_and_every_number_of_the_metrics_is_kept(world: World, machine: Machine) -> None:
    machine.upload()
    metrics = {**METRICS, "entities_incomplete": 2, "ratio": 0.5, "note": "text", "flag": True, "a name": 1}

    assert machine.call_back(machine.success(metrics=metrics, output_file_size=1)).get_json() == RECEIVED

    order = world.order(machine.task_id)
    assert order.state is State.SUCCEEDED
    assert order.output is not None
    assert (order.output.size, order.output.sha256) == (len(FILE), None)
    assert status(world, machine.task_id)["output_r2_key"] == machine.key
    assert order.metrics == {**METRICS, "entities_incomplete": 2, "ratio": 0.5}


@pytest.mark.parametrize("name", ['a"b.xml', "a/b.xml", "x" * 200, "", None, 3])
def test_a_name_that_no_header_should_have_gives_way_to_that_of_the_key(
    world: World, machine: Machine, name: Any
) -> None:
    machine.upload()

    assert machine.call_back(machine.success(output_file_name=name)).status_code == 200

    output = world.order(machine.task_id).output
    assert output is not None
    assert output.file_name == NAME


@pytest.mark.parametrize("last", [False, True])
def test_a_repeat_is_answered_alike_and_changes_nothing(
    world: World, machine: Machine, last: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.finish()
    ended = world.order(machine.task_id)
    world.clock.now += timedelta(days=2) if last else timedelta(0)  # the output has been removed by then
    world.sweep()

    answer = machine.call_back(machine.success())

    assert (answer.status_code, answer.get_json()) == (200, RECEIVED)
    assert world.order(machine.task_id).output == ended.output
    assert whys(capsys) == ["repeated"]


def test_the_first_end_wins(world: World, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.finish()
    ended = world.order(machine.task_id)

    contradictions = [
        machine.error(),
        machine.success(metrics={}),
        machine.success(output_r2_key="outputs/x/1"),
        machine.success(output_r2_key=None),
        machine.success(status="processing"),
    ]
    answers = [machine.call_back(body) for body in contradictions]

    assert [(answer.status_code, answer.get_json()) for answer in answers] == [(200, RECEIVED)] * 5
    assert world.order(machine.task_id) == ended
    assert whys(capsys) == ["contradicting"] * 5


def test_a_success_after_an_error_changes_nothing(world: World, machine: Machine) -> None:
    machine.call_back(machine.error())
    machine.finish()

    assert world.order(machine.task_id).state is State.FAILED


def test_an_earlier_attempt_changes_nothing(world: World, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    world.lapse(machine.task_id)
    machine.finish()
    assert world.order(machine.task_id).state is State.QUEUED

    second = launch(world, machine.task_id, epoch=2)
    machine.finish()
    assert world.order(machine.task_id).state is State.RUNNING
    second.finish()

    assert world.order(machine.task_id).state is State.SUCCEEDED
    assert whys(capsys) == ["late", "late"]


@pytest.mark.parametrize(
    "secret",
    ["1_forged", "1", "x", f"1_{'A' * 43}", "99999999999_x", "1_%C3%A9", "%20", "1_!"],
    ids=["short", "epoch", "text", "token", "long", "wide", "blank", "mark"],
)
def test_a_forged_callback_is_not_found(
    world: World, machine: Machine, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.upload()

    answer = world.post(f"/callback/{machine.task_id}/{secret}", machine.success(), key="")

    assert (answer.status_code, answer.get_json()) == (404, NOT_FOUND)
    assert world.order(machine.task_id).state is State.RUNNING
    assert whys(capsys) == ["forged"]


def test_the_secret_of_one_task_opens_no_other(world: World, machine: Machine) -> None:
    other, secret = launch(world), machine.path.rsplit("/", 1)[-1]

    assert world.post(f"/callback/{other.task_id}/{secret}", other.error(), key="").status_code == 404
    assert world.post(f"/callback/unknown/{secret}", other.error(), key="").get_json() == NOT_FOUND


def test_a_task_that_was_removed_is_not_found_and_that_is_logged(
    world: World, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.call_back(machine.error())
    assert world.delete(f"/v1/orders/{machine.task_id}").status_code == 204
    capsys.readouterr()

    answer = machine.call_back(machine.success())

    assert (answer.status_code, answer.get_json()) == (404, NOT_FOUND)
    assert whys(capsys) == ["unknown_task"]


def test_a_report_of_another_task_than_the_addresss_is_refused(
    world: World, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.upload()

    answer = machine.call_back(machine.success(task_id=start(world)))

    assert answer.status_code == 400
    assert "task_id" in answer.get_json()["error"]
    assert whys(capsys) == ["wrong_task"]


@pytest.mark.parametrize(
    "key",
    [
        "exports/another/file.xml",
        "outputs/{}/1",
        "exports/{}/",
        "exports/{}/folder/file.xml",
        "exports/{}/../another/file.xml",
        "exports/{}/a b.xml",
        "/exports/{}/file.xml",
        'exports/{}/a".xml',
        "exports/{}/file.xml\n",
    ],
)
def test_a_key_that_is_not_the_tasks_own_is_refused(
    world: World, machine: Machine, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = key.format(machine.task_id)
    machine.upload(key)

    answer = machine.call_back(machine.success(output_r2_key=key))

    assert answer.status_code == 400
    assert answer.get_json() == {
        "error": f"Invalid field output_r2_key: use exports/{machine.task_id}/<file name>",
    }
    assert world.order(machine.task_id).state is State.RUNNING
    assert whys(capsys) == ["wrong_key"]


def test_an_object_that_is_not_there_ends_nothing(
    world: World, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = machine.call_back(machine.success())

    assert answer.status_code == 400
    assert world.order(machine.task_id).state is State.RUNNING
    assert whys(capsys) == ["no_object"]
    machine.finish()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "(body)"),
        ("text", "(body)"),
        ({}, "task_id"),
        ({"task_id": "{}"}, "status"),
        ({"task_id": "{}", "status": "processing"}, "status"),
        ({"task_id": "{}", "status": "done"}, "status"),
        ({"task_id": "{}", "status": "success"}, "output_r2_key"),
    ],
)
def test_a_report_that_is_none_is_refused_by_its_field(world: World, machine: Machine, body: Any, field: str) -> None:
    if isinstance(body, dict) and "task_id" in body:
        body = {**body, "task_id": machine.task_id}

    answer = machine.call_back(body)

    assert answer.status_code == 400
    assert field in answer.get_json()["error"]
    assert world.order(machine.task_id).state is State.RUNNING


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 9000, "x" * 4000),
        ({"code": 3}, '{"code": 3}'),
        (None, "The export ended: program_failed"),
        ("", "The export ended: program_failed"),
    ],
)
def test_an_error_is_cut_to_its_bound_and_shown(world: World, machine: Machine, text: Any, kept: str) -> None:
    assert machine.call_back(machine.error(text)).status_code == 200

    assert status(world, machine.task_id)["error"] == kept


def test_callbacks_without_a_secret_are_for_deployments_that_allow_them(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    of_images(world)
    machine = launch(world)
    path = f"/callback/{machine.task_id}"
    machine.upload()

    refused = world.post(path, machine.success(), key="")
    assert (refused.status_code, refused.get_json()) == (404, {"error": "Not found"})
    assert whys(capsys) == ["forged"]

    configure(world, LAUNCHYARD_OPEN_CALLBACKS=True)
    assert world.post("/callback/unknown", machine.success(), key="").get_json() == NOT_FOUND
    assert world.post(path, machine.success(), key="").get_json() == RECEIVED
    assert world.order(machine.task_id).state is State.SUCCEEDED


def test_what_failed_attempts_uploaded_goes_with_the_retention(world: World, machine: Machine) -> None:
    machine.upload(f"exports/{machine.task_id}/of-an-earlier-attempt.xml")
    machine.finish()
    assert len(world.bucket.keys(f"exports/{machine.task_id}/")) == 2

    world.clock.now += timedelta(hours=23)
    world.sweep()
    assert len(world.bucket.keys(f"exports/{machine.task_id}/")) == 2

    world.clock.now += timedelta(hours=2)
    world.sweep()
    assert world.bucket.keys(f"exports/{machine.task_id}/") == []


def test_an_upload_that_an_image_made_after_the_removal_goes_too(world: World) -> None:
    """Its credentials are valid for longer than its output is kept."""
    order = {"kind": "export", "pi": PI, "image": IMAGE}
    body = {"order": order, "limits": {"retention_seconds": 1}}
    machine = launch(world, world.post("/v1/orders", body, headers={"Idempotency-Key": "one"}).get_json()["id"])
    machine.finish()
    world.clock.now += timedelta(seconds=1)
    assert world.sweep()["discarded"] == 1
    world.clock.now += timedelta(minutes=80)  # boot and run limit are 10 minutes and an hour
    machine.upload()
    assert world.sweep()["discarded"] == 0

    world.clock.now += timedelta(minutes=6)
    world.sweep()

    assert world.bucket.keys() == []


def test_an_export_that_our_own_worker_makes_takes_no_upload_of_an_image(world: World) -> None:
    task_id = start(world)
    assert world.claim(task_id) is not None
    world.bucket.store(f"exports/{task_id}/{NAME}", FILE)
    secret = world.ports.tokens.secret(task_id, 1)
    body = {"task_id": task_id, "status": "success", "output_r2_key": f"exports/{task_id}/{NAME}"}

    assert world.post(f"/callback/{task_id}/{secret}", body, key="").status_code == 400
