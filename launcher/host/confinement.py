"""What confines a machine's process, as an argument of confine.py: a user, a network, and files by descriptor.

It imports only the standard library: confine.py and forwarder.py read it in a bare Python.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

PROXY_PORT: Final = 3128
"""Where a machine in a network of its own finds the HTTP proxy, on its network's loopback."""
PACKAGES: Final = str(Path(__file__).absolute().parents[2])


@dataclass(frozen=True, slots=True)
class PassedFile:
    """A file that the machine's process gets as `descriptor`: it may not open it by its path.

    `how`: `read`, `write` (both), `copy` (a private copy in memory, which any user can open again), or `listen` (a
    Unix socket that is made here, relative to the working directory).
    """

    descriptor: int
    path: str
    how: str = "read"


@dataclass(frozen=True, slots=True)
class User:
    """The user, its group, and further groups, by number. `forwarder` is the user of the machine's forwarder."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    forwarder: int


@dataclass(frozen=True, slots=True)
class Reach:
    """What a machine in a network of its own reaches, through its forwarder.

    `endpoints` are pairs of host and port; those of the loopback are also reached directly, at the same port.
    `networks` are addresses and networks. `public`: whether any public address is reached, too.
    """

    endpoints: tuple[tuple[str, int], ...] = ()
    networks: tuple[str, ...] = ()
    public: bool = True


@dataclass(frozen=True, slots=True)
class Confinement:
    """`user` is None if the process keeps its launcher's; `reach` is None if it stays in its launcher's network."""

    user: User | None = None
    reach: Reach | None = None
    files: tuple[PassedFile, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


def command(confinement: Confinement, program: Sequence[str]) -> tuple[str, ...]:
    """Return the argv that becomes `program`, an absolute path and its arguments, once it is confined.

    Without a program, it only tries: it ends with 0, or with 1 and the reason on standard error.
    """
    return (*python("launcher.host.confine"), confinement.to_json(), *program)


def python(module: str) -> tuple[str, ...]:
    """Return the argv that runs `main` of a module in a bare Python, which starts in a few milliseconds."""
    program = f"import sys; sys.path.append({PACKAGES!r}); from {module} import main; main(sys.argv[1:])"
    return (sys.executable, "-I", "-S", "-c", program)


def parse(document: str) -> Confinement:
    read: dict[str, Any] = json.loads(document)
    user, reach = read["user"], read["reach"]
    return Confinement(
        user=user and User(user["uid"], user["gid"], tuple(user["groups"]), user["forwarder"]),
        reach=reach and parse_reach(reach),
        files=tuple(PassedFile(**file) for file in read["files"]),
    )


def parse_reach(read: dict[str, Any]) -> Reach:
    endpoints = tuple((str(host), int(port)) for host, port in read["endpoints"])
    return Reach(endpoints, tuple(read["networks"]), read["public"])
