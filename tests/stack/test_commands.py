"""A developer's commands, with a stack without emulators: `--backend memory --provider process`."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGINT
from subprocess import PIPE

from emulators import mods
from tests.stack.conftest import Terminal

PI = "01K9MHPYR07M6YMZ1QGR8DZB8S"
REPORTS_BY_ITSELF = """
import json, os, urllib.request
for callback in ("started", "completed"):
    body = json.dumps({"task_id": os.environ["TASK_ID"], "message": f"for {os.environ['PROJECT_ID']}"})
    urllib.request.urlopen(f"{os.environ['CALLBACK_URL']}/{callback}", body.encode())
"""


def created(terminal: Terminal, kind: str, *words: str) -> str:
    return str(json.loads(terminal.succeed("order", "create", kind, "--json", *words))["id"])


def until(terminal: Terminal, order: str, state: str) -> None:
    """Ask for the order until it is in a state; each asking is a process of half a second."""
    states = (json.loads(terminal.succeed("order", "get", order, "--json"))["state"] for _ in range(60))
    assert state in states


def test_an_export_is_run_and_its_file_is_valid(memory_stack: Terminal, tmp_path: Path) -> None:
    output = memory_stack.succeed("export", "run", PI, "--out", str(tmp_path / "out"))
    assert mods.validate(tmp_path / "out" / f"{PI}.xml") == []
    assert "entities written" in output


def test_an_export_of_a_missing_entity_fails_with_the_sources_words(memory_stack: Terminal, tmp_path: Path) -> None:
    done = memory_stack.run("export", "run", "01K9MJD9K0G13C0PG6DRH5AN49", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "404" in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_task_is_followed_to_its_end_and_its_output_downloaded(memory_stack: Terminal, tmp_path: Path) -> None:
    order = created(memory_stack, "task", "--", "echo", "hello")
    assert "succeeded" in memory_stack.succeed("order", "watch", order)
    memory_stack.succeed("order", "output", order, "--out", str(tmp_path / "out"))
    assert (tmp_path / "out" / "output.log").read_text() == "hello\n"


def test_watching_a_task_that_fails_exits_1(memory_stack: Terminal) -> None:
    order = created(memory_stack, "task", "--", "false")
    done = memory_stack.run("order", "watch", order)
    assert done.returncode == 1
    assert "program_failed" in done.stdout
    assert "no output" in memory_stack.run("order", "output", order, "--out", "out").stderr


def test_a_command_that_reports_by_itself_ends_its_task(memory_stack: Terminal) -> None:
    words = ("--project", "proj-456", "--", sys.executable, "-c", REPORTS_BY_ITSELF)
    order = created(memory_stack, "task", *words)
    assert "succeeded" in memory_stack.succeed("order", "watch", order)
    shown = json.loads(memory_stack.succeed("order", "get", order, "--json"))
    assert (shown["message"], shown["output"], shown["attempt"]) == ("for proj-456", None, 1)


def test_a_local_worker_reports_for_a_task_without_a_secret(memory_stack: Terminal) -> None:
    order = created(memory_stack, "task", "--", "sleep", "600")
    until(memory_stack, order, "running")
    control_plane = f"http://127.0.0.1:{memory_stack.environment['LAUNCHYARD_PORT']}"
    contract = {"CALLBACK_URL": f"{control_plane}/api/agents/callback", "PROJECT_ID": "proj-456"}
    worker = replace(memory_stack, environment=memory_stack.environment | contract)
    worker.succeed("worker", "run", "--task", order, "--", "true")
    until(memory_stack, order, "succeeded")


def test_an_image_is_ordered_with_what_its_program_needs(memory_stack: Terminal) -> None:
    image = ("--image", "registry.example/worker:1", "--region", "ord", "--project", "proj-456", "--log-level", "debug")
    order = json.loads(memory_stack.succeed("order", "create", "task", "--json", *image))
    assert order["spec"] == {
        "kind": "task",
        "command": [],
        "image": "registry.example/worker:1",
        "region": "ord",
        "project_id": "proj-456",
        "log_level": "debug",
    }
    for words in ((*image, "--", "true"), ()):
        refused = memory_stack.run("order", "create", "task", *words)
        assert (refused.returncode, "not both" in refused.stderr) == (2, True)


def test_a_capacity_order_runs_until_it_is_cancelled(memory_stack: Terminal) -> None:
    order = created(memory_stack, "capacity", "local:dev", "tiny")
    until(memory_stack, order, "running")
    assert json.loads(memory_stack.succeed("order", "cancel", order, "--json"))["cancel_requested"]
    assert "released" in memory_stack.succeed("order", "watch", order)


def test_a_failed_order_is_requeued_and_purged(memory_stack: Terminal) -> None:
    dead = created(memory_stack, "task", "--", "false")
    until(memory_stack, dead, "failed")
    again = [json.loads(memory_stack.succeed("order", "requeue", dead, "--json")) for _ in range(2)]
    assert [order["requeued_from"] for order in again] == [dead, dead]
    assert again[0]["id"] == again[1]["id"]
    assert [memory_stack.succeed("order", "purge", dead) for _ in range(2)] == ["", ""]
    assert memory_stack.run("order", "get", dead).returncode == 1


def test_an_order_for_later_waits_until_then_and_is_not_purged_meanwhile(memory_stack: Terminal) -> None:
    tomorrow = datetime.now(UTC).replace(microsecond=0, tzinfo=None) + timedelta(days=1)
    order = created(memory_stack, "task", "--not-before", tomorrow.isoformat(), "--", "true")
    shown = json.loads(memory_stack.succeed("order", "get", order, "--json"))
    assert datetime.fromisoformat(shown["available_at"]) == tomorrow.replace(tzinfo=UTC)
    refused = memory_stack.run("order", "purge", order)
    assert (refused.returncode, "queued" in refused.stderr) == (1, True)


def test_an_order_is_created_with_its_limits(memory_stack: Terminal) -> None:
    words = ("--queue-ttl", "600", "--boot-timeout", "60", "--run-timeout", "90", "--retention", "30", "--", "true")
    order = json.loads(memory_stack.succeed("order", "create", "task", "--json", *words))
    assert order["limits"] == {
        "queue_ttl_seconds": 600,
        "boot_timeout_seconds": 60,
        "run_timeout_seconds": 90,
        "ttl_seconds": None,
        "retention_seconds": 30,
    }


def test_an_invalid_limit_is_named(memory_stack: Terminal) -> None:
    done = memory_stack.run("order", "create", "capacity", "local:dev", "tiny", "--ttl", "0")
    assert done.returncode == 2
    assert "ttl_seconds" in done.stderr


def test_the_same_key_makes_one_order(memory_stack: Terminal) -> None:
    words = ("--key", "one-and-the-same", "--", "true")
    assert created(memory_stack, "task", *words) == created(memory_stack, "task", *words)


def test_orders_are_listed_page_by_page(memory_stack: Terminal) -> None:
    made = [created(memory_stack, "task", "--", "true") for _ in range(3)]
    first = json.loads(memory_stack.succeed("order", "list", "--limit", "2", "--json"))
    rest = json.loads(memory_stack.succeed("order", "list", "--after", first["next"], "--json"))
    assert [order["id"] for order in first["orders"]] == [made[2], made[1]]
    assert rest["orders"][0]["id"] == made[0]


def test_wrong_words_are_answered_in_words(memory_stack: Terminal) -> None:
    done = memory_stack.run("order", "create", "capacity", "Nowhere At All", "tiny")
    assert done.returncode == 2
    assert "datacenter" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_order_is_refused_in_one_sentence(memory_stack: Terminal) -> None:
    done = memory_stack.run("order", "get", "no-such-order")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_job_whose_wait_is_interrupted_goes_on_until_it_is_stopped(memory_stack: Terminal) -> None:
    words = ("job", "start", "nightly", "--label", "no-launcher-offers-it", "--prompt-file", "-", "--wait")
    with memory_stack.start(*words, stdin=PIPE, stdout=PIPE, stderr=PIPE) as waiting:
        assert waiting.stdin is not None
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        waiting.stdin.write(b"Tidy up.")
        waiting.stdin.close()
        job = waiting.stdout.readline().split()[1].decode()
        waiting.stdout.readline()  # it waits
        waiting.send_signal(SIGINT)
        errors = waiting.stderr.read().decode()
        assert waiting.wait() == 130

    assert f"`launchyard job stop {job}` stops it" in " ".join(errors.split())
    assert "Traceback" not in errors
    shown = json.loads(memory_stack.succeed("job", "get", job, "--json"))
    assert (shown["status"], shown["spec"]["prompt"]) == ("pending", "Tidy up.")
    assert job in memory_stack.succeed("job", "list")
    assert json.loads(memory_stack.succeed("job", "stop", job, "--json"))["status"] == "stopped"


def test_the_keys_file_is_its_owners_only(memory_stack: Terminal) -> None:
    assert (memory_stack.folder / ".launchyard" / "dev.env").stat().st_mode & 0o777 == 0o600


def test_a_second_up_is_refused(memory_stack: Terminal) -> None:
    done = memory_stack.run("up", "--backend", "memory", "--provider", "process")
    assert done.returncode == 1
    assert "up already" in done.stderr
