"""Large outputs: how their parts are granted, resumed, joined, fenced, and removed if the upload is given up."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from functions.domain.multipart import MIB
from functions.domain.order import output_key
from functions.domain.refusals import Unavailable
from functions.ports.outputs import PresignedUpload, UploadTerms
from shared.domain.order import State
from shared.wire.workers import MAX_OUTPUT_BYTES
from tests.factories import CAPACITY, EXPORT
from tests.functions.world import World
from tests.meanwhile import Meanwhile
from tests.memory_bucket import MemoryPartUploads

BODY: Final = b"12 bytes of " * MIB
"""Three parts in this world: 5, 5 and 2 MiB."""
ASKED: Final[dict[str, Any]] = {
    "content_type": "application/xml",
    "size": len(BODY),
    "sha256": hashlib.sha256(BODY).hexdigest(),
}
OUTPUT: Final[dict[str, Any]] = {"file_name": "large.xml", **ASKED}
RETRYABLE: Final[dict[str, Any]] = {"reason": "program_failed", "message": "", "failure": "retryable"}


@pytest.fixture
def held(world: World) -> str:
    """An export that is held at epoch 1."""
    order_id: str = world.place(EXPORT)["id"]
    world.claim(order_id)
    return order_id


@pytest.fixture
def uploads(world: World) -> MemoryPartUploads:
    return world.bucket.part_uploads


def key_of(order_id: str, epoch: int) -> str:
    return output_key(order_id, epoch, ASKED["sha256"], ASKED["content_type"])


def ask(world: World, order_id: str, epoch: int = 1, **fields: Any) -> dict[str, Any]:
    """Return the granted parts."""
    answer = world.call_back(order_id, "upload_parts", epoch, **(ASKED | fields))
    assert answer.status_code == 200, answer.text
    granted: dict[str, Any] = answer.get_json()["parts"]
    return granted


def numbers(granted: dict[str, Any]) -> list[int]:
    return [part["number"] for part in granted["parts"]]


def send(world: World, granted: dict[str, Any], *wanted: int) -> None:
    """Upload these parts of those that were granted; without numbers, all."""
    for part in granted["parts"]:
        if not wanted or part["number"] in wanted:
            body = BODY[part["offset"] : part["offset"] + part["size"]]
            assert world.bucket.put(PresignedUpload(part["url"], part["headers"]), body)


def complete(world: World, order_id: str, upload_id: str | None, epoch: int = 1, **fields: Any) -> Any:
    return world.call_back(order_id, "completed", epoch, **(OUTPUT | fields), upload_id=upload_id)


def test_an_output_in_parts_completes_its_order_and_leaves_no_open_upload(
    world: World, held: str, uploads: MemoryPartUploads
) -> None:
    granted = ask(world, held)
    assert numbers(granted) == [1, 2, 3]
    send(world, granted)
    assert ask(world, held, upload_id=granted["upload_id"]) == {
        "upload_id": granted["upload_id"],
        "missing": 0,
        "parts": [],
    }

    answer = complete(world, held, granted["upload_id"])

    assert answer.get_json() == {"state": "succeeded", "upload": None}
    assert world.view(held)["output"] == OUTPUT
    location = world.get(f"/v1/orders/{held}/output").headers["Location"]
    assert world.bucket.fetch(location) == BODY
    assert uploads.open_uploads() == []


def test_the_parts_that_are_there_are_not_granted_again(world: World, held: str) -> None:
    granted = ask(world, held)
    send(world, granted, 1, 3)

    resumed = ask(world, held, upload_id=granted["upload_id"])

    assert (resumed["upload_id"], resumed["missing"], numbers(resumed)) == (granted["upload_id"], 1, [2])


def test_a_hundred_parts_are_granted_at_a_time_for_15_minutes(world: World, held: str) -> None:
    size = 250 * 5 * MIB
    granted = ask(world, held, size=size)

    assert (granted["missing"], numbers(granted)) == (250, [*range(1, 101)])
    first = granted["parts"][0]
    world.clock.now += timedelta(minutes=15)
    upload = PresignedUpload(first["url"], first["headers"])
    assert world.bucket.put(upload, bytes(first["size"]))
    world.clock.now += timedelta(seconds=1)
    assert not world.bucket.put(upload, bytes(first["size"]))
    following = ask(world, held, size=size, upload_id=granted["upload_id"])
    assert (following["missing"], numbers(following)) == (249, [*range(2, 102)])


def test_two_workers_of_one_epoch_never_mix_their_parts(world: World, held: str) -> None:
    """A launcher that died at a start may have started the machine twice, and their outputs differ in a time."""
    one, other = ask(world, held), ask(world, held, sha256="0" * 64)

    assert one["upload_id"] != other["upload_id"]
    send(world, other)
    assert ask(world, held, upload_id=one["upload_id"])["missing"] == 3


def test_an_upload_that_is_gone_is_begun_anew(world: World, held: str, uploads: MemoryPartUploads) -> None:
    granted = ask(world, held)
    send(world, granted, 1)
    uploads.abort(f"outputs/{held}/1")

    again = ask(world, held, upload_id=granted["upload_id"])

    assert again["upload_id"] != granted["upload_id"]
    assert again["missing"] == 3


def test_what_one_request_can_upload_is_granted_in_one(world: World, held: str) -> None:
    answer = world.call_back(held, "upload_parts", **(ASKED | {"size": 8 * MIB})).get_json()

    assert "parts" not in answer
    assert answer["upload"]["headers"]["content-length"] == str(8 * MIB)


def test_a_bucket_without_parts_grants_one_upload_of_any_size(
    world: World, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.bucket, "part_uploads", None)

    answer = world.call_back(held, "upload_parts", **(ASKED | {"size": MAX_OUTPUT_BYTES})).get_json()

    assert answer["upload"]["headers"]["content-length"] == str(MAX_OUTPUT_BYTES)


def test_an_output_larger_than_an_object_may_be_is_refused(world: World, held: str) -> None:
    answer = world.call_back(held, "upload_parts", **(ASKED | {"size": MAX_OUTPUT_BYTES + 1}))

    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "size"


def test_a_missing_part_completes_nothing(world: World, held: str) -> None:
    granted = ask(world, held)
    send(world, granted, 1, 3)

    answer = complete(world, held, granted["upload_id"])

    assert answer.status_code == 409
    assert "2 of the output's 3 parts" in answer.get_json()["detail"]
    assert world.order(held).state is State.CLAIMED
    send(world, granted, 2)
    assert complete(world, held, granted["upload_id"]).status_code == 200


def test_another_sha256_than_the_declared_one_completes_nothing(world: World, held: str) -> None:
    granted = ask(world, held)
    send(world, granted)

    answer = complete(world, held, granted["upload_id"], sha256="0" * 64)

    assert answer.status_code == 409
    assert world.order(held).state is State.CLAIMED


def test_a_completion_whose_record_failed_is_repeated(world: World, held: str, meanwhile: Meanwhile) -> None:
    granted = ask(world, held)
    send(world, granted)
    meanwhile(world.ports.store, "apply", unavailable)
    assert complete(world, held, granted["upload_id"]).status_code == 503

    answers = [complete(world, held, granted["upload_id"]) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].get_data() == answers[1].get_data()


def test_a_stale_worker_is_granted_no_parts_and_joins_none(world: World, held: str, uploads: MemoryPartUploads) -> None:
    granted = ask(world, held)
    send(world, granted)
    world.lapse(held)
    world.claim(held)
    later = ask(world, held, epoch=2)

    for event, fields in (("upload_parts", ASKED), ("completed", OUTPUT)):
        answer = world.call_back(held, event, 1, **fields, upload_id=granted["upload_id"])
        assert (event, answer.status_code) == (event, 409)

    assert world.bucket.keys() == []
    assert uploads.find(key_of(held, 2), later["upload_id"]) == {}


def test_another_epochs_upload_is_not_continued(world: World, held: str) -> None:
    granted = ask(world, held)
    send(world, granted)
    world.lapse(held)
    world.claim(held)

    assert ask(world, held, epoch=2, upload_id=granted["upload_id"])["missing"] == 3


def test_a_capacity_order_has_no_parts(world: World) -> None:
    order_id = world.place(CAPACITY)["id"]
    world.claim(order_id)

    assert world.call_back(order_id, "upload_parts", **ASKED).status_code == 409


def unavailable() -> None:
    raise Unavailable("Out of reach, for the test.")


def fail(world: World, order_id: str) -> None:
    world.call_back(order_id, "failed", **RETRYABLE)


def lapse(world: World, order_id: str) -> None:
    world.lapse(order_id)


@pytest.mark.parametrize("end", [fail, lapse])
def test_an_epoch_that_ends_leaves_no_open_upload(
    world: World, held: str, uploads: MemoryPartUploads, end: Callable[[World, str], None]
) -> None:
    world.call_back(held, "started")
    send(world, ask(world, held), 1)

    end(world, held)

    assert world.order(held).state is State.QUEUED
    assert uploads.open_uploads() == []


def test_an_order_whose_machine_was_lost_for_the_last_time_leaves_no_open_upload(
    world: World, held: str, uploads: MemoryPartUploads
) -> None:
    for epoch in range(1, world.order(held).max_attempts + 1):
        world.call_back(held, "started", epoch)
        ask(world, held, epoch)
        world.update(held, "machine_gone", epoch, exit_code=1, message="")
        world.clock.now += timedelta(minutes=20)
        world.claim(held)

    assert world.order(held).state is State.FAILED
    assert uploads.open_uploads() == []


def test_a_bucket_that_does_not_answer_holds_up_no_report(
    world: World, held: str, uploads: MemoryPartUploads, meanwhile: Meanwhile
) -> None:
    send(world, ask(world, held), 1)
    meanwhile(uploads, "abort", unavailable)
    fail(world, held)
    assert world.order(held).state is State.QUEUED
    assert uploads.open_uploads() == [key_of(held, 1)]

    world.clock.now += timedelta(minutes=2)
    world.claim(held)
    ask(world, held, epoch=2)

    assert uploads.open_uploads() == [key_of(held, 2)]


def test_a_small_output_of_a_later_epoch_leaves_no_upload_of_an_earlier_one(
    world: World, held: str, uploads: MemoryPartUploads
) -> None:
    world.lapse(held)
    uploads.begin(UploadTerms(key_of(held, 1), "text/plain", len(BODY), "0" * 64))
    world.claim(held)
    small = {**OUTPUT, "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    granted = world.call_back(held, "upload", 2, **small).get_json()["upload"]
    world.bucket.put(PresignedUpload(granted["url"], granted["headers"]), b"x")

    assert world.call_back(held, "completed", 2, **small).status_code == 200

    assert uploads.open_uploads() == []


def test_a_discarded_order_leaves_no_open_upload(world: World, held: str, uploads: MemoryPartUploads) -> None:
    send(world, ask(world, held), 1)
    world.update(held, "failed", reason="image_rejected", message="", failure="permanent")
    uploads.begin(UploadTerms(key_of(held, 1), "text/plain", len(BODY), "0" * 64))  # by a request that was late

    world.clock.now += world.order(held).limits.keep
    world.sweep()

    assert world.order(held).discarded_at is not None
    assert uploads.open_uploads() == []


def test_a_purged_order_leaves_no_open_upload(world: World, held: str, uploads: MemoryPartUploads) -> None:
    world.update(held, "failed", reason="image_rejected", message="", failure="permanent")
    uploads.begin(UploadTerms(key_of(held, 1), "text/plain", len(BODY), "0" * 64))

    assert world.delete(f"/v1/orders/{held}").status_code == 204

    assert uploads.open_uploads() == []
