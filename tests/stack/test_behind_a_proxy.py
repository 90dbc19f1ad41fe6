"""The local stack on a machine whose environment names a proxy: nothing of its own is asked for through it."""

import json
from pathlib import Path

import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from tests.stack.conftest import Terminal, make_terminal


@pytest.mark.slow
@pytest.mark.emulator
def test_a_stack_runs_a_task_although_the_environments_proxy_is_down(tmp_path: Path) -> None:
    """Firestore and Pub/Sub over gRPC, the bucket over boto3, and our own calls."""
    proxy = f"http://{LOOPBACK}:{free_port()}"
    plain = make_terminal(tmp_path)
    names = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "grpc")]
    proxied = {name: proxy for lower in names for name in (lower, lower.upper())}
    terminal = Terminal(tmp_path, {**plain.environment, **proxied, "NO_PROXY": "", "no_proxy": ""})
    try:
        terminal.succeed("up", "--backend", "google", "--provider", "process", seconds=300)
        order = terminal.succeed("order", "create", "task", "--json", "--", "echo", "hello")
        followed = terminal.run("order", "watch", json.loads(order)["id"])
    finally:
        terminal.run("down")

    assert followed.returncode == 0, followed.stdout + followed.stderr
