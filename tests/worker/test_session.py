"""A session's executor: what it is given, its output, where it runs, and how its whole process group ends."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import psutil
import pytest

from launcher.providers.process.supervise import TERM_SECONDS
from launcher.providers.qemu.monitor import POWERDOWN_SECONDS
from shared.domain.spec import SessionSpec, TaskSpec
from shared.guest.config import Executor, WorkerConfig
from tests.worker.control_plane import FakeControlPlane
from worker.__main__ import EXIT_SECONDS
from worker.guest import root
from worker.logs import open_log
from worker.network import client
from worker.programs import ProgramFailed, project_directory, session
from worker.programs.kept_output import KeptOutput
from worker.programs.project_directory import ProjectDirectory
from worker.runtime import Worker

START: Final = SessionSpec(session_name="survey-1", prompt="Summarise “the notes”.", agent_name="researcher")
ECHO: Final = ("cat",)
SHOWN: Final = """
import json, os, sys
print(json.dumps({"request": json.load(sys.stdin), "environment": dict(os.environ), "directory": os.getcwd()}))
"""
SHOW: Final = (sys.executable, "-c", SHOWN)
"""Prints what it is given, as JSON."""
API_URL: Final = "http://127.0.0.1:8765/k/a-key-that-no-log-shows"
PATIENT: Final = """
import sys
from worker.programs import session
session.STOP_SECONDS = float(sys.argv.pop(1))
from worker.__main__ import main
sys.exit(main())
"""
STOPPED_WHILE_IT_STARTS: Final = f"""
import os, pathlib, signal, subprocess, sys, time
runs, started = pathlib.Path(sys.argv.pop(1)), time.monotonic()
class Popen(subprocess.Popen):
    def _execute_child(self, *arguments):
        super()._execute_child(*arguments)
        while not runs.exists() and time.monotonic() < started + 300:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Popen
{PATIENT}
"""
"""Stops the worker when its executor runs, and Popen has not returned it yet."""


def run(
    plane: FakeControlPlane, folder: Path, command: tuple[str, ...], spec: SessionSpec = START, **settings: Any
) -> None:
    with client(None) as http:
        config = config_of(plane, command, spec, **settings)
        assert Worker(config, http, folder, open_log(config)).run() == 0


def config_of(
    plane: FakeControlPlane,
    command: tuple[str, ...],
    spec: SessionSpec = START,
    gateway: str | None = None,
    **settings: Any,
) -> WorkerConfig:
    executor = Executor.model_validate({"command": command, **settings})
    return plane.config(spec, gateway=gateway).model_copy(update={"executor": executor})


def output(plane: FakeControlPlane) -> bytes:
    [upload] = plane.uploads
    return upload.body


def given(plane: FakeControlPlane) -> dict[str, Any]:
    return dict(json.loads(output(plane)))


def failure(plane: FakeControlPlane) -> str:
    failed = plane.reports[-1].report
    assert (failed["event"], failed["reason"], failed["failure"]) == ("failed", "program_failed", "permanent")
    return str(failed["message"])


def test_an_executor_reads_the_contracts_object_and_its_output_is_the_orders(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    run(plane, tmp_path, ECHO, project_dir=str(tmp_path))

    assert plane.events == ["started", "upload", "completed"]
    assert given(plane) == {
        "schema_version": "1.0",
        "mode": "start",
        "session_name": "survey-1",
        "agent_name": "researcher",
        "prompt": "Summarise “the notes”.",
        "project_dir": str(tmp_path),
    }
    assert plane.reports[-1].report["file_name"] == "output.log"


def test_a_resumed_session_is_told_neither_its_agent_nor_its_directory(plane: FakeControlPlane, tmp_path: Path) -> None:
    run(plane, tmp_path, ECHO, START.model_copy(update={"resume": True}), project_dir=str(tmp_path))

    assert given(plane) == {
        "schema_version": "1.0",
        "mode": "resume",
        "session_name": "survey-1",
        "prompt": "Summarise “the notes”.",
    }


def test_an_executor_has_its_sessions_name_and_the_apis_address_and_of_the_worker_only_what_it_needs(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAUNCHYARD_VM", "the machine's mark")
    monkeypatch.setenv("PYTHONPATH", "/the/workers")

    run(plane, tmp_path, SHOW, api_url=API_URL)

    environment = given(plane)["environment"]
    assert environment["AGENT_SESSION_NAME"] == "survey-1"
    assert environment["AGENT_ORCHESTRATOR_API_URL"] == API_URL
    assert environment["LAUNCHYARD_VM"] == "the machine's mark"
    assert "PYTHONPATH" not in environment
    log = "\n".join(line for line in capsys.readouterr().out.splitlines() if line.startswith("[worker]"))
    assert "a-key" not in log


def test_an_executor_in_a_machine_calls_its_hosts_loopback_address_at_the_gateway(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    run(plane, tmp_path, SHOW, api_url=API_URL, gateway="127.0.0.2")

    address = given(plane)["environment"]["AGENT_ORCHESTRATOR_API_URL"]
    assert address == API_URL.replace("127.0.0.1", "127.0.0.2")


@pytest.mark.parametrize("size", [0, 65_536])
def test_an_executor_that_reads_nothing_blocks_nobody(plane: FakeControlPlane, tmp_path: Path, size: int) -> None:
    run(plane, tmp_path, ("echo", "done"), START.model_copy(update={"prompt": "p" * size}))

    assert output(plane) == b"done\n"


def test_ten_megabytes_of_standard_output_and_error_are_kept_in_their_order_and_shown(
    plane: FakeControlPlane, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    count = 10 << 20
    writes = f"""
