"""A task in a real machine of the local stack tries to reach its host; its upload, and an export beside it, work."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psutil
import pytest

from emulators.mods import validate
from emulators.settings import BackendChoice, ProviderChoice
from shared.domain.order import State
from shared.domain.spec import AnySpec, ExportSpec, TaskSpec
from shared.wire.orders import OrderView
from tests.harness.stack import Stack, in_state, stack_of
from tests.security import guest_attempts

pytestmark = [pytest.mark.vm, pytest.mark.emulator, pytest.mark.slow]

GATEWAY: Final = "10.0.2.2"
PI: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
ENDED: Final = in_state(State.SUCCEEDED, State.FAILED)
CHUNK: Final = 1000
RUN: Final = "import sys; exec(''.join(sys.argv[2 : 2 + int(sys.argv[1])]))"
"""An argument of a task has 1,024 characters at most, so the program comes in several, and so does what it tries."""
ELSEWHERE: Final = ("169.254.169.254", "10.1.2.3", "192.168.0.1", "172.16.0.1", "168.63.129.16")
"""A cloud's metadata, private networks, and a metadata service that looks public."""


class Canary:
    """A server on this host's loopback that counts its connections."""

    def __init__(self, listening: socket.socket) -> None:
        self.port: int = listening.getsockname()[1]
        self.connections = 0
        self._listening = listening

    def serve(self) -> None:
        with suppress(OSError):  # the socket is closed at the end
            while True:
                self._listening.accept()[0].close()
                self.connections += 1


@contextmanager
def a_canary(address: str) -> Iterator[Canary]:
    with socket.create_server((address, 0)) as listening:
        canary = Canary(listening)
        thread = threading.Thread(target=canary.serve, daemon=True)
        thread.start()
        yield canary
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_task_reaches_nothing_of_its_host_and_its_upload_and_an_export_work(
    guest_image: Path, tmp_path: Path
) -> None:
    with (
        stack_of(tmp_path / "stack", ProviderChoice.QEMU, BackendChoice.GOOGLE, guest_image.parent) as stack,
        a_canary("0.0.0.0") as canary,  # noqa: S104 (on purpose: at every address of this host)
    ):
        allowed = allowed_ports(stack)
        ports = sorted(listening_ports() - allowed)
        own = own_addresses()
        direct = [
            *((GATEWAY, port) for port in ports),
            *((host, port) for host in own for port in (canary.port, *allowed)),
            *((host, port) for host in ELSEWHERE for port in (80, 443)),
        ]
        proxied = [
            *(("127.0.0.1", port) for port in ports),
            *((host, canary.port) for host in ("localhost", "127.1", "2130706433", "0x7f.1", "0", "0.0.0.0")),  # noqa: S104
            *((host, canary.port) for host in ("::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", *own)),
            *((host, canary.port) for host in (socket.gethostname(), "127.0.0.53", "fe80::1", "fd00:ec2::254")),
            *((host, 80) for host in ELSEWHERE),
        ]
        assert {store_port(stack), canary.port} <= set(ports)

        export = create(stack, ExportSpec(pi=PI))
        task = create(stack, TaskSpec(command=command(direct, proxied)))
        tried, exported = (stack.await_order(order, ENDED) for order in (task, export))

        assert tried.state is State.SUCCEEDED, tried.message
        assert output(stack, tried, tmp_path) == {
            "direct": [],
            "proxied": [],
            "control plane": 200,
            "tried": len(direct) + 2 * len(proxied),
        }
        assert canary.connections == 0
        assert exported.state is State.SUCCEEDED, exported.message
        stack.api.download_output(exported, tmp_path / "record.xml")
        assert validate(tmp_path / "record.xml") == []


def command(direct: list[tuple[str, int]], proxied: list[tuple[str, int]]) -> tuple[str, ...]:
    program, tries = in_chunks(Path(guest_attempts.__file__).read_text()), in_chunks(json.dumps([direct, proxied]))
    return ("python3", "-c", RUN, str(len(program)), *program, *tries)


def in_chunks(text: str) -> list[str]:
    return [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]


def create(stack: Stack, spec: AnySpec) -> str:
    return stack.api.create_order(spec, str(uuid4())).id


def output(stack: Stack, order: OrderView, folder: Path) -> Any:
    stack.api.download_output(order, folder / "reached.json")
    return json.loads((folder / "reached.json").read_text())


def allowed_ports(stack: Stack) -> set[int]:
    """Return the ports that machines of the local stack reach: the control plane's, the bucket's and the source's."""
    names = ("LAUNCHYARD_URL", "LAUNCHYARD_S3_ENDPOINT", "LAUNCHYARD_SOURCE_API")
    return {int(stack.environment[name].rpartition(":")[2]) for name in names}


def store_port(stack: Stack) -> int:
    return int(stack.environment["FIRESTORE_EMULATOR_HOST"].rpartition(":")[2])


def listening_ports() -> set[int]:
    """Return every port on which anything on this host listens: the bucket's back door is one of them."""
    return {one.laddr.port for one in psutil.net_connections("tcp") if one.laddr and one.status == psutil.CONN_LISTEN}


def own_addresses() -> list[str]:
    """Return this host's IPv4 addresses that are not of its loopback."""
    addresses = (one for addresses in psutil.net_if_addrs().values() for one in addresses)
    return [one.address for one in addresses if one.family == socket.AF_INET and not one.address.startswith("127.")]
