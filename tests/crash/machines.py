"""What runs of one launcher's machines, whoever its parent is by now, as this host's kernel has it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
ARGUMENT: Final = re.compile(r"launchyard\.vm=([0-9a-f-]{36})")
VARIABLE: Final = re.compile(r"(?:^|\0)LAUNCHYARD_VM=([0-9a-f-]{36})\0")


class Machines:
    """`state` is the launcher's state directory. A machine whose own process is gone is known by what it had started:
    so `look` often enough to see each of them while it is there."""

    def __init__(self, state: Path) -> None:
        self._named = re.compile(re.escape(f"{state}/vms/") + r"([^/\0]+)/")
        self._names: dict[str, str] = {}

    def look(self) -> list[str]:
        """Return `<order>-<epoch>` for each machine, and `<order>-<epoch> (left)` for what one left behind."""
        leaders, others = [], set()
        for argv, environment in _processes():
            uuid, named = ARGUMENT.search(argv), self._named.search(argv)
            if uuid and named:
                self._names[uuid[1]] = named[1]
                leaders.append(named[1])
            elif marked := VARIABLE.search(environment):
                others.add(marked[1])
        left = {self._names[uuid] for uuid in others if uuid in self._names} - set(leaders)
        return sorted([*leaders, *(f"{name} (left)" for name in left)])


def _processes() -> Iterator[tuple[str, str]]:
    """Yield the arguments and the environment of each process that lives and that we may look at."""
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv, environment = ((entry / name).read_text(errors="replace") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if argv:
            yield argv, environment
