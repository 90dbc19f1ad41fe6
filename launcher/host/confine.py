"""Becomes a machine's program, confined: in a network of its own, as a user of its own, with files by descriptor.

    launcher's network                       the machine's network
    ------------------                       ---------------------
    forwarder  ── accepts on sockets of ──→  127.0.0.1:<port> of each allowed endpoint, 127.0.0.1:3128 (HTTP proxy)
        └── connects to what is allowed      QEMU, whose user network reaches nothing else

The forwarder is started first, because whoever is in the new network cannot make sockets of the old one. It imports
only the standard library, and runs as `python -I -S` (confinement.py).
"""

import array  # noqa: F401 (socket.send_fds imports it, perhaps as a user that may not read Python's files)
import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Final, NoReturn

from launcher.host.confinement import PROXY_PORT, PassedFile, Reach, User, parse, python
from launcher.host.privileges import PR_SET_DUMPABLE, call, drop
from shared.public_address import is_loopback

CLONE_NEWNET: Final = 0x40000000
CLONE_NEWUSER: Final = 0x10000000
SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1
INTERFACE: Final = "16sh14x"
"""The beginning of struct ifreq (netdevice(7)): a name and flags."""
LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 64
CONTROL, MACHINE = 3, 4
"""The forwarder's descriptors: of the socket on which it gets its listening sockets, and of the machine's process."""
READY: Final = b"ready"
FAILED: Final = 1


class NotConfined(Exception):
    """The process cannot be confined; the message says why, and what to do."""


def main(arguments: Sequence[str]) -> None:
    document, *program = arguments
    confinement = parse(document)
    try:
        binary = _opened_program(program[0]) if program else None
        _open_files(confinement.files)
        if confinement.reach is not None:
            _enter_network(confinement.reach, confinement.user)
        _become(confinement.user)
    except (NotConfined, OSError) as error:
        sys.exit(f"The machine cannot be confined: {error}")
    if binary is not None:
        for file in confinement.files:
            os.set_inheritable(file.descriptor, True)
        _execute(binary, program)


def _opened_program(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _open_files(files: Sequence[PassedFile]) -> None:
    """Open each file at its descriptor. Raises OSError."""
    for file in files:
        opened = _opened(file)
        os.dup2(opened, file.descriptor, inheritable=False)  # the forwarder gets none of them
        os.close(opened)


def _opened(file: PassedFile) -> int:
    if file.how == "listen":
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(FileNotFoundError):
            os.unlink(file.path)
        listening.bind(file.path)
        listening.listen(1)
        return listening.detach()
    opened = os.open(file.path, os.O_RDWR if file.how == "write" else os.O_RDONLY)
    if file.how != "copy":
        return opened
    with open(opened, "rb") as original:
        copy = os.memfd_create(os.path.basename(file.path))
        with open(copy, "wb", closefd=False) as out:
            out.write(original.read())
    return copy


def _enter_network(reach: Reach, user: User | None) -> None:
    """Move to a new network, in which a forwarder serves what is allowed. Raises NotConfined, OSError."""
    ours, forwarders = socket.socketpair()
    with ours, forwarders:
        _start_forwarder(forwarders, reach, user)
        forwarders.close()
        _unshare_network(user)
        _bring_loopback_up()
        sockets = [_listening(port) for port in ports(reach)]
        socket.send_fds(ours, [b"sockets"], [one.fileno() for one in sockets])
        if ours.recv(len(READY)) != READY:
            raise NotConfined("its forwarder did not start")
        for one in sockets:
            one.close()


def ports(reach: Reach) -> list[int]:
    """Return the ports of the machine's loopback: the proxy's, then those of the allowed endpoints of this host's."""
    return [PROXY_PORT, *(port for host, port in reach.endpoints if is_loopback(host))]


def _start_forwarder(control: socket.socket, reach: Reach, user: User | None) -> None:
    """Start the forwarder, in this network and in the machine's process group, as nobody's child. Raises OSError."""
    machine = os.pidfd_open(os.getpid())
    forwarders = None if user is None else [user.forwarder, user.gid]
    argv = [*python("launcher.host.forwarder"), json.dumps({"user": forwarders, "reach": asdict(reach)})]
    actions = [(os.POSIX_SPAWN_DUP2, control.fileno(), CONTROL), (os.POSIX_SPAWN_DUP2, machine, MACHINE)]
    if (between := os.fork()) == 0:  # the program would not reap it
        os.posix_spawn(argv[0], argv, dict(os.environ), file_actions=actions)
        os._exit(0)
    os.close(machine)
    if os.waitpid(between, 0)[1] != 0:
        raise NotConfined("its forwarder cannot be started")


def _unshare_network(user: User | None) -> None:
    """Enter a network namespace: at once if this process may, else as its user, in a user namespace.

    Raises NotConfined.
    """
    try:
        call("unshare", CLONE_NEWNET)
    except PermissionError:
        _become(user)
        try:
            _unshare_user_and_network()
        except OSError as error:
            raise NotConfined(
                f"this host gives it no network namespace ({error.strerror}). To do: run the launcher as root with "
                "CAP_SYS_ADMIN, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
                "kernel.apparmor_restrict_unprivileged_userns=0), or use a systemd slice (LAUNCHYARD_SLICE)"
            ) from error


def _unshare_user_and_network() -> None:
    """Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # else the files below are root's, if this process has just changed user
    call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
    for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "wb", buffering=0) as file:
            file.write(line.encode())


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack(INTERFACE, b"lo", 0)
        name, flags = struct.unpack(INTERFACE, fcntl.ioctl(any_socket, SIOCGIFFLAGS, asked))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(INTERFACE, name, flags | IFF_UP))


def _listening(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((LOOPBACK, port))
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def _become(user: User | None) -> None:
    if user is None or os.geteuid() == user.uid:
        drop(None, None)
        return
    try:
        drop(user.uid, user.gid, user.groups)
    except OSError as error:
        raise NotConfined(
            f"it cannot become user {user.uid} ({error.strerror}). To do: give the launcher CAP_SETUID and "
            "CAP_SETGID, as its unit does, or name another user in LAUNCHYARD_VM_USER"
        ) from error


def _execute(binary: int, program: Sequence[str]) -> NoReturn:
    """Become the program: by its path, after which processes are named, or if that is closed to the user, as it is
    open already.
    """
    try:
        os.execv(program[0], list(program))  # noqa: S606 (no shell is wanted)
    except PermissionError:
        os.set_inheritable(binary, True)  # a script's interpreter opens it again
        os.execve(binary, list(program), os.environ)  # noqa: S606
