"""A worker whose epoch is over can change nothing of the order, and can write no object but its own."""

import hashlib
from typing import Any

from functions.ports.outputs import PresignedUpload
from tests.functions.world import World


def an_output(content: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"file_name": "output.log", "content_type": "text/plain", "size": len(content), "sha256": sha256}


def grant(world: World, order_id: str, epoch: int, content: bytes) -> PresignedUpload:
    answer = world.call_back(order_id, "upload", epoch, **an_output(content)).get_json()
    return PresignedUpload(**answer["upload"])


def test_an_upload_granted_to_an_epoch_that_is_over_does_not_reach_the_output_of_the_next(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    late = grant(world, order_id, 1, b"of the first attempt")
    world.lapse(order_id)
    world.claim(order_id)
    assert world.bucket.put(grant(world, order_id, 2, b"of the second"), b"of the second")
    world.call_back(order_id, "completed", 2, **an_output(b"of the second"))

    world.bucket.put(late, b"of the first attempt")

    location = world.get(f"/v1/orders/{order_id}/output").headers["Location"]
    assert world.bucket.fetch(location) == b"of the second"


def test_the_upload_of_an_epoch_that_is_over_is_not_the_output_of_the_next(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    assert world.bucket.put(grant(world, order_id, 1, b"done"), b"done")
    world.lapse(order_id)
    world.claim(order_id)

    assert world.call_back(order_id, "completed", 2, **an_output(b"done")).status_code == 409
    assert world.order(order_id).state == "claimed"


def test_a_first_attempts_worker_cannot_complete_with_the_second_ones_output(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    world.lapse(order_id)
    world.claim(order_id)
    world.bucket.put(grant(world, order_id, 2, b"done"), b"done")

    assert world.call_back(order_id, "completed", 1, **an_output(b"done")).status_code == 409
    assert world.order(order_id).state == "claimed"
