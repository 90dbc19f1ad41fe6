"""A worker with a large output, the control plane, and S3: what arrives if parts fail and answers are lost."""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import pytest
import stamina
from botocore.credentials import Credentials

from emulators.processes import stop
from emulators.s3_backend import REGION, a_backend, start_moto
from emulators.s3_proxy import CheckingProxy
from emulators.serving import serving
from functions.adapters.s3 import S3Bucket, s3_client
from functions.domain.multipart import MIB, PartLimits
from functions.domain.order import output_prefix
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from shared.guest.config import Sources, WorkerConfig
from tests.functions.world import World
from worker.logs import open_log
from worker.network import TRIES, Client, Direct
from worker.runtime import Worker

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LIMITS: Final = PartLimits(single=8 * MIB, smallest=5 * MIB)
LARGE: Final = b"0123456789a\n" * MIB
"""Three parts: 5, 5 and 2 MiB."""
PRINT: Final = TaskSpec(
    command=(sys.executable, "-c", f"import sys; sys.stdout.buffer.write(b'0123456789a\\n' * {MIB})")
)
BUCKET: Final = "outputs"
ACCESS_KEY: Final = "local"
SECRET: Final = "a secret of this test"

Fault = Callable[[httpx.Request], httpx.Response]


class Interfering(httpx.BaseTransport):
    """`faults` holds, by a part's number or a report's event, what happens to the next requests instead of sending."""

    def __init__(self) -> None:
        self._inner = Direct(None)
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.sent: list[str] = []

    @property
    def parts(self) -> list[int]:
        """The numbers of the parts, in the order in which they were sent."""
        return [int(name) for name in self.sent if name.isdecimal()]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.params.get("partNumber") or json.loads(request.read())["event"]
        self.sent.append(name)
        fault = self.faults[name].pop(0) if self.faults[name] else self.pass_on
        return fault(request)

    def pass_on(self, request: httpx.Request) -> httpx.Response:
        return self._inner.handle_request(request)

    def lose_the_answer(self, request: httpx.Request) -> httpx.Response:
        answer = self.pass_on(request)
        answer.read()
        answer.close()
        raise httpx.ReadError("Lost, for the test.")

    def close(self) -> None:
        self._inner.close()


def refuse(status: int) -> Fault:
    return lambda _: httpx.Response(status)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3Client"]:
    """A client of moto, behind the proxy that checks what moto does not."""
    backend = a_backend()
    server = start_moto(backend, tmp_path_factory.mktemp("moto"))
    proxy = CheckingProxy(backend, Credentials(ACCESS_KEY, SECRET), lambda: datetime.now(UTC))
    with serving(proxy) as endpoint:
        backend.create_bucket(BUCKET)
        client = s3_client(endpoint, REGION, ACCESS_KEY, SECRET)
        yield client
        client.close()
    proxy.close()
    stop(server)


@pytest.fixture
def held(world: World, s3: "S3Client") -> str:
    """A task with a large output, held at epoch 1, of a control plane whose outputs are on S3."""
    world.ports = replace(world.ports, bucket=S3Bucket(s3, BUCKET, LIMITS))
    order_id: str = world.place(PRINT)["id"]
    world.claim(order_id)
    return order_id


@pytest.fixture
def way(world: World) -> Iterator[Interfering]:
    """The worker's way to the control plane and to the bucket, without waits between tries."""
    way = Interfering()
    with stamina.set_testing(True, attempts=100, cap=True):
        yield way
    way.close()


def work(world: World, order_id: str, way: Interfering, folder: Path) -> int:
    """Run the order's worker, and return its exit code."""
    with serving(world.http.application) as url:
        config = WorkerConfig(
            order_id=order_id,
            epoch=1,
            control_plane=url,
            callback_token=world.ports.tokens.issue(order_id, 1),
            spec=PRINT,
            sources=Sources(api="http://127.0.0.1:9", ipfs="http://127.0.0.1:9"),
        )
        with Client(way) as http:
            return Worker(config, http, folder, open_log(config), large_bytes=LIMITS.single).run()


def assert_arrived(world: World, order_id: str, s3: "S3Client") -> None:
    """The order has succeeded with its whole output, and nobody pays for parts."""
    assert world.order(order_id).state is State.SUCCEEDED
    output = world.order(order_id).output
    assert output is not None
    assert s3.get_object(Bucket=BUCKET, Key=output.key)["Body"].read() == LARGE
    assert open_uploads(s3) == []


def open_uploads(s3: "S3Client") -> list[str]:
    return [found["Key"] for found in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


def test_a_large_output_arrives_in_parts(
    world: World, held: str, way: Interfering, s3: "S3Client", tmp_path: Path
) -> None:
    assert work(world, held, way, tmp_path) == 0

    assert way.sent == ["started", "upload_parts", "1", "2", "3", "upload_parts", "completed"]
    assert_arrived(world, held, s3)


def test_after_a_part_that_failed_the_missing_ones_are_sent(
    world: World, held: str, way: Interfering, s3: "S3Client", tmp_path: Path
) -> None:
    way.faults["2"] = [refuse(503)] * TRIES

    assert work(world, held, way, tmp_path) == 0

    assert way.parts == [1, *[2] * TRIES, 2, 3]
    assert_arrived(world, held, s3)


def test_a_part_whose_answers_were_lost_is_found_there(
    world: World, held: str, way: Interfering, s3: "S3Client", tmp_path: Path
) -> None:
    way.faults["2"] = [way.lose_the_answer] * TRIES

    assert work(world, held, way, tmp_path) == 0

    assert way.parts == [1, *[2] * TRIES, 3]
    assert_arrived(world, held, s3)


def test_a_part_whose_url_has_expired_gets_another(
    world: World, held: str, way: Interfering, s3: "S3Client", tmp_path: Path
) -> None:
    way.faults["2"] = [refuse(403)]

    assert work(world, held, way, tmp_path) == 0

    assert way.parts == [1, 2, 2, 3]
    assert_arrived(world, held, s3)


def test_an_upload_that_the_bucket_has_forgotten_is_begun_anew(
    world: World, held: str, way: Interfering, s3: "S3Client", tmp_path: Path
) -> None:
    def forget(_: httpx.Request) -> httpx.Response:
        S3Bucket(s3, BUCKET).part_uploads.abort(output_prefix(held, 1))
        return httpx.Response(404)  # S3's answer; moto's is 500

    way.faults["2"] = [forget]

    assert work(world, held, way, tmp_path) == 0

    assert way.parts == [1, 2, 1, 2, 3]
    assert_arrived(world, held, s3)


@pytest.mark.parametrize("report", ["upload_parts", "completed"])
def test_an_answer_of_the_control_plane_that_was_lost_is_asked_for_again(
    world: World, held: str, way: Interfering, s3: "S3Client", tmp_path: Path, report: str
) -> None:
    way.faults[report] = [way.lose_the_answer, refuse(503)]

    assert work(world, held, way, tmp_path) == 0

    assert way.parts == [1, 2, 3]
    assert_arrived(world, held, s3)


def test_a_bucket_that_takes_no_part_fails_the_attempt_and_keeps_none(
    world: World, held: str, way: Interfering, s3: "S3Client", tmp_path: Path
) -> None:
    way.faults["2"] = [refuse(403)] * 9

    assert work(world, held, way, tmp_path) == 0

    assert way.parts == [1, 2, 2, 2, 2]
    order = world.order(held)
    assert (order.state, order.reason) == (State.QUEUED, "upload_failed")
    assert order.message == "Part 2: The bucket refused the upload: 403 Forbidden"
    assert open_uploads(s3) == []
