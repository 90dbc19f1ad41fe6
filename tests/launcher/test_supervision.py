"""A daemon notifies systemd; one that hangs stops doing so."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from launcher.daemon.daemon import Daemon, Events
from launcher.daemon.heartbeat import STUCK_SECONDS, HeartbeatLoop
from launcher.daemon.supervision import Supervision
from launcher.host.clock import SYSTEM, Clock
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import DEADLINE, HEARTBEATS, FakeControlPlane

ROOT: Final = Path(__file__).parents[2]
MAX_ON_THE_WAY: Final = 1000
"""How many notices may come before the heartbeats hang: on a slow machine that takes a while."""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(DEADLINE)
        yield listening


def test_systemd_is_notified_that_the_launcher_is_ready_alive_and_stopping(
    server: FakeControlPlane, supervisor: socket.socket, tmp_path: Path
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LAUNCHYARD_LAUNCHER_KEY": "ly_key",
        "LAUNCHYARD_PROVIDER": "process",
        "NOTIFY_SOCKET": supervisor.getsockname(),
        "WATCHDOG_USEC": "200000",
    }
    argv = (sys.executable, "-m", "launcher", "run", "--url", server.url, "--state-dir", str(tmp_path / "state"))
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as daemon:
        actual = [supervisor.recv(64) for _ in range(3)]
        server.wait_for(lambda: bool(server.bodies(HEARTBEATS)))
        daemon.send_signal(signal.SIGTERM)
        while (last := supervisor.recv(64)) == b"WATCHDOG=1":
            pass
        daemon.wait(DEADLINE)

    assert actual == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    assert last == b"STOPPING=1"
    assert daemon.returncode == 0


def test_a_launcher_whose_heartbeats_hang_sends_no_more_watchdog_notices(
    launcher: InProcessLauncher, supervisor: socket.socket
) -> None:
    hangs, over, now = threading.Event(), threading.Event(), [0.0]

    class Hanging(HeartbeatLoop):
        def run(self, _over: threading.Event) -> None:
            now[0] += STUCK_SECONDS
            hangs.set()
            over.wait(DEADLINE)

    clock, events = Clock(lambda: now[0], SYSTEM.jitter, SYSTEM.pause), Events()
    heartbeat = Hanging(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, clock)
    supervision = Supervision(supervisor.getsockname(), patience=0.1)
    daemon = Daemon(
        lambda: None, launcher.admission, launcher.assignments, lambda: None, heartbeat, 60, supervision=supervision
    )
    running = threading.Thread(target=daemon.run, args=(events,))
    running.start()
    hangs.wait(DEADLINE)
    first = supervisor.recv(64)
    supervisor.settimeout(0.5)
    falls_silent = None in (received(supervisor) for _ in range(MAX_ON_THE_WAY))
    afterwards = [received(supervisor) for _ in range(2)]
    events.put(signal.SIGTERM)
    over.set()
    running.join(DEADLINE)

    assert first == b"READY=1"
    assert falls_silent
    assert afterwards == [None, None]


def received(supervisor: socket.socket) -> bytes | None:
    """Return the next notice; None if none comes."""
    try:
        return supervisor.recv(64)
    except TimeoutError:
        return None


def test_a_supervisor_that_is_gone_costs_a_line_in_the_log_and_an_abstract_address_is_one(tmp_path: Path) -> None:
    Supervision(str(tmp_path / "nobody")).notify(b"READY=1")
    name = f"launchyard-test-{uuid4()}"  # of this run's own: such names are the whole machine's
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(DEADLINE)

        Supervision(f"@{name}").notify(b"READY=1")

        assert listening.recv(64) == b"READY=1"
