"""One order from its POST to its end, over HTTP and in one process."""

import hashlib

import pytest

from functions.ports.outputs import PresignedUpload
from tests.factories import CAPACITY, EXPORT
from tests.functions.world import LAUNCHER, World

RECORD = b"<mods><titleInfo><title>A title</title></titleInfo></mods>"


def test_an_export_goes_from_its_order_to_its_output(world: World) -> None:
    order_id = world.place(EXPORT)["id"]
    claimed = world.claim_next()
    assert claimed is not None
    token, epoch = claimed["callback_token"], claimed["epoch"]
    world.update(order_id, "provisioning", epoch, vm="export-1")

    def report(event: str, **fields: object) -> dict[str, object]:
        response = world.post(f"/v1/callbacks/{order_id}", {"event": event, "epoch": epoch, **fields}, token)
        assert response.status_code == 200, response.text
        answer: dict[str, object] = response.get_json()
        return answer

    output = {
        "file_name": "record.xml",
        "content_type": "application/xml",
        "size": len(RECORD),
        "sha256": hashlib.sha256(RECORD).hexdigest(),
    }
    report("started")
    granted = report("upload", **output)["upload"]
    assert isinstance(granted, dict)
    world.bucket.put(PresignedUpload(**granted), RECORD)
    report("completed", **output)

    location = world.get(f"/v1/orders/{order_id}/output").headers["Location"]
    assert world.bucket.fetch(location) == RECORD
    assert world.heartbeat((order_id, epoch))["stop"][0]["why"] == "finished"
    assert set(world.view(order_id)["entered"]) == {"queued", "claimed", "provisioning", "running", "succeeded"}


def test_a_machine_runs_until_its_client_cancels_the_order(world: World) -> None:
    order_id = world.place(CAPACITY)["id"]
    world.claim(order_id)
    world.update(order_id, "provisioning", vm="capacity-1")
    world.call_back(order_id, "started")
    assert world.heartbeat((order_id, 1))["stop"] == []

    world.post(f"/v1/orders/{order_id}/cancel")
    beat = world.heartbeat((order_id, 1))
    assert beat["stop"] == [{"order_id": order_id, "epoch": 1, "why": "cancelled"}]
    assert len(beat["renewed"]) == 1
    world.update(order_id, "stopped")

    view = world.view(order_id)
    assert (view["state"], view["reason"], view["vm"]) == ("succeeded", "released", "capacity-1")


@pytest.mark.parametrize(
    ("target", "served", "elsewhere"),
    [
        ("orders", "/v1/orders", "/v1/claims"),
        ("claim", "/v1/claims", "/v1/orders"),
        ("update", "/v1/heartbeats", "/v1/orders"),
        ("callback", "/v1/callbacks/x", "/v1/orders"),
        ("sweep", "/v1/sweeps", "/v1/orders"),
        ("capacity", "/admin/login", "/v1/orders"),
    ],
)
def test_each_entry_point_serves_its_own_routes_and_says_that_it_is_ready(
    world: World, served: str, elsewhere: str
) -> None:
    assert world.post(served, {}, LAUNCHER).status_code != 404
    assert world.post(elsewhere, {}, LAUNCHER).status_code == 404
    assert world.get("/v1/health", key="").get_json() == {"status": "ok"}
