"""The example of the contract's README, typed as it stands but for the program's name, against our routes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import emulators.serving
from tests.functions.tasks.calls import BASE, address, held, held_as, open_callbacks
from tests.functions.world import World

ROOT: Final = Path(__file__).parents[3]
LAUNCHYARD: Final = f"{sys.executable} -c 'from worker.local.cli import app; app()'"


def typed(world: World, line: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of a shell in which the control plane's address is $HERE."""
    with emulators.serving.serving(world.http.application) as url:
        environment = {**os.environ, "HERE": url}
        return subprocess.run(
            ["/bin/sh", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )


def test_the_readmes_local_test_runs_a_task_to_its_end(world: World) -> None:
    open_callbacks(world)
    held_as(world, "test-123")

    done = typed(
        world,
        f"""
        TASK_ID=test-123 \\
        PROJECT_ID=proj-456 \\
        CALLBACK_URL=$HERE{BASE} \\
        {LAUNCHYARD} run --task test-123
        """,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ['started: 200 {"ok":true}', 'completed: 200 {"ok":true}']
    view = world.view("test-123")
    assert (view["state"], view["message"]) == ("succeeded", "done")
    assert {"running", "succeeded"} <= view["entered"].keys()


def test_a_worker_with_a_secret_in_its_address_reports_a_failure(world: World) -> None:
    task = held(world)
    base = address(world, task, "").rstrip("/")

    done = typed(world, f"PROJECT_ID= CALLBACK_URL=$HERE{base} {LAUNCHYARD} run --task {task} -- sh -c 'exit 7'")

    assert done.returncode == 0, done.stderr
    view = world.view(task)
    assert (view["state"], view["message"]) == ("failed", "Exit code 7: The command failed.")
