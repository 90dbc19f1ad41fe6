"""What succeeded stays as it is: no grant and no credential that is still valid replaces an output."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import pytest
from botocore.credentials import Credentials

from emulators.s3_backend import MotoBackend
from functions.adapters.bucket_credentials import Issuer
from functions.adapters.s3 import S3Bucket
from functions.domain.events import Succeed
from functions.domain.multipart import MIB
from functions.domain.order import Order, Output
from functions.ports.outputs import PresignedUpload
from functions.ports.worker_credentials import WorkerCredentials
from shared.domain.order import State
from tests.factories import EXPORT
from tests.functions.exports.client import FILE, NAME, Machine, launch, of_images
from tests.functions.world import World
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS
from tests.local_r2 import PARENT, LocalR2, local_r2, refusal

ACCEPTED: Final = b"what the order's worker left"
OTHER: Final = b"<script>what somebody else left</script>"
BUCKET: Final = "outputs-of-security"
Fields = dict[str, Any]


def fields(body: bytes, content_type: str = "application/pdf") -> Fields:
    sha256 = hashlib.sha256(body).hexdigest()
    return {"file_name": "a.pdf", "content_type": content_type, "size": len(body), "sha256": sha256}


@pytest.fixture
def r2(world: World, moto: MotoBackend) -> Iterator[LocalR2]:
    """A bucket as strict as R2, in which the control plane of this test keeps its outputs."""
    world.clock.now = datetime.now(UTC)  # by which credentials of the bucket expire
    with local_r2(moto, BUCKET) as found:
        keys = PARENT.access_key, PARENT.secret_key
        issuer = Issuer(f"s3://{BUCKET}", found.endpoint, "local", *keys, WorkerCredentials.TEMPORARY)
        world.ports = replace(world.ports, bucket=S3Bucket(found.client(), BUCKET), issuer=issuer)
        yield found


@pytest.fixture
def held(world: World) -> str:
    order_id: str = world.place(EXPORT)["id"]
    world.claim(order_id)
    return order_id


def granted(world: World, order_id: str, body: bytes, content_type: str = "application/pdf") -> PresignedUpload:
    answer = world.call_back(order_id, "upload", **fields(body, content_type))
    return PresignedUpload(**answer.get_json()["upload"])


def put(upload: PresignedUpload, body: bytes, **headers: str) -> int:
    return plain_http.put(
        upload.url, headers={**upload.headers, **headers}, content=body, timeout=ANSWER_SECONDS
    ).status_code


def served(world: World, order_id: str) -> httpx.Response:
    """Return what a client gets that follows the redirect and compares nothing."""
    location = world.get(f"/v1/orders/{order_id}/output").headers["Location"]
    return plain_http.get(location, timeout=ANSWER_SECONDS)


@pytest.mark.parametrize(
    ("body", "content_type"), [(OTHER, "application/pdf"), (ACCEPTED, "text/html")], ids=["bytes", "type"]
)
def test_a_second_grant_does_not_replace_an_output(
    world: World, held: str, r2: LocalR2, body: bytes, content_type: str
) -> None:
    first, second = granted(world, held, ACCEPTED), granted(world, held, body, content_type)
    assert put(first, ACCEPTED) == 200
    assert world.call_back(held, "completed", **fields(ACCEPTED)).get_json()["state"] == "succeeded"

    assert put(second, body) == 200

    answer = served(world, held)
    assert (answer.content, answer.headers["content-type"]) == (ACCEPTED, "application/pdf")


def test_an_output_of_another_type_than_was_granted_is_not_accepted(world: World, held: str, r2: LocalR2) -> None:
    assert put(granted(world, held, ACCEPTED, "text/html"), ACCEPTED) == 200

    assert world.call_back(held, "completed", **fields(ACCEPTED)).status_code == 409
    assert world.order(held).state is State.CLAIMED


def test_parts_that_are_sent_late_do_not_replace_an_output(world: World, held: str) -> None:
    large = [b"12 bytes of " * MIB, b"other bytes " * MIB]
    first, second = (world.call_back(held, "upload_parts", **_terms(body)).get_json()["parts"] for body in large)
    for part in first["parts"]:
        assert _send(world, part, large[0])
    completed = {**fields(large[0]), "upload_id": first["upload_id"]}
    assert world.call_back(held, "completed", **completed).get_json()["state"] == "succeeded"

    sent = [_send(world, part, large[1]) for part in second["parts"]]
    joined = world.call_back(held, "completed", **fields(large[1]), upload_id=second["upload_id"])

    assert (sent, joined.status_code) == ([False] * 3, 409)
    assert fetched(world, held) == large[0]


def _terms(body: bytes) -> Fields:
    return {name: value for name, value in fields(body).items() if name != "file_name"}


def _send(world: World, part: Fields, body: bytes) -> bool:
    upload = PresignedUpload(part["url"], part["headers"])
    return world.bucket.put(upload, body[part["offset"] : part["offset"] + part["size"]])


def fetched(world: World, order_id: str) -> bytes:
    return world.bucket.fetch(world.get(f"/v1/orders/{order_id}/output").headers["Location"])


def test_what_was_uploaded_beside_an_output_goes_with_it(world: World, held: str) -> None:
    first, second = granted(world, held, ACCEPTED), granted(world, held, OTHER)
    assert world.bucket.put(first, ACCEPTED)
    world.call_back(held, "completed", **fields(ACCEPTED))
    assert world.bucket.put(second, OTHER)
    assert len(world.bucket.keys()) == 2

    world.clock.now += world.order(held).limits.keep
    world.sweep()

    assert world.bucket.keys() == []


def test_an_output_under_a_key_of_an_earlier_version_is_served_and_removed(world: World, held: str) -> None:
    key = f"outputs/{held}/1"
    world.bucket.store(key, ACCEPTED)
    output = Output(key, "a.pdf", "application/pdf", len(ACCEPTED), hashlib.sha256(ACCEPTED).hexdigest())
    world.ports.store.apply(held, Succeed("of an earlier version", 1, output, {}), world.clock.now)

    assert fetched(world, held) == ACCEPTED
    assert world.delete(f"/v1/orders/{held}").status_code == 204
    assert world.bucket.keys() == []


@pytest.fixture
def machine(world: World, r2: LocalR2) -> Machine:
    """A machine of an image, with credentials of its own for the bucket."""
    of_images(world)
    return launch(world)


def upload(machine: Machine, r2: LocalR2, body: bytes, key: str | None = None) -> None:
    given = machine.environment
    credentials = Credentials(given["R2_ACCESS_KEY_ID"], given["R2_SECRET_ACCESS_KEY"], given["R2_SESSION_TOKEN"])
    r2.client(credentials).put_object(
        Bucket=given["R2_BUCKET"], Key=key or machine.key, Body=body, ContentType="text/html", ContentEncoding="br"
    )


@pytest.mark.parametrize("path", ["/download/{}", "/download/{}?stream=true", "/v1/orders/{}/output"])
def test_an_image_does_not_replace_its_output(world: World, machine: Machine, r2: LocalR2, path: str) -> None:
    upload(machine, r2, FILE)
    assert machine.call_back(machine.success()).status_code == 200

    upload(machine, r2, OTHER)

    answer = world.get(path.format(machine.task_id))
    if answer.status_code in (302, 307):
        found = plain_http.get(answer.headers["Location"], timeout=ANSWER_SECONDS)
        content, headers = found.content, found.headers
    else:
        content, headers = answer.get_data(), httpx.Headers(dict(answer.headers))
    assert (content, headers["content-type"]) == (FILE, "application/xml")
    assert headers.get("content-encoding") is None


def test_an_images_credentials_do_not_reach_its_output(world: World, machine: Machine, r2: LocalR2) -> None:
    upload(machine, r2, FILE)
    machine.call_back(machine.success())
    key = _output(world.order(machine.task_id)).key

    assert refusal(lambda: upload(machine, r2, OTHER, key)) == (403, "AccessDenied")


def test_a_dead_attempt_of_an_image_does_not_replace_the_output_of_a_later_one(
    world: World, machine: Machine, r2: LocalR2
) -> None:
    world.lapse(machine.task_id)
    second = launch(world, machine.task_id, epoch=2)
    upload(second, r2, FILE)
    assert second.call_back(second.success()).status_code == 200

    upload(machine, r2, OTHER)

    assert served(world, machine.task_id).content == FILE


def test_an_image_that_reports_twice_at_once_leaves_the_output_that_was_accepted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second report copies the object again, after the first was accepted and the object was replaced."""
    of_images(world)
    machine = launch(world)
    world.bucket.store(machine.key, FILE)
    copied = world.bucket.copy

    def copy_slowly(source: str, target: str, content_type: str) -> int | None:
        monkeypatch.setattr(world.bucket, "copy", copied)
        assert machine.call_back(machine.success()).status_code == 200
        world.bucket.store(machine.key, OTHER)
        return copied(source, target, content_type)

    monkeypatch.setattr(world.bucket, "copy", copy_slowly)
    machine.call_back(machine.success())

    assert fetched(world, machine.task_id) == FILE


def test_a_client_learns_the_key_that_its_image_reported(world: World) -> None:
    of_images(world)
    machine = launch(world)
    machine.finish()

    found = world.get(f"/status/{machine.task_id}").get_json()["output_r2_key"]
    assert found == f"exports/{machine.task_id}/{NAME}"


def _output(order: Order) -> Output:
    assert order.output is not None
    return order.output
