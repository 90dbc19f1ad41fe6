"""Ports for servers that are started later."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from emulators.ports import BLOCK, PORTS, free_port
from emulators.processes import LOOPBACK
from emulators.settings import StackSettings, free_ports

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
ROOT = Path(__file__).parents[2]
TAKE = "import sys\nfrom emulators.ports import free_port\n"
TAKE += "print(*(free_port() for _ in range(640)), flush=True)\nsys.stdin.read()"


def test_a_free_port_is_outside_the_range_that_the_kernel_gives_to_clients() -> None:
    ports = [free_port() for _ in range(50)]

    assert max(ports) < int(RANGE.read_text().split()[0])
    assert len(set(ports)) == 50


def test_every_server_of_the_stack_is_given_a_port_of_its_own() -> None:
    ports = free_ports()

    assert ports.keys() == {name for name in StackSettings.model_fields if "port" in name.split("_")}
    assert len(set(ports.values())) == len(ports)
    assert StackSettings.model_validate(ports).model_dump().items() >= ports.items()


def test_no_two_processes_that_run_are_given_the_same_port() -> None:
    # 640 of 12,768 ports each: two that draw by themselves are as good as sure to draw some of the other's.
    pipe = subprocess.PIPE
    argv = [sys.executable, "-W", "error", "-c", TAKE]
    takers = [subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(2)]
    given = [set((taker.stdout or sys.stdin.buffer).readline().split()) for taker in takers]
    errors = [taker.communicate()[1] for taker in takers]

    assert errors == [b"", b""]
    assert [len(ports) for ports in given] == [640, 640]
    assert not given[0] & given[1]


def test_no_two_threads_are_given_the_same_port() -> None:
    with ThreadPoolExecutor(8) as pool:
        ports = list(pool.map(lambda _: free_port(), range(200)))

    assert len(set(ports)) == 200


def test_a_port_on_which_somebody_listens_is_not_given() -> None:
    reserved = PORTS.index(free_port()) // BLOCK * BLOCK  # by this process: nobody else counts on a port of this block
    with ExitStack() as squatters:
        taken = set()
        for port in PORTS[reserved : reserved + BLOCK]:
            squatter = squatters.enter_context(socket.socket())
            with suppress(OSError):  # a server's of an earlier test
                squatter.bind((LOOPBACK, port))
                squatter.listen()
            taken.add(port)

        assert not taken & {free_port() for _ in range(2 * BLOCK)}
