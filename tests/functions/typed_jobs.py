"""Types `launchyard job …` over HTTP against the control plane's functions, and takes their jobs as a launcher does."""

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, Protocol

import pytest
from rich.console import Console
from werkzeug import Request, Response

from cli import main, view
from emulators.serving import serving
from functions.domain.events import Succeed
from functions.domain.order import Order
from functions.ports.outputs import PresignedUpload
from shared.domain.order import State
from tests.functions.world import CLIENT, World

MACHINE: Final = "vm-7"
LOG: Final = "Tidied up.\n\x1b]0;title\x07Ä\n".encode()


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Typed(Protocol):
    def __call__(self, *words: str, stdin: bytes = b"") -> Ended: ...


@pytest.fixture
def typed(world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    """Types `launchyard job …`, in a folder without a local stack, on a terminal that is 160 columns wide."""

    def run(*words: str, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["launchyard", "job", *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main.run()
        sys.stdout.flush()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, *capfd.readouterr())

    def bucket(request: Request) -> Response:
        return Response(world.bucket.read(request.path.removeprefix("/"), 0, 1 << 30))

    monkeypatch.setattr("functions.http.logs.sys", SimpleNamespace(stdout=io.StringIO()))  # the functions' own log
    monkeypatch.setattr(main, "exit_on_signals", lambda: None)  # pytest's own handlers stay
    monkeypatch.setattr(view, "out", Console(highlight=False, width=160))
    monkeypatch.setattr(view, "errors", Console(stderr=True, highlight=False))
    monkeypatch.setenv("LAUNCHYARD_CLIENT_KEY", CLIENT)
    with serving(world.http.application) as url, serving(Request.application(bucket)) as objects:
        monkeypatch.setenv("LAUNCHYARD_URL", url)
        monkeypatch.setattr(world.bucket, "presign_download", lambda key, *_: f"{objects}/{key}")
        yield run


def claim(world: World, job: str) -> None:
    assert world.claim(job) is not None


def run(world: World, job: str) -> None:
    claim(world, job)
    world.update(job, "provisioning", vm=MACHINE)
    assert world.call_back(job, "started").status_code == 200


def fail(world: World, job: str) -> None:
    run(world, job)
    why: dict[str, Any] = {
        "reason": "program_failed",
        "failure": "permanent",
        "message": "The executor ended with exit code 3.",
    }
    assert world.call_back(job, "failed", **why).status_code == 200


def complete(world: World, job: str, log: bytes = LOG) -> None:
    """Run the job to its end, and leave its log."""
    run(world, job)
    sha256 = hashlib.sha256(log).hexdigest()
    output: dict[str, Any] = {
        "file_name": "output.log",
        "content_type": "text/plain",
        "size": len(log),
        "sha256": sha256,
    }
    granted = world.call_back(job, "upload", **output).get_json()["upload"]
    assert world.bucket.put(PresignedUpload(**granted), log)
    assert world.call_back(job, "completed", **output).status_code == 200


def complete_without_log(world: World, job: str) -> None:
    """End the job as a launcher of the contract does, which uploads nothing."""
    if world.order(job).state is State.QUEUED:
        run(world, job)
    world.ports.store.apply(job, Succeed("completed@1", 1, None, {}), world.clock.now)


def stopping(world: World, job: str) -> None:
    run(world, job)
    world.post(f"/v1/orders/{job}/cancel")


def stopped(world: World, job: str) -> None:
    stopping(world, job)
    world.update(job, "stopped")


def expire(world: World, job: str) -> None:
    world.clock.now += timedelta(days=1)
    world.sweep()


def only_order(world: World) -> Order:
    (order,) = world.get("/v1/orders").get_json()["orders"]
    return world.order(order["id"])
