"""Connects a machine in a network of its own to what it is allowed to reach, and to nothing else.

It runs in its launcher's network, beside the machine, and ends with it. It gets listening sockets of the machine's
network: one for an HTTP proxy, and one for each allowed endpoint of this host's loopback. It imports only the standard
library.
"""

import json
import os
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

from launcher.host.confine import CONTROL, MACHINE, READY
from launcher.host.confinement import Reach, parse_reach
from launcher.host.privileges import drop, hide_memory
from shared.public_address import is_loopback

Run = Callable[[Reach, socket.socket, Sequence[tuple[tuple[str, int], socket.socket]], int], None]

MAX_SOCKETS: Final = 253
"""How many descriptors one message can carry (unix(7))."""
MAX_DESCRIPTORS: Final = 1024
"""Two for each connection, and some for looking up names."""


def main(arguments: Sequence[str]) -> None:
    asked = json.loads(arguments[0])
    reach = parse_reach(asked["reach"])
    hide_memory()
    with socket.socket(fileno=CONTROL) as control:
        _, descriptors, _, _ = socket.recv_fds(control, 16, MAX_SOCKETS)
        listening = [socket.socket(fileno=one) for one in descriptors]
        if not listening:
            sys.exit("The machine has ended before its network was made.")
        control.sendall(READY)  # before what takes longer: connections wait at the sockets meanwhile
    run = _imported()
    _confine(asked["user"])
    endpoints = [endpoint for endpoint in reach.endpoints if is_loopback(endpoint[0])]
    run(reach, listening[0], list(zip(endpoints, listening[1:], strict=True)), MACHINE)


def _imported() -> Run:
    """Import what serves, with all that it imports only when it is used: the user may not read Python's files."""
    import concurrent.futures.thread  # noqa: F401
    import encodings.idna  # noqa: F401

    from launcher.host.forwarding import run

    return run


def _confine(user: tuple[int, int] | None) -> None:
    """Give up all rights before anything is served. Raises OSError."""
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS, MAX_DESCRIPTORS))
    drop(*(user or (None, None)))
    hide_memory()
