"""The host that is checked, and what it must be able to do."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from launcher.host.facts import own_addresses
from launcher.host.hypervisor import QEMU_HERE, Hypervisor, QemuMode
from launcher.host.probe import boots, why_not_confined

ANSWER_SECONDS: Final = 10.0
ROOT: Final = Path("/")


@dataclass(frozen=True, slots=True)
class Host:
    """A host. `root` is the root of its file system: tests use a directory of their own."""

    hypervisor: Hypervisor = QEMU_HERE
    root: Path = ROOT
    boots: Callable[[QemuMode, Hypervisor], bool] = boots
    confines: Callable[[Hypervisor], str | None] = why_not_confined
    """Returns why machines cannot be confined here; None if they can."""
    own_addresses: Callable[[], Iterable[str]] = own_addresses
    which: Callable[[str], str | None] = shutil.which

    def path(self, path: Path) -> Path:
        return self.root / path.relative_to(ROOT)

    def content(self, path: Path) -> bytes:
        """Return a file's content; empty if it cannot be read."""
        try:
            return self.path(path).read_bytes()
        except OSError:
            return b""

    def text(self, path: Path) -> str:
        return self.content(path).decode(errors="replace")

    def qemu(self, *arguments: str) -> str:
        """Return what QEMU prints; empty if it does not run."""
        return self._output(self.hypervisor.binary, *arguments)

    def systemctl(self, *arguments: str) -> str:
        """Return what systemctl prints; empty if it does not run."""
        return self._output(self.which("systemctl") or "systemctl", *arguments)

    def _output(self, *argv: str) -> str:
        with suppress(OSError, subprocess.TimeoutExpired):
            return subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False).stdout
        return ""

    def connects(self, path: Path) -> bool:
        """Return whether a program listens on a Unix socket."""
        there = self.path(path)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            folder = os.open(there.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                client.settimeout(ANSWER_SECONDS)
                client.connect(f"/proc/self/fd/{folder}/{there.name}")  # this path is never too long: unix(7)
            finally:
                os.close(folder)
            return True
        return False


HERE: Final = Host()


class Needs(Protocol):
    """The resources that a machine takes from its host."""

    @property
    def memory_mib(self) -> int: ...

    @property
    def vcpus(self) -> int: ...

    @property
    def disk_mib(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Case:
    """The input of the checks. `gpus` are PCI addresses to pass through. A field that is None or empty is not checked.

    `sizes` has the needs of a machine of each size; `memory_mib` and `vcpus` are this host's totals for machines.
    `executor` is the command line that runs sessions on this host, in one of the `project_dirs`. `in_machines` is false
    if workers are plain processes of this host.
    """

    host: Host
    mode: QemuMode
    gpus: tuple[str, ...] = ()
    sizes: Mapping[str, Needs] = field(default_factory=dict)
    memory_mib: int = 0
    vcpus: int = 0
    state: Path = ROOT
    image: Path | None = None
    image_digest: str | None = None
    url: str | None = None
    executor: tuple[str, ...] = ()
    project_dirs: tuple[Path, ...] = ()
    in_machines: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check: what it found, and, if it is not `met`, what is needed and what to do."""

    met: bool
    found: str
    needed: str
    to_do: str

    def __str__(self) -> str:
        return f"{self.found}; needed: {self.needed}. To do: {self.to_do}."