import os
line = b"x" * 1023 + b"\\n"
for number in range({count} // 2048):
    for stream in (1, 2):
        os.write(stream, line)
os.write(2, b"error\\n"); os.write(1, b"end\\n")
"""

    run(plane, tmp_path, (sys.executable, "-c", writes))

    assert len(output(plane)) == count + len(b"error\nend\n")
    assert output(plane).endswith(b"x\nerror\nend\n")
    assert capfdbinary.readouterr().out.count(b"x" * 1023) == count // 1024


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("echo out; echo err >&2; exit 7", "The executor ended with exit code 7. Its last output:\nout\nerr\n"),
        ("echo out; kill -KILL $$", "The executor was ended by signal 9. Its last output:\nout\n"),
    ],
)
def test_an_executor_that_fails_fails_the_session_with_its_last_output(
    plane: FakeControlPlane, tmp_path: Path, code: str, expected: str
) -> None:
    run(plane, tmp_path, ("sh", "-c", code))

    assert plane.events == ["started", "failed"]
    assert failure(plane) == expected


@pytest.mark.parametrize(
    ("command", "why"), [("/no/such/executor", "No such file or directory"), ("/etc/passwd", "Permission denied")]
)
def test_an_executor_that_cannot_be_started_fails_the_session_and_the_log_says_what_to_do(
    plane: FakeControlPlane, tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str, why: str
) -> None:
    run(plane, tmp_path, (command,))

    assert failure(plane) == "The launcher's program that runs sessions cannot be started."
    logged = "".join(capfd.readouterr())
    assert f"{command} in {tmp_path}/project: {why}. LAUNCHYARD_EXECUTOR must name a program of this machine" in logged


def test_a_session_without_an_executor_fails_and_the_log_says_what_to_do(
    plane: FakeControlPlane, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = plane.config(START)
    with client(None) as http:
        Worker(config, http, tmp_path, open_log(config)).run()

    assert failure(plane) == "The launcher names no program that runs sessions."
    assert "Set LAUNCHYARD_EXECUTOR" in "".join(capfd.readouterr())


def test_only_the_configuration_of_a_session_has_an_executor_and_a_secret_address_is_not_shown(
    plane: FakeControlPlane,
) -> None:
    config = config_of(plane, ECHO, api_url=API_URL)

    assert WorkerConfig.model_validate_json(config.canonical()) == config
    assert API_URL.encode() in config.canonical()
    assert API_URL not in repr(config)
    assert b"executor" not in plane.config(TaskSpec(command=("true",))).canonical()


def test_a_session_runs_in_an_empty_directory_of_its_own_if_none_is_named(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    run(plane, tmp_path, SHOW)

    assert given(plane)["directory"] == given(plane)["request"]["project_dir"] == f"{tmp_path}/project"
    assert not list((tmp_path / "project").iterdir())


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """Directories, of which a launcher allows `allowed` and `linked`, a link to `target`."""
    root = tmp_path / "projects"
    for name in ("allowed/below", "allowed-not", "target/below", "default", "secret"):
        (root / name).mkdir(parents=True)
    (root / "linked").symlink_to("target")
    (root / "allowed/inside").symlink_to("below")
    (root / "allowed/outside").symlink_to("../secret")
    (root / "allowed/loop").symlink_to("loop")
    (root / "way-in").symlink_to("allowed/below")
    (root / "allowed/file").touch()
    return root


def in_project(plane: FakeControlPlane, tmp_path: Path, root: Path, named: str | None) -> None:
    spec = START.model_copy(update={"project_dir": None if named is None else f"{root}/{named}"})
    allowed = (f"{root}/allowed", f"{root}/linked")
    run(plane, tmp_path, SHOW, spec, project_dir=f"{root}/default", project_dirs=allowed)


@pytest.mark.parametrize(
    ("named", "actual"),
    [
        (None, "default"),
        ("default", "default"),
        ("allowed", "allowed"),
        ("allowed/below/", "allowed/below"),
        ("allowed/below/../../secret/../allowed", "allowed"),
        ("linked", "target"),
        ("target/below", "target/below"),
        ("allowed/inside", "allowed/below"),
        ("way-in", "allowed/below"),
    ],
)
def test_a_session_runs_in_an_allowed_directory_with_its_links_resolved(
    plane: FakeControlPlane, tmp_path: Path, projects: Path, named: str | None, actual: str
) -> None:
    in_project(plane, tmp_path, projects, named)

    assert given(plane)["directory"] == given(plane)["request"]["project_dir"] == f"{projects}/{actual}"


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("secret", "is not allowed on this launcher"),
        ("allowed-not", "is not allowed on this launcher"),
        ("allowed/outside", "is not allowed on this launcher"),
        ("allowed/../secret", "is not allowed on this launcher"),
        ("no-such-directory", "is not allowed on this launcher"),
        ("allowed/no-such-directory", "No such file or directory"),
        ("allowed/loop", "Too many levels of symbolic links"),
        ("allowed/file", "Not a directory"),
    ],
)
def test_any_other_directory_is_refused_for_good_and_one_elsewhere_is_not_even_looked_for(
    plane: FakeControlPlane, tmp_path: Path, projects: Path, named: str, why: str
) -> None:
    in_project(plane, tmp_path, projects, named)

    assert plane.events == ["started", "failed"]
    message = failure(plane)
    assert f"The project directory {projects}/{named} " in message
    assert why in message
    assert f"{projects}/secret" not in message.replace(f"{projects}/{named}", "")


@pytest.mark.parametrize("link", ["allowed/below", "allowed"])
def test_a_directory_that_becomes_a_link_after_its_check_is_refused(
    tmp_path: Path, projects: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    (projects / "secret/below").mkdir()
    open_without_links = project_directory.open_without_links

    def replaced_meanwhile(path: str) -> int:
        (projects / link).rename(projects / "moved")
        (projects / link).symlink_to(projects / "secret")
        return open_without_links(path)

    monkeypatch.setattr(project_directory, "open_without_links", replaced_meanwhile)
    executor = Executor(command=ECHO, project_dirs=(f"{projects}/allowed",))

    with (
        pytest.raises(ProgramFailed, match=r"it has become a link\.$"),
        project_directory.opened(f"{projects}/allowed/below", executor, tmp_path / "own"),
    ):
        pass


def test_a_directory_that_becomes_a_link_while_it_is_checked_is_refused(
    tmp_path: Path, projects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_relative_to = Path.is_relative_to

    def replaced_meanwhile(path: Path, other: str) -> bool:
        (projects / "allowed/below").rename(projects / "moved")
        (projects / "allowed/below").symlink_to(projects / "secret")
        return is_relative_to(path, other)

    monkeypatch.setattr(Path, "is_relative_to", replaced_meanwhile)
    executor = Executor(command=ECHO, project_dirs=(f"{projects}/allowed",))

    with (
        pytest.raises(ProgramFailed, match=r"it has become a link\.$"),
        project_directory.opened(f"{projects}/allowed/below", executor, tmp_path / "own"),
    ):
        pass


def test_a_directory_that_is_replaced_before_the_executor_starts_is_still_the_one_that_was_checked(
    plane: FakeControlPlane, tmp_path: Path, projects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_of = session.request_of

    def replaced_meanwhile(spec: SessionSpec, project: ProjectDirectory) -> bytes:
        (projects / "allowed/below").rename(projects / "moved")
        (projects / "allowed/below").symlink_to(projects / "secret")
        return request_of(spec, project)

    monkeypatch.setattr(session, "request_of", replaced_meanwhile)
    in_project(plane, tmp_path, projects, "allowed/below")

    assert given(plane)["directory"] == f"{projects}/moved"


def test_an_output_beyond_its_limit_keeps_its_end_and_says_how_much_is_left_out(tmp_path: Path) -> None:
    kept = KeptOutput(tmp_path / "output.log", limit=1000)
    everything = b"".join(b"line %04d\n" % number for number in range(1000))

    for at in range(0, len(everything), 70):
        kept.write(everything[at : at + 70])
        assert kept.file.stat().st_size <= 1100
    kept.close()

    heading, _, rest = kept.file.read_bytes().partition(b"\n")
    assert everything.endswith(rest)
    assert len(rest) >= 500
    assert heading == b"[the first %d bytes of the output are left out]" % (len(everything) - len(rest))


def test_what_an_executor_leaves_in_its_group_ends_with_it(plane: FakeControlPlane, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    alive = os.fdopen(os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK))

    run(plane, tmp_path, ("sh", "-c", f"exec 3>{tmp_path}/alive; sleep 1000 & echo done"))

    assert output(plane) == b"done\n"
    with alive:
        assert ended(alive)


def test_what_has_left_the_executors_group_does_not_keep_the_session_open(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    """In a machine it ends with the machine, and its launcher finds it by the machine's mark."""
    run(plane, tmp_path, ("sh", "-c", "mkfifo out; setsid sh -c 'echo >out; exec yes' & read _ <out"))

    assert plane.events[-1] == "completed"


def test_of_an_output_that_never_ends_only_what_was_in_the_pipe_is_taken_once_the_executor_has_ended() -> None:
    taken: list[bytes] = []
    with subprocess.Popen(["/bin/true"], stdout=subprocess.PIPE, process_group=0) as child:
        assert child.stdout is not None
        with Path(f"/proc/self/fd/{child.stdout.fileno()}").open("wb", buffering=0) as another:

            def take(data: bytes) -> None:
                taken.append(data)
                another.write(b"again")

            another.write(b"first")
            session.follow(child, take)

    assert taken[0].startswith(b"first")


def test_whatever_stops_a_session_waits_longer_than_what_it_stops() -> None:
    init = (Path(root.__file__).parent / "init").read_text()
    [guest] = re.findall(r"^ +sleep (\d+) .*\n +poweroff", init, re.MULTILINE)

    assert session.STOP_SECONDS < EXIT_SECONDS < TERM_SECONDS
    assert EXIT_SECONDS < int(guest) < POWERDOWN_SECONDS


@contextmanager
def stoppable(
    plane: FakeControlPlane, folder: Path, script: str, patience: float, program: tuple[str, ...] = (PATIENT,)
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A worker whose executor, a shell, has said `up`; all that it starts holds the pipe open."""
    fifo, document = folder / "alive", folder / "config.json"
    os.mkfifo(fifo)
    config = config_of(plane, ("sh", "-c", f"exec 3>{fifo}; {script}"))
    document.write_bytes(config.canonical())
    argv = (sys.executable, "-c", *program, str(patience), "--config", str(document))
    worker = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        with fifo.open() as alive:
            assert alive.readline() == "up\n"
            yield worker, alive
    finally:
        worker.kill()
        worker.communicate(timeout=300)


def ended(alive: IO[str]) -> bool:
    """Wait for the end of file, which comes once no process can write any more."""
    ready, _, _ = select.select([alive], [], [], 300)
    return bool(ready) and not alive.read()


@pytest.mark.parametrize("child", ["sleep 1000", "sh -c 'sleep 1000; :'"])
def test_a_stopped_session_ends_with_its_whole_group_and_without_a_word(
    plane: FakeControlPlane, tmp_path: Path, child: str
) -> None:
    with stoppable(plane, tmp_path, f"{child} & echo up >&3; wait", patience=300) as (worker, alive):
        worker.terminate()
        worker.communicate(timeout=300)

        assert ended(alive)
    assert worker.returncode == 1
    assert plane.events == ["started"]


def test_an_executor_is_asked_first_and_what_it_still_writes_is_shown(plane: FakeControlPlane, tmp_path: Path) -> None:
    flood = "yes x | head -c 200000"
    script = f"trap '{flood}; echo; echo saved; exit 0' TERM; echo up >&3; while :; do sleep 0.01; done"
    with stoppable(plane, tmp_path, script, patience=300) as (worker, _):
        worker.terminate()
        shown, _ = worker.communicate(timeout=300)

    assert shown.splitlines()[-1] == "saved"
    assert shown.count("x\n") == 100_000


def test_an_executor_that_has_just_started_is_asked_first(plane: FakeControlPlane, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script = f"trap 'echo saved; exit 0' TERM; : >{runs}; echo up >&3; while :; do sleep 0.01; done"
    with stoppable(plane, tmp_path, script, 300, (STOPPED_WHILE_IT_STARTS, str(runs))) as (worker, _):
        shown, _ = worker.communicate(timeout=300)

    assert shown.splitlines()[-1] == "saved"


def test_an_executor_that_does_not_end_is_killed_with_its_whole_group(plane: FakeControlPlane, tmp_path: Path) -> None:
    script = "trap '' TERM; sh -c 'while :; do sleep 1000; done' & echo up >&3; while :; do sleep 1000; done"
    with stoppable(plane, tmp_path, script, patience=0.1) as (worker, alive):
        worker.terminate()
        worker.communicate(timeout=300)

        assert ended(alive)
    assert worker.returncode == 1


def test_an_executor_is_no_member_of_its_workers_process_group(plane: FakeControlPlane, tmp_path: Path) -> None:
    with stoppable(plane, tmp_path, "echo up >&3; sleep 1000", patience=300) as (worker, _):
        [executor] = psutil.Process(worker.pid).children()

        assert os.getpgid(executor.pid) == executor.pid
        assert executor.is_running()
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=300)
