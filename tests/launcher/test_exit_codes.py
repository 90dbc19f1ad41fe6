"""The exit codes of a launcher that cannot run: 1 if a retry may help, 2 if a person must correct something first."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from launcher.cli.daemon import app
from shared.wire.launchers import Hold


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *((number, 1) for number in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EMFILE", "ENFILE", "ENOMEM")),
        *((number, 2) for number in ("EACCES", "EPERM", "ENOTDIR", "EEXIST", "ELOOP", "ENAMETOOLONG")),
    ],
)
@pytest.mark.parametrize("where", ["mkdir", "open", "replace", "iterdir"])
def test_an_unusable_state_directory_is_reported_as_passing_or_as_lasting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: str, code: int
) -> None:
    state, error, real = tmp_path / "state", getattr(errno, number), getattr(Path, where)

    def fails(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == state or state in path.parents:
            raise OSError(error, os.strerror(error), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, where, fails)

    result = run(monkeypatch, state)

    assert result.exit_code == code
    assert os.strerror(error) in result.stderr
    assert "Traceback" not in result.stderr


def test_an_internal_failure_is_not_reported_as_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.daemon.daemon.Daemon.run", lambda *_: Hold(order_id="", epoch=0))

    result = run(monkeypatch, tmp_path)

    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)  # and not the error itself, which the command would take for usage
    assert "its log says how" in result.stderr


def test_a_cloud_without_credentials_may_have_some_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PROVIDERS": "gcp", "GCP_PROJECT": "a-project"}.items():
        monkeypatch.setenv(f"LAUNCHYARD_{name}", value)
    monkeypatch.delenv("LAUNCHYARD_DATACENTER", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing"))

    result = run(monkeypatch, tmp_path)

    assert result.exit_code == 1
    assert "Compute Engine refuses requests from here" in result.stderr


def run(monkeypatch: pytest.MonkeyPatch, state: Path) -> Result:
    """Run a launcher of this state directory, whose control plane does not answer."""
    monkeypatch.setattr("launcher.daemon.logs.configure", lambda file: None)
    monkeypatch.setattr("launcher.daemon.daemon.Events.receive_signals", lambda events: None)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back at the end
    settings = {"URL": f"http://{LOOPBACK}:{free_port()}", "LAUNCHER_KEY": "ly_secret", "PROVIDER": "process"}
    for name, value in settings.items():
        monkeypatch.setenv(f"LAUNCHYARD_{name}", value)
    return CliRunner().invoke(app, ["run", "--state-dir", str(state)])
