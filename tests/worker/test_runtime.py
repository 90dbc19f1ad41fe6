"""One run of the worker: what it reports, when it gives up, and which secrets its log does not show."""

import contextlib
import hashlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from stamina.instrumentation import get_on_retry_hooks
from werkzeug import Response

from emulators.mods import validate
from shared.domain.order import State
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, TaskSpec
from shared.guest.config import WorkerConfig
from tests.harness.waiting import MAX_SECONDS
from tests.worker.control_plane import EPOCH, ORDER, SIGNATURE, TOKEN, FakeControlPlane
from worker.logs import open_log
from worker.network import client
from worker.runtime import Worker

ROOT = "01K9MHPYR07M6YMZ1QGR8DZB8S"
UNTIL_ENDED = "for look in $(seq 6000); do [ -e ended ] && break; sleep 0.05; done"
HELLO = TaskSpec(command=("echo", "hello"))


def run(config: WorkerConfig, folder: Path) -> int:
    with client(config.loopback_gateway) as http:
        return Worker(config, http, folder, open_log(config)).run()


def test_an_export_is_reported_uploaded_and_completed(plane: FakeControlPlane, arke: str, tmp_path: Path) -> None:
    code = run(plane.config(ExportSpec(pi=ROOT), source=arke), tmp_path)

    assert code == 0
    assert plane.steps == ["started", "upload", "completed"]
    [upload] = plane.uploads
    completed = plane.reports[-1].report
    assert completed["sha256"] == hashlib.sha256(upload.body).hexdigest()
    assert (completed["size"], completed["file_name"]) == (len(upload.body), f"{ROOT}.xml")
    assert completed["metrics"].keys() == {
        "total_time_ms",
        "entities_exported",
        "entities_failed",
        "entities_incomplete",
        "entities_written",
        "peak_memory_mb",
        "characters_replaced",
    }
    uploaded = tmp_path / "uploaded.xml"
    uploaded.write_bytes(upload.body)
    assert validate(uploaded) == []


def test_every_report_carries_the_token_and_the_epoch(plane: FakeControlPlane, tmp_path: Path) -> None:
    run(plane.config(HELLO), tmp_path)

    assert {received.path for received in plane.reports} == {f"/v1/callbacks/{ORDER}"}
    assert {received.headers["authorization"] for received in plane.reports} == {f"Bearer {TOKEN}"}
    assert {received.report["epoch"] for received in plane.reports} == {EPOCH}


