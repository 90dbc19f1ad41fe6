"""`launchyard launcher install` and `uninstall`, as an operator types them."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner, Result

from launcher.cli import install
from launcher.cli.daemon import app
from launcher.cli.install import program, refusal
from launcher.installation.files import ALL, ENVIRONMENT, inside
from launcher.installation.variables import read_from
from launcher.settings import LauncherSettings
from tests.launcher.fake_control_plane import HOLDS, FakeControlPlane
from tests.launcher.installation.hosts import KEY, OTHER_KEY, PROGRAM, SETTINGS, a_pool
from tests.launcher.tdx_host import write

COMMAND: Final = f"""
from pathlib import Path
from launcher.cli import install
from launcher.cli.daemon import app
install.program = lambda: Path("{PROGRAM}")
app()
"""
"""The program of a checkout may be below /home, which the unit hides."""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("LAUNCHYARD_", "LAUNCHER_", "CP_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(install, "program", lambda: PROGRAM)


def run(folder: Path, *words: str, pool: Any = None, key: str | None = None, stdin: str = "") -> Result:
    config = write(folder / "launcher_config.json", json.dumps({"rack-7": pool or a_pool()}))
    arguments = (str(config), "--pool", "rack-7", "--name", "rack-7-host-1", "--root", str(folder / "root"), *words)
    environment = {} if key is None else {"LAUNCHYARD_LAUNCHER_KEY": key}
    return CliRunner().invoke(app, ["install", *arguments], env=environment, input=stdin)


def test_one_file_and_one_command_install_a_launcher(tmp_path: Path, server: FakeControlPlane) -> None:
    result = run(tmp_path, pool=a_pool(URL=server.url), key=KEY)

    assert (result.exit_code, result.stderr) == (0, "")
    root = tmp_path / "root"
    assert all(inside(root, path).is_file() for path in ALL)
    assert "wrote /etc/launchyard/launchyard.env (0600)\n" in result.stdout
    assert "added: LAUNCHYARD_LAUNCHER_NAME, LAUNCHYARD_LAUNCHER_KEY, LAUNCHYARD_URL, " in result.stdout
    assert KEY not in result.output
    assert [seen.path for seen in server.seen] == [HOLDS]

    again = run(tmp_path, pool=a_pool(URL=server.url))
    assert (again.exit_code, again.stdout) == (0, "Nothing has changed.\n")


def test_a_key_that_the_control_plane_refuses_is_not_installed(tmp_path: Path, server: FakeControlPlane) -> None:
    server.refuse(HOLDS, 401, "unauthorized")

    result = run(tmp_path, pool=a_pool(URL=server.url), key=KEY)

    assert result.exit_code == 2
    assert f"{server.url} does not accept this launcher" in result.stderr
    assert KEY not in result.output
    assert not (tmp_path / "root").exists()

    assert run(tmp_path, "--offline", pool=a_pool(URL=server.url), key=KEY).exit_code == 0


def test_the_key_may_come_through_standard_input_and_replaces_the_installed_one(tmp_path: Path) -> None:
    run(tmp_path, "--offline", key=KEY)

    result = run(tmp_path, "--offline", "--key-stdin", stdin=f"{OTHER_KEY}\n")

    assert result.exit_code == 0
    assert "changed: LAUNCHYARD_LAUNCHER_KEY\n" in result.stdout
    settings = inside(tmp_path / "root", ENVIRONMENT).read_text()
    assert (OTHER_KEY in settings, KEY in settings) == (True, False)
    assert run(tmp_path, "--offline", "--key-stdin").exit_code == 2


def test_on_a_terminal_the_key_is_asked_for_and_not_shown(tmp_path: Path) -> None:
    config = write(tmp_path / "launcher_config.json", json.dumps({"rack-7": a_pool()}))
    controller, terminal = pty.openpty()
    words = (str(config), "--pool", "rack-7", "--name", "a", "--offline", "--root", str(tmp_path / "root"))
    with subprocess.Popen(
        (sys.executable, "-c", COMMAND, "install", *words),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as command:
        os.close(terminal)
        shown = b""
        while b"The launcher's key: " not in shown:
            shown += os.read(controller, 1024)
        os.write(controller, f"{KEY}\n".encode())
        while chunk := _read(controller):
            shown += chunk
        os.close(controller)
        command.wait()

    assert KEY in inside(tmp_path / "root", ENVIRONMENT).read_text(), shown.decode()
    assert KEY.encode() not in shown


def test_all_problems_are_shown_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    result = run(tmp_path, "--offline", "--image", "/opt/image", pool=a_pool(SLOT="1"))

    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "Nothing was written:"
    assert len(lines) == 4
    assert not (tmp_path / "root").exists()


def test_no_option_of_the_command_takes_the_key(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["install", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output

    assert "--key-stdin" in shown
    assert run(tmp_path, "--offline", "--key", KEY).exit_code == 2


def test_an_installation_without_an_image_says_what_is_left_to_do_and_ends_with_1(tmp_path: Path) -> None:
    result = run(tmp_path, "--offline", pool=a_pool(PROVIDER="qemu"), key=KEY)

    assert result.exit_code == 1
    assert "it has no guest image" in result.stdout
    assert inside(tmp_path / "root", ENVIRONMENT).is_file()


def test_uninstall_removes_what_install_wrote(tmp_path: Path) -> None:
    run(tmp_path, "--offline", key=KEY)
    words = ["uninstall", "--root", str(tmp_path / "root")]

    first, second = CliRunner().invoke(app, words), CliRunner().invoke(app, words)

    assert "removed /etc/launchyard/launchyard.env\n" in first.stdout
    assert "The state directory stays." in first.stdout
    assert second.stdout == "Nothing was installed.\n"
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == []


def test_a_control_plane_that_cannot_be_asked_is_named_with_the_way_around(server: FakeControlPlane) -> None:
    settings = {**SETTINGS, "LAUNCHYARD_LAUNCHER_KEY": KEY}
    assert refusal(read_from(LauncherSettings, {**settings, "LAUNCHYARD_URL": server.url})) is None

    why = refusal(read_from(LauncherSettings, {**settings, "LAUNCHYARD_URL": "http://127.0.0.1:9"}))

    assert why is not None
    assert "http://127.0.0.1:9" in why
    assert "--offline" in why


def test_the_unit_starts_the_program_that_runs_or_the_one_beside_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = write(tmp_path / "launchyard", "")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert program() == script

    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    assert program() == Path(sys.executable).with_name("launchyard")


def _read(terminal: int) -> bytes:
    """Return what a terminal shows next; nothing once its programs have ended."""
    try:
        return os.read(terminal, 1024)
    except OSError:
        return b""
