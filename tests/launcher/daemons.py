"""Daemons in processes of their own, with a stand-in for the worker, and what tests ask of them."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from launcher.daemon.daemon import ShutdownLimits
from launcher.machines.directory import PROCESS
from launcher.machines.records import VmProcess
from shared.log_events import LogEvent
from tests.harness.forked import Forked
from tests.launcher.fake_control_plane import CALLBACKS, DEADLINE, HEARTBEATS, FakeControlPlane

Start = Callable[..., "subprocess.Popen[str]"]

IMPATIENT: Final = ShutdownLimits(leave=0.1, stop=0.1, last=0.1)
ROOT: Final = Path(__file__).parents[2]
KEY: Final = "ly_a_key_that_no_log_shows"
WORKER: Final = """
import argparse, json, pathlib, subprocess, sys, time, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("--config", type=pathlib.Path, required=True)
config = json.loads(parser.parse_args().config.read_bytes())
print("the worker is up", flush=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
address = config["control_plane"] + "/v1/callbacks/" + config["order_id"]
urllib.request.urlopen(urllib.request.Request(address, b"{}", {"Content-Type": "application/json"}))
time.sleep(600)
"""
"""A worker that calls back and stays, with a child that stays, too."""


@contextmanager
def a_daemon(
    folder: Path, url: str, settings: dict[str, str], log: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LAUNCHYARD_LAUNCHER_KEY": KEY,
        "LAUNCHYARD_DATACENTER": "local:dev",
        **{f"LAUNCHYARD_{name}": value for name, value in settings.items()},
    }
    argv = ("run", "--url", url, "--provider", "process", "--state-dir", str(folder / "state"))
    with _started(argv, environment, folder, log) as daemon:
        yield daemon
        if daemon.poll() is None:
            daemon.kill()
            daemon.communicate(timeout=DEADLINE)


def _started(argv: tuple[str, ...], environment: dict[str, str], folder: Path, log: int) -> subprocess.Popen[str]:
    if log == subprocess.PIPE:
        return Forked("launcher", argv, environment, folder, joined=True)
    return subprocess.Popen(
        (sys.executable, "-m", "launcher", *argv),
        cwd=folder,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )


def machines(server: FakeControlPlane, folder: Path, order_ids: list[str]) -> list[psutil.Process]:
    """Return the machines' processes and their children, once every worker has called back."""
    server.wait_for(lambda: all(server.bodies(f"{CALLBACKS}/{order_id}") for order_id in order_ids))
    family = []
    for order_id in order_ids:
        recorded = folder / "state" / "vms" / f"{order_id}-1" / PROCESS
        leader = psutil.Process(VmProcess.model_validate_json(recorded.read_bytes()).pid)
        family += [leader, *leader.children(recursive=True)]
    assert len(family) == 2 * len(order_ids)
    return family


def await_event(event: threading.Event) -> None:
    event.wait()


def named(server: FakeControlPlane, order_id: str, since: int) -> bool:
    """Return whether a heartbeat since then renewed the order."""
    return any(hold["order_id"] == order_id for body in server.bodies(HEARTBEATS)[since:] for hold in body["holds"])


def await_logged(daemon: subprocess.Popen[str], event: LogEvent) -> dict[str, object]:
    """Wait until the daemon logs the event, and return that line."""
    assert daemon.stdout is not None
    lines: Iterator[dict[str, object]] = map(json.loads, daemon.stdout)
    return next(line for line in lines if line["event"] == event)
