"""`launchyard job …` over HTTP, against the control plane's functions; the test is the launcher."""

import hashlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Protocol

import pytest
from rich.console import Console
from werkzeug import Request, Response

from cli import main, view
from cli.job_view import JobList, JobView, StatusWord
from emulators.serving import serving
from functions.domain.events import Succeed
from functions.domain.order import Order
from functions.ports.outputs import PresignedUpload
from shared.domain.order import State
from shared.domain.spec import MAX_PROMPT, SessionSpec
from tests.factories import NOW, SESSION, TASK, a_key, an_order
from tests.functions.world import CLIENT, STRANGER, World

CONTRACTS_ID: Final = "job_0a1b2c3d4e5f"
MACHINE: Final = "vm-7"
LOG: Final = "Tidied up.\n\x1b]0;title\x07Ä\n".encode()


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Typed(Protocol):
    def __call__(self, *words: str, stdin: bytes = b"") -> Ended: ...


@pytest.fixture
def typed(world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    """Types `launchyard job …`, in a folder without a local stack, on a terminal that is 160 columns wide."""

    def run(*words: str, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["launchyard", "job", *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main.run()
        sys.stdout.flush()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, *capfd.readouterr())

    def bucket(request: Request) -> Response:
        return Response(world.bucket.read(request.path.removeprefix("/"), 0, 1 << 30))

    monkeypatch.setattr("functions.http.logs.sys", SimpleNamespace(stdout=io.StringIO()))  # the functions' own log
    monkeypatch.setattr(main, "exit_on_signals", lambda: None)  # pytest's own handlers stay
    monkeypatch.setattr(view, "out", Console(highlight=False, width=160))
    monkeypatch.setattr(view, "errors", Console(stderr=True, highlight=False))
    monkeypatch.setenv("LAUNCHYARD_CLIENT_KEY", CLIENT)
    with serving(world.http.application) as url, serving(Request.application(bucket)) as objects:
        monkeypatch.setenv("LAUNCHYARD_URL", url)
        monkeypatch.setattr(world.bucket, "presign_download", lambda key, *_: f"{objects}/{key}")
        yield run


def claim(world: World, job: str) -> None:
    assert world.claim(job) is not None


def run(world: World, job: str) -> None:
    claim(world, job)
    world.update(job, "provisioning", vm=MACHINE)
    assert world.call_back(job, "started").status_code == 200


def fail(world: World, job: str) -> None:
    run(world, job)
    why: dict[str, Any] = {
        "reason": "program_failed",
        "failure": "permanent",
        "message": "The executor ended with exit code 3.",
    }
    assert world.call_back(job, "failed", **why).status_code == 200


def complete(world: World, job: str, log: bytes = LOG) -> None:
    """Run the job to its end, and leave its log."""
    run(world, job)
    sha256 = hashlib.sha256(log).hexdigest()
    output: dict[str, Any] = {
        "file_name": "output.log",
        "content_type": "text/plain",
        "size": len(log),
        "sha256": sha256,
    }
    granted = world.call_back(job, "upload", **output).get_json()["upload"]
    assert world.bucket.put(PresignedUpload(**granted), log)
    assert world.call_back(job, "completed", **output).status_code == 200


def complete_without_log(world: World, job: str) -> None:
    """End the job as a launcher of the contract does, which uploads nothing."""
    if world.order(job).state is State.QUEUED:
        run(world, job)
    world.ports.store.apply(job, Succeed("completed@1", 1, None, {}), world.clock.now)


def stopping(world: World, job: str) -> None:
    run(world, job)
    world.post(f"/v1/orders/{job}/cancel")


def stopped(world: World, job: str) -> None:
    stopping(world, job)
    world.update(job, "stopped")


def expire(world: World, job: str) -> None:
    world.clock.now += timedelta(days=1)
    world.sweep()


def spec_of(world: World, job: str) -> SessionSpec:
    spec = world.order(job).spec
    assert isinstance(spec, SessionSpec)
    return spec


def while_waiting(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Take one step each time that a command has looked at its job and waits before it looks again; then none is left.

    The job must have ended by then: one more wait fails the command.
    """
    left = list(steps)
    monkeypatch.setattr("cli.results.time", SimpleNamespace(sleep=lambda _: left.pop(0)(), monotonic=time.monotonic))


def only_order(world: World) -> Order:
    (order,) = world.get("/v1/orders").get_json()["orders"]
    return world.order(order["id"])


def test_start_orders_a_session_with_all_that_was_typed(world: World, typed: Typed) -> None:
    words = (
        "--agent",
        "researcher",
        "--project-dir",
        "/srv/work",
        "--parent",
        "main",
        "--label",
        "gpu",
        "--label",
        "a=b",
    )
    limits = ("--queue-ttl", "600", "--run-timeout", "90")

    done = typed("start", "survey-1", "--prompt", "Summarise the notes.", *words, *limits, "--json")

    assert done.code == 0
    job = JobView.model_validate_json(done.out)
    assert (job.status, job.state, job.account) == (StatusWord.PENDING, State.QUEUED, "acme")
    assert (job.limits.queue_ttl_seconds, job.limits.run_timeout_seconds) == (600, 90)
    assert spec_of(world, job.id) == SessionSpec(
        session_name="survey-1",
        prompt="Summarise the notes.",
        agent_name="researcher",
        project_dir="/srv/work",
        parent_session_name="main",
        labels=("gpu", "a=b"),
    )


def test_resume_orders_a_session_that_goes_on(world: World, typed: Typed) -> None:
    words = ("--project-dir", "/srv/work", "--parent", "main", "--label", "gpu")

    job = typed("resume", "survey-1", "--prompt", "Go on.", *words, "--json").json

    assert spec_of(world, job["id"]) == SessionSpec(
        session_name="survey-1",
        prompt="Go on.",
        resume=True,
        project_dir="/srv/work",
        parent_session_name="main",
        labels=("gpu",),
    )


@pytest.mark.parametrize("command", ["start", "resume"])
def test_a_prompt_is_read_from_a_file_or_from_standard_input_as_it_is(
    world: World, typed: Typed, tmp_path: Path, command: str
) -> None:
    prompt = "Zeile ä\r\nline 2\n"
    file = tmp_path / "prompt.txt"
    file.write_bytes(prompt.encode())

    of_file = typed(command, "s", "--prompt-file", str(file), "--json").json
    of_input = typed(command, "s", "--prompt-file", "-", "--json", stdin=prompt.encode()).json

    assert [spec_of(world, job["id"]).prompt for job in (of_file, of_input)] == [prompt, prompt]


def test_the_longest_prompt_is_taken_however_many_bytes_its_characters_have(world: World, typed: Typed) -> None:
    prompt = "😀" * MAX_PROMPT

    job = typed("start", "s", "--prompt-file", "-", "--json", stdin=prompt.encode()).json

    assert spec_of(world, job["id"]).prompt == prompt


@pytest.mark.parametrize(
    ("words", "stdin", "explained"),
    [
        (("start", "s"), b"", "give --prompt or --prompt-file, and not both"),
        (("start", "s", "--prompt", "p", "--prompt-file", "-"), b"p", "give --prompt or --prompt-file, and not both"),
        (("start", "s", "--prompt-file", "-"), b"\xff", "not UTF-8"),
        (("start", "s", "--prompt-file", "-"), b"a" * (MAX_PROMPT + 1), "prompt: String should have at most 65536"),
        (("start", "s", "--prompt-file", "-"), f"ab{'😀' * MAX_PROMPT}".encode(), "the prompt file is too long"),
        (("start", "s", "--prompt-file", "missing.txt"), b"", "missing.txt"),
        (("start", "no name", "--prompt", "p"), b"", "session_name: "),
        (("start", "s", "--prompt", "p", "--agent", "-x"), b"", "agent_name: "),
        (("start", "s", "--prompt", "p", "--project-dir", "work"), b"", "project_dir: "),
        (("start", "s", "--prompt", "p", "--parent", "a b"), b"", "parent_session_name: "),
        (("start", "s", "--prompt", "p", "--label", "GPU"), b"", "labels.0: "),
        (("start", "s", "--prompt", "p", *("--label", "a") * 4), b"", "labels: "),
        (("start", "s", "--prompt", "p", "--queue-ttl", "0"), b"", "queue_ttl_seconds: "),
        (("start", "s", "--prompt", "p", "--key", "ä"), b"", "idempotency key"),
        (("start", "s", "--prompt", "p", "--timeout", "0"), b"", "--timeout"),
        (("list", "--state", "nowhere"), b"", "--state"),
        (("list", "--limit", "0"), b"", "--limit"),
        (("get", "no id"), b"", "This is no order's id"),
    ],
)
def test_what_cannot_be_ordered_is_explained_and_nothing_is_sent(
    world: World, typed: Typed, words: tuple[str, ...], stdin: bytes, explained: str
) -> None:
    done = typed(*words, stdin=stdin)

    assert (done.code, done.out) == (2, "")
    assert explained in " ".join(done.err.replace("│", " ").split())
    assert world.get("/v1/orders").get_json()["orders"] == []


def test_the_same_key_makes_one_job(world: World, typed: Typed) -> None:
    words = ("start", "s", "--prompt", "p", "--json", "--idempotency-key", "one-and-the-same")

    assert typed(*words).json["id"] == typed(*words).json["id"] == only_order(world).id


def test_an_empty_key_is_sent_as_it_is_and_refused(world: World, typed: Typed) -> None:
    done = typed("start", "s", "--prompt", "p", "--key", "")

    assert (done.code, done.out, "Idempotency-Key" in done.err) == (1, "", True)
    assert world.get("/v1/orders").get_json()["orders"] == []


@pytest.mark.parametrize(
    ("until", "status", "state"),
    [
        (lambda *_: None, "pending", "queued"),
        (claim, "claimed", "claimed"),
        (run, "running", "running"),
        (stopping, "stopping", "running"),
        (stopped, "stopped", "cancelled"),
        (complete, "completed", "succeeded"),
        (fail, "failed", "failed"),
        (expire, "failed", "expired"),
    ],
)
def test_a_job_shows_the_contract_s_status_beside_our_state(
    world: World, typed: Typed, until: Callable[[World, str], None], status: str, state: str
) -> None:
    job = world.place(SESSION)["id"]
    until(world, job)

    rows = dict(line.split()[:2] for line in typed("get", job).out.splitlines())
    listed = typed("list").out.splitlines()[1].split()
    shown = JobView.model_validate_json(typed("get", job, "--json").out)

    assert (rows["job"], rows["status"], rows["state"]) == (job, status, state)
    assert listed[:3] == [job, status, "nightly"]
    assert (shown.id, shown.status, shown.state) == (job, status, state)


def test_a_job_shows_its_launcher_its_machine_and_its_times(world: World, typed: Typed) -> None:
    spec = SESSION.model_copy(
        update={"resume": True, "parent_session_name": "main", "project_dir": "/srv/work", "labels": ()}
    )
    job = world.place(spec)["id"]
    run(world, job)

    out = typed("get", job).out

    for name, value in [
        ("launcher", "alpha"),
        ("machine", MACHINE),
        ("session", "nightly, resumed"),
        ("directory", "/srv/work"),
        ("parent", "main"),
        ("prompt", "Tidy up."),
        *[(state, f"{NOW:%Y-%m-%d %H:%M:%S} UTC") for state in ("queued", "claimed", "provisioning", "running")],
    ]:
        assert [name, *value.split()] in [line.split() for line in out.splitlines()]


def test_a_job_that_waits_again_shows_no_launcher(world: World, typed: Typed) -> None:
    job = world.place(SESSION)["id"]
    claim(world, job)
    world.lapse(job)

    assert "launcher " not in typed("get", job).out


def test_a_job_that_no_launcher_fits_fails_with_its_labels(world: World, typed: Typed) -> None:
    job = world.place(SESSION.model_copy(update={"labels": ("gpu", "os=linux")}))["id"]
    expire(world, job)

    out = typed("get", job).out

    assert "unmatched: No launcher that offers gpu, os=linux took it in time." in out
    assert "gpu, os=linux" in next(line for line in out.splitlines() if line.startswith("labels"))
    assert "unmatched" in typed("list").out


def test_a_long_prompt_is_cut_on_the_screen_and_whole_in_json(world: World, typed: Typed) -> None:
    prompt = "x" * 5000
    job = world.place(SESSION.model_copy(update={"prompt": prompt}))["id"]

    shown = typed("get", job).out
    assert (shown.count("x"), shown.count("…")) == (200, 1)
    assert typed("get", job, "--json").json["spec"]["prompt"] == prompt


def test_a_job_with_an_id_of_the_contract_is_read_and_stopped(world: World, typed: Typed) -> None:
    job = an_order(SESSION, id=CONTRACTS_ID)
    world.ports.store.create(job, a_key(job))

    assert typed("get", CONTRACTS_ID, "--json").json["id"] == CONTRACTS_ID
    assert typed("stop", f" {CONTRACTS_ID} ", "--json").json["status"] == "stopped"


def test_jobs_are_listed_page_by_page_and_nothing_but_jobs(world: World, typed: Typed) -> None:
    jobs = [world.place(SESSION)["id"] for _ in range(3)]
    world.place(TASK)
    world.place(SESSION, STRANGER)

    first = JobList.model_validate_json(typed("list", "--limit", "2", "--json").out)
    assert first.next is not None
    assert f"more: --after {first.next}" in typed("list", "--limit", "2").out
    rest = JobList.model_validate_json(typed("list", "--after", first.next, "--json").out)

    assert {job.id for job in (*first.jobs, *rest.jobs)} == set(jobs)
    assert (len(first.jobs), rest.next) == (2, None)


def test_jobs_are_listed_by_state(world: World, typed: Typed) -> None:
    running, _pending = world.place(SESSION)["id"], world.place(SESSION)["id"]
    run(world, running)

    assert [job["id"] for job in typed("list", "--state", "running", "--json").json["jobs"]] == [running]


def test_an_empty_list_has_its_heading_only(world: World, typed: Typed) -> None:
    assert typed("list").out.split() == ["job", "status", "session", "reason", "created"]
    assert typed("list", "--json").json == {"jobs": [], "next": None}


def test_at_80_columns_a_list_still_shows_whole_ids_and_statuses(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.place(SESSION.model_copy(update={"session_name": "s" * 60}))["id"]
    monkeypatch.setattr(view, "out", Console(highlight=False, width=80))

    out = typed("list").out

    assert f"{job}  pending" in out
    assert out.count("s" * 5) > 0


def test_a_pending_job_is_stopped_at_once_and_a_running_one_by_its_launcher(world: World, typed: Typed) -> None:
    pending, running = world.place(SESSION)["id"], world.place(SESSION)["id"]
    run(world, running)

    assert typed("stop", pending, "--json").json["status"] == "stopped"
    assert [typed("stop", running, "--json").json["status"] for _ in range(2)] == ["stopping"] * 2
    assert world.heartbeat((running, 1))["stop"] == [{"order_id": running, "epoch": 1, "why": "cancelled"}]
    world.update(running, "stopped")
    assert typed("get", running, "--json").json["status"] == "stopped"


def test_a_job_that_has_ended_is_not_stopped(world: World, typed: Typed) -> None:
    job = world.place(SESSION)["id"]
    complete(world, job)

    done = typed("stop", job)

    assert (done.code, done.out) == (1, "")
    assert "succeeded" in done.err


@pytest.mark.parametrize("command", ["get", "stop", "logs"])
@pytest.mark.parametrize("whose", ["another account's", "nobody's"])
def test_only_an_account_s_own_jobs_are_reached(world: World, typed: Typed, command: str, whose: str) -> None:
    job = world.place(SESSION, STRANGER)["id"] if whose == "another account's" else CONTRACTS_ID

    done = typed(command, job)

    assert (done.code, done.out) == (1, "")
    assert f"There is no job {job} of this account: `launchyard job list` shows its jobs." in done.err
    assert whose == "nobody's" or world.order(job).state is State.QUEUED


@pytest.mark.parametrize("command", ["get", "stop", "logs"])
def test_an_order_that_is_no_job_is_left_alone(world: World, typed: Typed, command: str) -> None:
    task = world.place(TASK)["id"]

    done = typed(command, task)

    assert (done.code, done.out) == (1, "")
    assert f"`launchyard order get {task}` shows it" in done.err
    assert world.order(task).state is State.QUEUED


def test_start_waits_for_the_end_and_shows_each_status(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_waiting(
        monkeypatch,
        lambda: claim(world, only_order(world).id),
        lambda: world.call_back(only_order(world).id, "started"),
        lambda: complete_without_log(world, only_order(world).id),
    )

    done = typed("start", "s", "--prompt", "p", "--wait")

    assert done.code == 0, done.err
    job = only_order(world).id
    shown = [line.rpartition("  ")[2] for line in done.out.splitlines() if f"  {job}  " in line[8:]]
    assert shown == ["pending", "claimed", "running", "completed"]
    assert done.out.startswith(f"job {job}\n")


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [(complete, 0, "completed"), (fail, 1, "failed"), (stopped, 1, "stopped"), (expire, 1, "failed")],
)
def test_a_job_that_was_waited_for_exits_0_only_if_it_completed(
    world: World,
    typed: Typed,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[World, str], None],
    code: int,
    status: str,
) -> None:
    while_waiting(monkeypatch, lambda: end(world, only_order(world).id))

    done = typed("resume", "s", "--prompt", "p", "--wait", "--json")

    assert (done.code, JobView.model_validate_json(done.out).status) == (code, status)


def test_a_failure_that_was_waited_for_is_explained(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_waiting(monkeypatch, lambda: fail(world, only_order(world).id))

    assert "program_failed: The executor ended with exit code 3." in typed("start", "s", "--prompt", "p", "--wait").out


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", ["start", "logs"])
def test_an_interrupted_wait_leaves_the_job_alone_and_names_it(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    if command == "logs":
        words = ["logs", world.place(SESSION)["id"], "--follow"]
    else:
        words = ["start", "s", "--prompt", "p", "--wait", "--json"]
    while_waiting(monkeypatch, interrupt)

    done = typed(*words)

    job = only_order(world)
    assert (done.code, done.out, job.state) == (130, "", State.QUEUED)
    assert f"The job {job.id} goes on: `launchyard job get {job.id}` shows it" in done.err
    assert "Traceback" not in done.err


def test_a_wait_that_takes_too_long_leaves_the_job_alone_and_names_it(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 3.0])
    monkeypatch.setattr("cli.results.time", SimpleNamespace(monotonic=lambda: next(times)))

    done = typed("start", "s", "--prompt", "p", "--wait", "--timeout", "2", "--json")

    job = only_order(world)
    assert (done.code, done.out, job.state) == (1, "", State.QUEUED)
    assert job.id in done.err


def test_the_log_of_a_job_that_completed_is_printed_as_it_is(world: World, typed: Typed) -> None:
    job = world.place(SESSION)["id"]
    complete(world, job)

    done = typed("logs", job)

    assert (done.code, done.out.encode(), done.err) == (0, LOG, "")


def test_on_a_terminal_a_log_changes_nothing_but_what_is_shown(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.place(SESSION)["id"]
    complete(world, job, LOG + b"[red]not red[/red] \xff" + b"x" * 200_000)
    monkeypatch.setattr(view, "out", Console(highlight=False, width=40, force_terminal=True, no_color=True))

    assert typed("logs", job).out == "Tidied up.\n�]0;title�Ä\n[red]not red[/red] �" + "x" * 200_000


def test_the_log_of_a_job_that_runs_is_waited_for(world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.place(SESSION)["id"]
    while_waiting(monkeypatch, lambda: complete(world, job))

    done = typed("logs", job, "--follow")

    assert (done.code, done.out.encode()) == (0, LOG)


@pytest.mark.parametrize(
    ("until", "explained"),
    [
        (lambda *_: None, "is pending; no launcher has claimed it yet"),
        (claim, "is claimed; until it ends, the launcher alpha has its log"),
        (run, "on the host of the launcher alpha: <state directory>/vms/{job}-1/serial.log"),
        (
            fail,
            "has no log here. It is failed: program_failed: The executor ended with exit code 3.\nIts launcher alpha",
        ),
        (fail, "may have it: <state directory>/logs/{job}-1.log\n"),
        (stopped, "has no log here. It is stopped: cancelled\n"),
        (complete_without_log, "has no log here. It is completed\n"),
    ],
)
def test_a_log_that_is_not_here_is_explained(
    world: World, typed: Typed, until: Callable[[World, str], None], explained: str
) -> None:
    job = world.place(SESSION)["id"]
    until(world, job)

    done = typed("logs", job)

    assert (done.code, done.out) == (1, "")
    assert explained.format(job=job) in done.err
    assert ("logs --follow" in done.err) is (not world.order(job).final)


def test_a_log_that_was_removed_is_explained(world: World, typed: Typed) -> None:
    job = world.place(SESSION)["id"]
    complete(world, job)
    world.clock.now += timedelta(days=8)
    world.sweep()

    done = typed("logs", job)

    assert (done.code, done.out) == (1, "")
    assert done.err.strip()