def test_an_upload_carries_exactly_the_granted_headers(plane: FakeControlPlane, tmp_path: Path) -> None:
    run(plane.config(HELLO), tmp_path)

    [upload] = plane.uploads
    assert upload.path == f"/bucket/a%2Fkey?X-Amz-Signature={SIGNATURE}" or upload.path.startswith("/bucket/a/key?")
    assert upload.headers == {
        "host": plane.url.removeprefix("http://"),
        "content-type": "text/plain",
        "content-length": "6",
        "x-amz-checksum-sha256": hashlib.sha256(b"hello\n").hexdigest(),
    }


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("event", ["started", "upload", "put", "completed"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_answer_is_asked_again(plane: FakeControlPlane, tmp_path: Path, event: str, status: int) -> None:
    """A report, for as long as a roll-out may take; an upload, which the next attempt may make again, five times."""
    busy = 4 if event == "put" else 11
    plane.statuses[event] = [status] * busy

    assert run(plane.config(HELLO), tmp_path) == 0
    assert plane.steps[-1] == "completed"
    assert len(plane.uploads if event == "put" else [step for step in plane.steps if step == event]) == busy + 1


@pytest.mark.usefixtures("no_waiting")
def test_a_report_is_given_up_after_twelve_tries(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.statuses["started"] = [503] * 20

    assert run(plane.config(HELLO), tmp_path) == 1
    assert plane.steps == ["started"] * 12


@pytest.mark.usefixtures("no_waiting")
def test_a_control_plane_that_is_gone_is_given_up(plane: FakeControlPlane, tmp_path: Path) -> None:
    config = plane.config(HELLO).model_copy(update={"control_plane": "http://127.0.0.1:9"})

    assert run(config, tmp_path) == 1


@pytest.mark.parametrize("event", ["started", "upload", "completed"])
@pytest.mark.parametrize("status", [401, 404, 409])
def test_a_refused_report_ends_the_work_at_once(
    plane: FakeControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str], event: str, status: int
) -> None:
    plane.statuses[event] = [status]

    assert run(plane.config(HELLO), tmp_path) == 1
    assert plane.steps[-1] == event
    assert plane.steps.count(event) == 1
    assert f"refused a report: {status}: Refused for the test" in capsys.readouterr().out


def test_a_lost_lease_before_the_work_means_no_work(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.statuses["started"] = [409]
    trace = tmp_path / "ran"

    run(plane.config(TaskSpec(command=("touch", str(trace)))), tmp_path)

    assert not trace.exists()


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("status", "tries"), [(403, 1), (503, 5)])
def test_a_refused_upload_fails_the_attempt(plane: FakeControlPlane, tmp_path: Path, status: int, tries: int) -> None:
    plane.statuses["put"] = [status] * 9

    assert run(plane.config(HELLO), tmp_path) == 0
    assert plane.steps == ["started", "upload", "failed"]
    failed = plane.reports[-1].report
    assert (failed["reason"], failed["failure"], len(plane.uploads)) == ("upload_failed", "retryable", tries)
    assert SIGNATURE not in failed["message"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (TaskSpec(command=("sh", "-c", "echo out; echo err >&2; exit 7")), "exit code 7. Its last output:\nout\nerr\n"),
        (TaskSpec(command=("/no/such/command",)), "No such file or directory"),
        (TaskSpec(command=("/" + "x" * 1023,)), "File name too long"),
        (TaskSpec(image="registry.example/our-worker:1"), "have the task name a command instead"),
    ],
)
def test_a_failure_that_would_repeat_is_reported_as_permanent(
    plane: FakeControlPlane, tmp_path: Path, spec: AnySpec, reason: str
) -> None:
    assert run(plane.config(spec), tmp_path) == 0

    assert plane.steps == ["started", "failed"]
    failed = plane.reports[-1].report
    assert (failed["reason"], failed["failure"]) == ("program_failed", "permanent")
    assert reason in failed["message"]


def test_a_failure_quotes_the_end_of_a_long_output(plane: FakeControlPlane, tmp_path: Path) -> None:
    noisy = "import sys; sys.stdout.buffer.write(b'\\xff' * 100_000 + b'the end'); sys.exit(1)"

    run(plane.config(TaskSpec(command=(sys.executable, "-c", noisy))), tmp_path)

    message = plane.reports[-1].report["message"]
    assert message.endswith("the end")
    assert len(message) <= 4000


@pytest.mark.usefixtures("no_waiting")
def test_no_log_line_shows_a_token_or_a_presigned_url(
    plane: FakeControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.statuses.update(started=[503], upload=[429], put=[500, 403], completed=[503])

    run(plane.config(HELLO), tmp_path)

    log = capsys.readouterr().out
    assert "try 1: 503 SERVICE UNAVAILABLE; again" in log
    assert "reported failed" in log
    assert TOKEN not in log
    assert SIGNATURE not in log
    assert "/bucket/" not in log


def test_a_log_line_names_the_order_and_its_epoch(
    plane: FakeControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(plane.config(HELLO), tmp_path)

    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith(f"[worker] order={ORDER} epoch={EPOCH} ") for line in lines)


@pytest.mark.parametrize("turn", [1, 2])
def test_the_log_of_one_test_has_no_retries_of_the_next(plane: FakeControlPlane, turn: int) -> None:
    assert not any(hook.__module__ == open_log.__module__ for hook in get_on_retry_hooks()), turn

    open_log(plane.config(HELLO))


def test_the_program_runs_from_the_command_line(plane: FakeControlPlane, tmp_path: Path) -> None:
    worker = start(plane.config(HELLO), tmp_path)

    output, _ = worker.communicate(timeout=300)

    system = os.uname()
    assert worker.returncode == 0
    assert f"started on {system.sysname} {system.release}, " in output
    assert plane.steps == ["started", "upload", "completed"]


def test_a_machine_without_files_has_its_configuration_in_a_variable_that_no_command_sees(
    plane: FakeControlPlane,
) -> None:
    spec = TaskSpec(command=("sh", "-c", 'test -z "$LAUNCHYARD_WORKER_CONFIG" && echo kept'))
    document = plane.config(spec).canonical().decode()

    done = subprocess.run(
        [sys.executable, "-m", "worker"],
        env={**os.environ, "LAUNCHYARD_WORKER_CONFIG": document},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert plane.steps == ["started", "upload", "completed"]


def test_a_worker_without_a_configuration_says_where_it_looks() -> None:
    bare = {name: value for name, value in os.environ.items() if name != "LAUNCHYARD_WORKER_CONFIG"}
    done = subprocess.run([sys.executable, "-m", "worker"], env=bare, capture_output=True, text=True, check=False)
    assert (done.returncode, "LAUNCHYARD_WORKER_CONFIG" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "spec",
    [CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY), TaskSpec(command=("sleep", "1000"))],
    ids=["capacity", "task"],
)
def test_sigterm_ends_the_worker_without_a_word(plane: FakeControlPlane, tmp_path: Path, spec: AnySpec) -> None:
    worker = start(plane.config(spec), tmp_path)
    assert worker.stdout is not None
    while "running its" not in worker.stdout.readline():
        assert worker.poll() is None

    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=300)

    assert worker.returncode == 1
    assert plane.steps == ["started"]


def test_a_stopped_worker_ends_even_if_python_discards_its_exit() -> None:
    program = """
import signal, weakref
import worker.__main__ as worker
class Anything: pass
worker.EXIT_SECONDS = 1
signal.signal(signal.SIGTERM, worker._stop)
anything = Anything()
reference = weakref.ref(anything, lambda _: signal.raise_signal(signal.SIGTERM))
del anything
print("goes on", flush=True)
while True:
    signal.pause()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)

    assert (done.returncode, done.stdout) == (1, "goes on\n")


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-9], lambda text: text.replace('"epoch":3', '"epoch":"x","more":1')]
)
def test_a_configuration_that_cannot_be_read_is_not_shown(
    plane: FakeControlPlane, tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    document = tmp_path / "config.json"
    document.write_text(spoil(plane.config(HELLO).canonical().decode()))

    worker = launch(document)
    output, _ = worker.communicate(timeout=300)

    assert worker.returncode == 1
    assert "the configuration is not valid for this version" in output
    assert TOKEN not in output
    assert plane.steps == []


@contextmanager
def a_worker_at_work(
    plane: FakeControlPlane, folder: Path, child: str = "sleep 1000"
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A worker, leading its own process group, whose command and the command's child hold the pipe open."""
    fifo, temporary = folder / "alive", folder / "tmp"
    os.mkfifo(fifo)
    temporary.mkdir()
    command = f"exec 3> {fifo}; echo up >&3; {child} & wait"
    worker = start(plane.config(TaskSpec(command=("sh", "-c", command))), folder, {"TMPDIR": str(temporary)})
    try:
        with fifo.open() as alive:
            assert alive.readline() == "up\n"
            yield worker, alive
    finally:
        worker.kill()
        worker.communicate(timeout=300)


def ended(alive: IO[str]) -> bool:
    """Wait for the end of file, which comes once no process can write any more."""
    ready, _, _ = select.select([alive], [], [], MAX_SECONDS)
    return bool(ready) and not alive.read()


@pytest.mark.parametrize("child", ["sleep 1000", "setsid sleep 1000", "sh -c 'sleep 1000; :'"])
def test_a_stopped_worker_takes_its_command_with_it(plane: FakeControlPlane, tmp_path: Path, child: str) -> None:
    with a_worker_at_work(plane, tmp_path, child) as (worker, alive):
        worker.terminate()
        worker.communicate(timeout=300)

        assert ended(alive)


def test_a_command_goes_with_the_process_group_of_its_worker(plane: FakeControlPlane, tmp_path: Path) -> None:
    with a_worker_at_work(plane, tmp_path) as (worker, alive):
        os.killpg(worker.pid, signal.SIGKILL)

        assert ended(alive)


def test_a_stopped_worker_leaves_no_temporary_folder(plane: FakeControlPlane, tmp_path: Path) -> None:
    with a_worker_at_work(plane, tmp_path) as (worker, _):
        assert list((tmp_path / "tmp").iterdir())
        worker.terminate()
        worker.terminate()
        worker.communicate(timeout=300)

        assert list((tmp_path / "tmp").iterdir()) == []


def start(config: WorkerConfig, folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    document = folder / "config.json"
    document.write_bytes(config.canonical())
    return launch(document, environment)


def launch(document: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "worker", "--config", str(document)]
    return subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )


@pytest.mark.parametrize("answer", ["lease_lost", "final"])
def test_a_worker_that_lost_its_order_ends_although_its_launcher_is_gone(
    plane: FakeControlPlane, tmp_path: Path, answer: str
) -> None:
    if answer == "final":
        plane.state_after_start = State.SUCCEEDED
    else:
        plane.statuses["started"] = [200, 200, 409]
    ended = threading.Event()
    config = plane.config(TaskSpec(command=("sh", "-c", UNTIL_ENDED)))

    def end() -> None:
        ended.set()
        Path("ended").touch()

    with contextlib.chdir(tmp_path), client(None) as http:
        Worker(config, http, tmp_path, open_log(config), end=end, watch_seconds=0.05).run()

    assert ended.is_set()


def test_a_worker_that_gets_no_answer_about_its_lease_works_on(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.statuses["started"] = [200, *[503] * 40]

    assert run_until_asked(plane, tmp_path, asked=4) == 0
    assert plane.steps == ["started", "upload", "completed"]


@pytest.mark.parametrize(
    "answer",
    [
        Response("<h1>Forbidden</h1>", 403, content_type="text/html"),
        Response("<h1>Welcome</h1>", content_type="text/html"),
        Response('{"state":"running","upload":null,"of_a_later_version":1}', content_type="application/json"),
    ],
    ids=["a proxy refuses", "a proxy answers", "a later version answers"],
)
def test_a_worker_that_does_not_understand_the_answer_about_its_lease_works_on(
    plane: FakeControlPlane, tmp_path: Path, answer: Response
) -> None:
    plane.answer_after_start = answer

    assert run_until_asked(plane, tmp_path, asked=3) == 0
    assert plane.steps[-1] == "completed"


def run_until_asked(plane: FakeControlPlane, folder: Path, asked: int) -> int:
    """Run a worker whose task ends after this number of lease checks; return its exit code."""
    config = plane.config(TaskSpec(command=("sh", "-c", UNTIL_ENDED)))

    def end_the_task() -> None:
        plane.await_events("started", asked)
        Path("ended").touch()

    ending = threading.Thread(target=end_the_task)
    with contextlib.chdir(folder), client(None) as http:
        ending.start()
        code = Worker(config, http, folder, open_log(config), end=pytest.fail, watch_seconds=0.05).run()
        ending.join()
    return code


def test_the_worker_ends_itself_as_its_launcher_would(plane: FakeControlPlane, tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    config = plane.config(HELLO)
    try:
        with client(None) as http:
            Worker(config, http, tmp_path, open_log(config)).end()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
