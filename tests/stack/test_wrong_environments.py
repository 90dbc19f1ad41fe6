"""Each program explains an environment that cannot work: one line with what to do, no traceback, and no secret."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner
from werkzeug import Request, Response

from cli import main
from emulators import scheduler
from emulators.ports import free_port
from emulators.processes import LOOPBACK
from functions.settings import CallbackSettings, read_settings
from launcher.cli.daemon import app as launcher
from launcher.cli.doctor import DoctorSettings
from launcher.host.checks.host import Case, Host
from launcher.host.checks.service import control_plane
from launcher.host.hypervisor import QemuMode
from shared.settings import SettingsWrong, read
from tests.certificates import serving_tls

CANARY: Final = "ly_canary-of-at-least-32-characters"
NOWHERE: Final = "https://control-plane.invalid"
KEYS: Final = ("CLIENT_KEY", "LAUNCHER_KEY", "ADMIN_KEY", "CALLBACK_SECRET")
PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")

WRONG: Final = {
    "LAUNCHYARD_URL": (
        "nowhere",
        f"https://user:{CANARY}@control-plane.example",
        "https://control-plane.example/v1",
        "https://a..example",
        f"https://control-plane.example?{CANARY}",
        "https://control-plane.example:99999",
    ),
    "ALL_PROXY": (f"socks5://user:{CANARY}@127.0.0.1:1080", f"ftp://{CANARY}@x", "http://[::1"),
    "SSL_CERT_FILE": ("/no/such/file", "/dev/null"),
}
"""By the variable that is to be named."""
CASES: Final = [(variable, value) for variable, values in WRONG.items() for value in values]


@dataclass(frozen=True)
class Done:
    code: int
    output: str


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("LAUNCHYARD_") or name.upper() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)  # where no stack's settings are
    monkeypatch.setenv("LAUNCHYARD_URL", NOWHERE)
    for name in KEYS:
        monkeypatch.setenv(f"LAUNCHYARD_{name}", CANARY)


Program = Callable[..., Done]


@pytest.fixture
def launchyard(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Program:
    """The command line, in this process."""

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["launchyard", *words])
        with pytest.raises(SystemExit) as ended:
            main.run()
        captured = capfd.readouterr()
        return Done(int(ended.value.code or 0), captured.out + captured.err)

    return run


def run_launcher() -> Done:
    words = ["run", "--provider", "process", "--state-dir", "state", "--one-shot"]
    done = CliRunner().invoke(launcher, words)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return Done(done.exit_code, done.stderr)


def ask_doctor() -> Done:
    """Only what concerns the control plane: the rest boots a machine."""
    try:
        settings = read(DoctorSettings)
    except SettingsWrong as wrong:
        return Done(2, str(wrong))
    finding = control_plane(Case(Host(), QemuMode.TCG, url=settings.url))
    return Done(0 if finding.met else 1, f"{finding.found}; to do: {finding.to_do}")


def assert_explained(done: Done, code: int, variable: str) -> None:
    assert done.code == code
    assert [line for line in done.output.splitlines() if line.startswith(variable)], done.output
    assert "Traceback" not in done.output
    assert CANARY not in done.output


@pytest.mark.parametrize(("variable", "value"), CASES)
def test_the_command_line_names_the_variable_and_exits_2(
    monkeypatch: pytest.MonkeyPatch, launchyard: Program, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    assert_explained(launchyard("order", "list"), 2, variable)


@pytest.mark.parametrize(("variable", "value"), CASES)
def test_the_launcher_names_the_variable_and_exits_2_so_that_nothing_starts_it_again_and_again(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setattr("launcher.daemon.logs.configure", lambda file: None)
    monkeypatch.setattr("threading.excepthook", lambda failure: None)
    monkeypatch.setenv(variable, value)

    assert_explained(run_launcher(), 2, variable)


@pytest.mark.parametrize(("variable", "value"), CASES)
def test_the_doctor_names_the_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)

    assert_explained(ask_doctor(), 2 if variable == "LAUNCHYARD_URL" else 1, variable)


@pytest.mark.parametrize(("variable", "value"), CASES)
def test_the_scheduler_names_the_variable_and_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as ended:
        scheduler.main()

    assert_explained(Done(int(ended.value.code or 0), capsys.readouterr().err), 2, variable)


def test_a_proxy_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch, launchyard: Program) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{CANARY}@{LOOPBACK}:{free_port()}")

    for done in (launchyard("order", "list"), ask_doctor()):
        assert done.code == 1
        assert "(HTTPS_PROXY) cannot be reached" in done.output
        assert CANARY not in done.output


@pytest.mark.parametrize("no_proxy", ["fd00::/8", "[::1]", "::1,10.0.0.0/8"])
def test_networks_and_ipv6_addresses_may_stand_in_no_proxy(
    monkeypatch: pytest.MonkeyPatch, launchyard: Program, no_proxy: str
) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("HTTP_PROXY", f"http://{LOOPBACK}:{free_port()}")
    with serving_tls(None, lambda request: Response('{"orders": [], "next": null}')) as port:
        monkeypatch.setenv("LAUNCHYARD_URL", f"http://{LOOPBACK}:{port}")
        done, finding = launchyard("order", "list"), ask_doctor()

    assert (done.code, finding.code) == (0, 0)


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\t"])
def test_white_space_around_a_key_does_not_reach_the_control_plane(
    monkeypatch: pytest.MonkeyPatch, launchyard: Program, around: str
) -> None:
    sent: list[str | None] = []

    def answer(request: Request) -> Response:
        sent.append(request.headers.get("Authorization"))
        return Response('{"orders": [], "next": null}')

    monkeypatch.setenv("LAUNCHYARD_CLIENT_KEY", f"{CANARY}{around}")
    with serving_tls(None, answer) as port:
        monkeypatch.setenv("LAUNCHYARD_URL", f"http://{LOOPBACK}:{port}{around}")
        done = launchyard("order", "list")

    assert (done.code, sent) == (0, [f"Bearer {CANARY}"])


@pytest.mark.parametrize("within", ["\n", "\r", "é", "”"])
def test_a_key_that_cannot_be_sent_is_shown_by_no_program(
    monkeypatch: pytest.MonkeyPatch, launchyard: Program, capfd: pytest.CaptureFixture[str], within: str
) -> None:
    for name in KEYS:
        monkeypatch.setenv(f"LAUNCHYARD_{name}", f"{CANARY}{within}{CANARY}")
    monkeypatch.setenv("LAUNCHYARD_BUCKET", "s3://bucket")

    assert_explained(launchyard("order", "list"), 2, "LAUNCHYARD_CLIENT_KEY")
    assert_explained(run_launcher(), 2, "LAUNCHYARD_LAUNCHER_KEY")
    for start, variable in (
        (scheduler.main, "LAUNCHYARD_ADMIN_KEY"),
        (lambda: read_settings([CallbackSettings]), "  LAUNCHYARD_CALLBACK_SECRET"),
    ):
        with pytest.raises(SystemExit) as ended:
            start()
        assert_explained(Done(int(ended.value.code or 0), capfd.readouterr().err), 2, variable)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("order", "create", "task", "--key", "ключ-1", "--", "true"), 2, "idempotency key"),
        (("order", "create", "task", "--", "\udcff"), 2, "command.0"),
        (("order", "get", ""), 2, "no order's id"),
        (("order", "get", "../accounts"), 2, "no order's id"),
        (("order", "get", "заказ"), 2, "no order's id"),
        (("order", "list", "--after", "\udcff"), 2, "cannot be sent"),
        (("order", "output", "id", "--out", ""), 2, "names no folder"),
        (("order", "get", "id"), 1, "did not answer"),
    ],
)
def test_words_that_cannot_be_sent_are_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, launchyard: Program, words: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.setenv("LAUNCHYARD_URL", f"http://{LOOPBACK}:{free_port()}")

    done = launchyard(*words)

    assert done.code == code
    assert message in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("written", "sent"), [("0c1f8c0e-0000-4000-8000-000000000000\r", "0c1f8c0e-0000-4000-8000-000000000000")]
)
def test_an_id_from_a_file_of_windows_is_the_id(
    monkeypatch: pytest.MonkeyPatch, launchyard: Program, written: str, sent: str
) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.path)
        return Response(status=503)

    with serving_tls(None, answer) as port:
        monkeypatch.setenv("LAUNCHYARD_URL", f"http://{LOOPBACK}:{port}")
        launchyard("order", "get", written)

    assert asked == [f"/v1/orders/{sent}"]


def test_an_empty_key_is_sent_as_it_is_and_so_is_refused_by_the_control_plane(
    monkeypatch: pytest.MonkeyPatch, launchyard: Program
) -> None:
    """An empty variable in a script must not become a random key: a repeat would create a second order."""
    keys: list[str | None] = []

    def answer(request: Request) -> Response:
        keys.append(request.headers.get("Idempotency-Key"))
        return Response(status=503)

    with serving_tls(None, answer) as port:
        monkeypatch.setenv("LAUNCHYARD_URL", f"http://{LOOPBACK}:{port}")
        launchyard("order", "create", "task", "--key", "", "--", "true")

    assert keys == [""]


@pytest.mark.parametrize(
    ("option", "variable"),
    [
        ("--state-dir", "STATE_DIR"),
        ("--image", "IMAGE"),
        ("--url", "URL"),
        ("--gcp-image", "GCP_IMAGE"),
        ("--name-prefix", "NAME_PREFIX"),
    ],
)
def test_an_empty_option_of_the_launcher_is_a_mistake_and_not_an_absent_one(option: str, variable: str) -> None:
    done = CliRunner().invoke(launcher, ["run", "--provider", "process", "--one-shot", option, ""])

    assert_explained(Done(done.exit_code, done.stderr), 2, f"LAUNCHYARD_{variable}")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("LAUNCHYARD_URL", "http://[::1]:8080", "LAUNCHYARD_URL is an IPv6 address"),
        ("LAUNCHYARD_URL", "https://[fd00::1]", "LAUNCHYARD_URL is an IPv6 address"),
        ("LAUNCHYARD_SOURCE_API", "http://[::1]:8080", "LAUNCHYARD_SOURCE_API: "),
    ],
)
def test_an_address_that_no_machine_reaches_is_refused_by_a_launcher_of_machines(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)

    done = CliRunner().invoke(launcher, ["run", "--one-shot", "--image", "image", "--image-digest", "0" * 64])

    assert done.exit_code == 2
    assert message in done.stderr
    assert "IPv4 alone" in done.stderr


def test_the_doctor_reports_a_name_without_an_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_tls(None, lambda request: Response("fine"), "::1") as port:
        monkeypatch.setenv("LAUNCHYARD_URL", f"http://[::1]:{port}")
        done = ask_doctor()

    assert done.code == 1
    assert "its machines do not: they have only IPv4" in done.output


GO_ON: Final = "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
CLOSED: Final = f"import os, sys; os.close(1); {GO_ON}"
BROKEN: Final = f"import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); {GO_ON}"


@pytest.mark.parametrize("start", [CLOSED, BROKEN], ids=["closed", "no reader"])
@pytest.mark.parametrize("words", [("cli.main", "order", "list", "--json"), ("launcher", "run", "--help")])
def test_output_without_a_reader_causes_no_traceback(start: str, words: tuple[str, ...]) -> None:
    with serving_tls(None, lambda request: Response('{"orders": [], "next": null}')) as port:
        environment = {**os.environ, "LAUNCHYARD_URL": f"http://{LOOPBACK}:{port}"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        argv = (sys.executable, "-c", start, "-m", *words)
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode in (0, 1), done.stderr) == (True, "")


def test_an_encoding_that_lacks_a_character_loses_it_and_nothing_else() -> None:
    code = "from shared import standard_streams; standard_streams.prepare(); print('a … b')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run((sys.executable, "-c", code), env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "a ? b\n", "")


def test_a_file_that_is_opened_does_not_become_a_stream_that_was_closed(tmp_path: Path) -> None:
    code = "import sys; from shared import standard_streams; standard_streams.prepare(); "
    code += "file = open(sys.argv[1], 'w'); print('printed', flush=True); sys.exit(file.fileno() < 3)"
    start = (sys.executable, "-c", CLOSED, "-c", code, str(tmp_path / "file"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    assert subprocess.run(start, env=environment, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == ""
