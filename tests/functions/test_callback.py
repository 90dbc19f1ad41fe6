"""The reports of a worker inside a machine, and their answers."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from functions.domain.refusals import Forbidden
from functions.ports.outputs import PresignedUpload, UploadTerms
from shared.domain.order import Reason, State
from tests.factories import CAPACITY, EXPORT
from tests.functions.world import CLIENT, LAUNCHER, World

BODY = b"<mods/>"
SHA256 = hashlib.sha256(BODY).hexdigest()
OUTPUT: dict[str, Any] = {
    "file_name": "mods.xml",
    "content_type": "application/xml",
    "size": len(BODY),
    "sha256": SHA256,
}


@pytest.fixture
def held(world: World) -> str:
    """An export that is held at epoch 1."""
    order_id: str = world.place(EXPORT)["id"]
    world.claim(order_id)
    return order_id


@pytest.fixture
def machine(world: World) -> str:
    """A capacity order that is held at epoch 1."""
    order_id: str = world.place(CAPACITY)["id"]
    world.claim(order_id)
    return order_id


def upload(world: World, order_id: str, body: bytes = BODY, epoch: int = 1) -> None:
    size, sha256 = len(body), hashlib.sha256(body).hexdigest()
    fields = OUTPUT | {"size": size, "sha256": sha256}
    grant = world.call_back(order_id, "upload", epoch, **fields).get_json()["upload"]
    assert world.bucket.put(PresignedUpload(grant["url"], grant["headers"]), body)


def test_an_order_runs_once_its_worker_says_so(world: World, held: str) -> None:
    response = world.call_back(held, "started")

    assert response.get_json() == {"state": "running", "upload": None}


def test_an_upload_is_granted_for_one_exact_key_for_15_minutes(
    world: World, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    presign = world.bucket.presign_upload

    def remembered(terms: UploadTerms, valid: timedelta) -> PresignedUpload:
        asked.append((terms, valid))
        return presign(terms, valid)

    monkeypatch.setattr(world.bucket, "presign_upload", remembered)

    grant = world.call_back(held, "upload", **OUTPUT).get_json()["upload"]

    terms = UploadTerms(f"outputs/{held}/1/{SHA256}/application-xml", "application/xml", len(BODY), SHA256)
    assert asked == [(terms, timedelta(minutes=15))]
    assert grant["headers"]["content-type"] == "application/xml"


def test_a_completed_order_succeeds_with_the_output_that_is_there(world: World, held: str) -> None:
    upload(world, held)

    response = world.call_back(held, "completed", **OUTPUT, metrics={"records": 1, "seconds": 0.5})

    assert response.get_json() == {"state": "succeeded", "upload": None}
    view = world.view(held)
    assert view["output"] == OUTPUT
    assert view["metrics"] == {"records": 1, "seconds": 0.5}


def test_the_output_is_fetched_by_a_redirect_that_is_valid_for_5_minutes(world: World, held: str) -> None:
    upload(world, held)
    world.call_back(held, "completed", **OUTPUT)

    response = world.get(f"/v1/orders/{held}/output")

    location = response.headers["Location"]
    assert response.status_code == 307
    assert "filename=mods.xml" in location
    world.clock.now += timedelta(minutes=5)
    assert world.bucket.fetch(location) == BODY
    world.clock.now += timedelta(seconds=1)
    with pytest.raises(Forbidden):
        world.bucket.fetch(location)


def test_an_output_that_is_not_there_completes_nothing(world: World, held: str) -> None:
    response = world.call_back(held, "completed", **OUTPUT)

    assert response.status_code == 409
    assert f"outputs/{held}/1" in response.get_json()["detail"]
    assert world.order(held).state is State.CLAIMED


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        ({"size": 8}, f"has 7 bytes and the SHA-256 {SHA256}"),
        ({"sha256": "0" * 64}, "upload it first"),
        ({"content_type": "text/html"}, "upload it first"),
    ],
)
def test_an_output_that_is_not_as_reported_completes_nothing(
    world: World, held: str, lie: dict[str, Any], found: str
) -> None:
    upload(world, held)

    response = world.call_back(held, "completed", **(OUTPUT | lie))

    assert response.status_code == 409
    assert found in response.get_json()["detail"]
    assert world.order(held).state is State.CLAIMED


@pytest.mark.parametrize(("failure", "state"), [("retryable", "queued"), ("permanent", "failed")])
def test_a_failed_program_is_retried_if_another_run_may_succeed(
    world: World, held: str, failure: str, state: str
) -> None:
    world.call_back(held, "started")

    response = world.call_back(held, "failed", reason="source_unavailable", message="503", failure=failure)

    assert response.get_json()["state"] == state
    assert world.view(held)["message"] == "503"


@pytest.mark.parametrize("reason", [reason for reason in Reason if "program" not in reason])
def test_a_worker_gives_only_a_workers_reasons(world: World, held: str, reason: Reason) -> None:
    response = world.call_back(held, "failed", reason=reason, message="", failure="retryable")

    allowed = {Reason.SOURCE_UNAVAILABLE, Reason.UPLOAD_FAILED, Reason.OUTPUT_MISMATCH}
    assert response.status_code == (200 if reason in allowed else 422)


def reports(world: World, order_id: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("started", {}),
        ("upload", OUTPUT),
        ("completed", OUTPUT),
        ("failed", {"reason": "program_failed", "message": "", "failure": "retryable"}),
    ]


def test_a_stale_epoch_changes_nothing_and_uploads_nothing(world: World, held: str) -> None:
    upload(world, held)
    world.lapse(held)
    world.claim(held)
    before = world.order(held)

    for event, fields in reports(world, held):
        response = world.call_back(held, event, epoch=1, **fields)
        assert (event, response.status_code) == (event, 409)
        assert response.get_json()["type"] == "urn:launchyard:problem:lease_lost"

    assert world.order(held) is before


def test_an_epoch_that_lapsed_and_was_not_taken_again_changes_nothing(world: World, held: str) -> None:
    upload(world, held)
    world.lapse(held)
    before = world.order(held)

    for event, fields in reports(world, held):
        assert (event, world.call_back(held, event, **fields).status_code) == (event, 409)

    assert world.order(held) is before


def test_even_a_repeat_is_refused_once_its_epoch_is_over(world: World, held: str) -> None:
    world.call_back(held, "started")
    world.lapse(held)
    world.claim(held)

    assert world.call_back(held, "started", epoch=1).status_code == 409


def test_an_epoch_that_is_yet_to_come_changes_nothing(world: World, held: str) -> None:
    assert world.call_back(held, "started", epoch=2).status_code == 409


@pytest.mark.parametrize("final", ["completed", "failed"])
def test_every_report_may_be_repeated_and_answers_the_same(world: World, held: str, final: str) -> None:
    upload(world, held)
    failure = {"reason": "program_failed", "message": "exit 1", "failure": "permanent"}
    fields = OUTPUT if final == "completed" else failure
    world.call_back(held, "started")

    answers = [world.call_back(held, final, **fields) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].get_data() == answers[1].get_data()
    assert world.call_back(held, "started").status_code == 200


def test_a_repeated_completion_does_not_ask_the_bucket_again(world: World, held: str) -> None:
    upload(world, held)
    world.call_back(held, "completed", **OUTPUT)
    world.bucket.delete_below(f"outputs/{held}/")

    assert world.call_back(held, "completed", **OUTPUT).status_code == 200


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("failed", {"reason": "program_failed", "message": "", "failure": "retryable"}),
        ("completed", OUTPUT | {"content_type": "text/plain"}),
        ("upload", OUTPUT),
    ],
)
def test_a_report_that_contradicts_the_final_one_is_refused_with_the_state(
    world: World, held: str, event: str, fields: dict[str, Any]
) -> None:
    upload(world, held)
    world.call_back(held, "completed", **OUTPUT)

    response = world.call_back(held, event, **fields)

    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:launchyard:problem:wrong_state"
    assert response.get_json()["state"] == "succeeded"


def test_a_wrong_token_does_not_learn_whether_there_is_such_an_order(world: World, held: str) -> None:
    wrong = [
        world.ports.tokens.issue(held, 2),
        world.ports.tokens.issue("another", 1),
        CLIENT,
        LAUNCHER,
        "caf\u00e9",
        "",
    ]
    for token in wrong:
        responses = [
            world.post(f"/v1/callbacks/{order_id}", {"event": "started", "epoch": 1}, token)
            for order_id in (held, "no-such-order")
        ]
        assert [response.status_code for response in responses] == [401, 401]
        assert responses[0].get_data() == responses[1].get_data()

    assert world.order(held).state is State.CLAIMED


def test_a_workers_token_opens_nothing_else(world: World, held: str) -> None:
    token = world.ports.tokens.issue(held, 1)

    assert world.get(f"/v1/orders/{held}", token).status_code == 401
    assert world.post("/v1/sweeps", {}, token).status_code == 401


def test_a_capacity_orders_worker_only_starts_or_fails(world: World, machine: str) -> None:
    assert world.call_back(machine, "upload", **OUTPUT).status_code == 409
    assert world.call_back(machine, "completed", **OUTPUT).status_code == 409
    assert world.call_back(machine, "started").get_json()["state"] == "running"


def test_a_file_name_that_leaves_its_directory_is_refused(world: World, held: str) -> None:
    for file_name in ("../2/mods.xml", "a/b", ".hidden", "mods.xml\n", "", "a\u0000"):
        response = world.call_back(held, "upload", **(OUTPUT | {"file_name": file_name}))
        assert response.status_code == 422
        assert response.get_json()["errors"][0]["field"] == "file_name"
