"""The unit is started and stopped by systemctl, which here is a script that notes how it was called."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from launcher.cli.install import carry_out, take_out
from launcher.installation import files
from launcher.installation.files import ALL, CREDENTIALS, UNIT, UNITS, File, inside
from launcher.installation.plan import InstallationPlan, prepare
from launcher.installation.service import MachinesRun, NotActive, Service, ServiceFailed, missing_for_a_service
from tests.launcher.installation.hosts import KEY, OTHER_KEY, HostRoot, a_host, a_pool, write_systemctl

ENABLE, IS_ACTIVE = f"systemctl enable {UNIT}", f"systemctl is-active --quiet {UNIT}"
RELOAD = "systemctl daemon-reload"
OTHER_PROGRAM = Path("/opt/launchyard/bin/python")
STARTED_ANEW = [RELOAD, ENABLE, f"systemctl restart {UNIT}", IS_ACTIVE]
LEFT_RUNNING = [RELOAD, ENABLE, f"systemctl start {UNIT}", IS_ACTIVE]


@pytest.fixture
def host(tmp_path: Path) -> HostRoot:
    return a_host(tmp_path / "root")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which each call of systemctl and journalctl is a line."""
    noted = write_systemctl(tmp_path / "bin")
    variables = {"CALLS": str(noted), "FAILS": "nothing", "MACHINES": ""}
    for name, value in {**variables, "PATH": f"{noted.parent}:{os.environ['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    return noted


def plan_of(host: HostRoot, key: str | None = KEY) -> InstallationPlan:
    return prepare(host.request(key=key), lambda _: None)


def lines(calls: Path) -> list[str]:
    """Return the calls since they were last asked for."""
    noted = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return noted


def test_the_unit_is_read_enabled_and_started_once_all_files_are_there(host: HostRoot, calls: Path) -> None:
    assert carry_out(plan_of(host), host.root, Service())

    assert lines(calls) == STARTED_ANEW
    assert all(inside(host.root, path).is_file() for path in ALL)


def test_a_second_installation_changes_nothing_says_so_and_does_not_restart_the_launcher(
    host: HostRoot, calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(plan_of(host), host.root, Service())
    first = {path: (inside(host.root, path).stat().st_mtime_ns, inside(host.root, path).stat().st_ino) for path in ALL}
    lines(calls)
    capsys.readouterr()

    assert carry_out(plan_of(host, key=None), host.root, Service())

    assert lines(calls) == LEFT_RUNNING
    assert "Nothing has changed." in capsys.readouterr().out
    assert first == {
        path: (inside(host.root, path).stat().st_mtime_ns, inside(host.root, path).stat().st_ino) for path in ALL
    }


@pytest.mark.parametrize("interrupted", ["write", "reload", "start"])
def test_after_an_installation_that_was_interrupted_the_next_one_starts_the_launcher_anew(
    host: HostRoot, calls: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    carry_out(plan_of(host), host.root, Service())
    real = files.write

    def write_and_die(root: Path, written: Iterable[File]) -> None:
        listed = list(written)
        real(root, listed)
        if interrupted == "write" and listed and listed[-1].path == UNITS / UNIT:
            raise KeyboardInterrupt

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, "write", write_and_die)
        if interrupted != "write":
            patched.setattr(Service, interrupted, die)
        with pytest.raises(KeyboardInterrupt):
            carry_out(prepare(host.request(key=OTHER_KEY, program=OTHER_PROGRAM), lambda _: None), host.root, Service())
    lines(calls)

    for expected in (STARTED_ANEW, LEFT_RUNNING):
        again = prepare(host.request(key=None, program=OTHER_PROGRAM), lambda _: None)
        assert all(file.is_at(host.root) for file in again.files)
        assert carry_out(again, host.root, Service())
        assert lines(calls) == expected


def test_credentials_that_the_pool_no_longer_has_are_removed_and_the_launcher_starts_anew(
    host: HostRoot, calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(plan_of(host), host.root, Service())
    lines(calls)

    carry_out(prepare(host.request(a_pool(None)), lambda _: None), host.root, Service())

    assert not host.at(CREDENTIALS).exists()
    assert lines(calls) == STARTED_ANEW
    shown = capsys.readouterr().out
    assert "removed /etc/launchyard/credentials.json\n" in shown
    assert "removed: GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_CLOUD_PROJECT\n" in shown


def test_a_changed_setting_restarts_the_launcher_and_is_shown_by_its_name_alone(
    host: HostRoot, calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(plan_of(host), host.root, Service())
    lines(calls)

    carry_out(plan_of(host, key=OTHER_KEY), host.root, Service())

    assert "changed: LAUNCHYARD_LAUNCHER_KEY\n" in capsys.readouterr().out
    noted = lines(calls)
    assert noted == STARTED_ANEW
    assert KEY not in "".join(noted)


def test_a_launcher_that_does_not_start_is_shown_with_the_last_lines_of_its_log(
    host: HostRoot, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for failing in ("restart*", "is-active*"):
        monkeypatch.setenv("FAILS", failing)

        with pytest.raises(NotActive, match=r"(?s)failed with 1.*The last lines of its log:\nthe last line of the log"):
            carry_out(plan_of(host), host.root, Service())

        assert lines(calls)[-1].startswith(f"journalctl --unit {UNIT} --lines 20")
        inside(host.root, UNITS / UNIT).unlink()


def test_a_launcher_without_an_image_is_installed_and_not_started(host: HostRoot, calls: Path) -> None:
    plan = prepare(host.request(a_pool(PROVIDER="qemu")), lambda _: None)

    assert not carry_out(plan, host.root, Service())

    assert lines(calls) == [RELOAD]


def test_a_systemctl_that_hangs_or_is_missing_fails_in_words(
    host: HostRoot, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin" / "systemctl").write_text("#!/bin/sh\nexec sleep 600\n")
    with pytest.raises(ServiceFailed, match="`systemctl daemon-reload` has not ended after 0 s"):
        Service(seconds=0.1).reload()

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceFailed, match="`systemctl daemon-reload` cannot be run: No such file"):
        Service().reload()


def test_a_removal_drains_first_and_takes_the_filter_of_machines_away_only_once_none_run(
    host: HostRoot, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(plan_of(host), host.root, Service())
    lines(calls)
    disable, list_machines = (
        f"systemctl disable --now {UNIT}",
        "systemctl list-units --plain --no-legend launchyard-vm-*.scope",
    )
    monkeypatch.setenv("MACHINES", "launchyard-vm-1.scope loaded active running\nlaunchyard-vm-2.scope loaded active\n")

    with pytest.raises(MachinesRun, match=r"2 machines still run.*systemctl stop launchyard-vms\.slice"):
        take_out(host.root, Service())
    assert all(inside(host.root, path).is_file() for path in ALL)
    assert lines(calls) == [disable, list_machines]

    monkeypatch.setenv("MACHINES", "")
    assert set(take_out(host.root, Service())) == set(ALL)
    assert lines(calls) == [disable, list_machines, "systemctl stop launchyard-vms.slice", RELOAD]

    assert take_out(host.root, Service()) == ()
    assert lines(calls) == [RELOAD]


def test_a_host_without_systemd_is_not_one_for_a_service(calls: Path, tmp_path: Path) -> None:
    (lacking,) = (line for line in missing_for_a_service(tmp_path / "nothing") if "systemd" in line)

    assert "--root DIR" in lacking
    assert [line for line in missing_for_a_service(tmp_path) if "systemd" in line] == []


def test_a_user_who_is_not_root_is_told_to_be(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert list(missing_for_a_service(tmp_path)) == [
        "Only root can install a service: run this as root, or with --root DIR."
    ]
