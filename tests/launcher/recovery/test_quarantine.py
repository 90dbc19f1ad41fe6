"""Directories that cannot be explained are quarantined, and other machines are still adopted."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast
from uuid import uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launcher.daemon.daemon import Daemon, Events
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from launcher.machines import directory, inventory
from launcher.machines.directory import LEASE, MANIFEST, PROCESS, read
from launcher.machines.records import VmLease, VmManifest
from launcher.orders.adoption import Adoption, holds_in
from launcher.orders.assignments import Assignments
from launcher.orders.attempt import AttemptRunner
from launcher.orders.reports import ReportSender
from launcher.providers.registry import Providers
from launcher.vm_tool.machines import new_name
from shared.guest.config import Sources
from shared.wire.launchers import Hold
from tests.launcher.conftest import InProcessLauncher, room_for
from tests.launcher.fake_control_plane import UPDATES
from tests.launcher.recovery.left import Left, a_directory, adopt, assert_quarantined
from tests.launcher.stand_ins import a_manifest


@pytest.mark.parametrize("damaged", [MANIFEST, PROCESS])
def test_a_directory_that_cannot_be_read_is_kept_aside_and_its_process_runs_on(
    launcher: InProcessLauncher, leave: Callable[..., Left], damaged: str
) -> None:
    left = leave()
    (left.directory.path / damaged).write_text("not what it was")

    logs = adopt(launcher)

    assert not launcher.assignments.held()
    assert left.process.is_running()
    assert_quarantined(launcher, left.directory, logs)


@pytest.mark.parametrize("short_of", ["reading", "watching"])
def test_a_host_without_descriptors_quarantines_nothing_and_leaves_adopted_machines_running(
    launcher: InProcessLauncher, leave: Callable[..., Left], monkeypatch: pytest.MonkeyPatch, short_of: str
) -> None:
    first, second = sorted((leave(), leave()), key=lambda left: left.directory.path)
    reading, watching = Path.read_bytes, os.pidfd_open

    def read_bytes(path: Path) -> bytes:
        if short_of == "reading" and path == second.directory.path / MANIFEST:
            raise OSError(errno.EMFILE, "Too many open files")
        return reading(path)

    def pidfd_open(pid: int, flags: int = 0) -> int:
        if short_of == "watching" and pid == second.machine.pid:
            raise OSError(errno.EMFILE, "Too many open files")
        return watching(pid, flags)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    heartbeat = HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)
    adoption = Adoption(launcher.runner, launcher.assignments, launcher.admission)
    daemon = Daemon(adoption.run, launcher.admission, launcher.assignments, lambda: None, heartbeat, drain_seconds=60)

    with pytest.raises(OSError, match="Too many open files"):
        daemon.run(Events())
    assert launcher.assignments.held() == ()
    assert first.process.is_running()
    assert second.process.is_running()
    assert sorted(inventory.remaining(launcher.state)) == [first.directory.path, second.directory.path]


def test_a_directory_without_a_manifest_is_kept_aside_and_the_others_are_adopted(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    strange = launcher.state / "vms" / "0-strange"
    strange.mkdir(parents=True)
    left = leave()

    adopt(launcher)

    assert (launcher.state / "quarantine" / "0-strange").is_dir()
    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [left.order_id]


@pytest.mark.parametrize("damaged", [MANIFEST, PROCESS])
def test_the_log_of_a_quarantined_directory_names_what_still_runs_of_it(
    launcher: InProcessLauncher, leave: Callable[..., Left], damaged: str
) -> None:
    left = leave()
    (left.directory.path / damaged).write_text("{}")

    (line,) = [line for line in adopt(launcher) if line["log_level"] == "error"]

    if damaged == MANIFEST:  # nobody can tell whose it is
        assert "LAUNCHYARD_VM" in str(line["to_do"])
    else:
        assert (line["uuid"], line["pids"]) == (left.directory.manifest.uuid, [left.machine.pid])
        assert "pid" in str(line["why"])


def test_machines_of_the_operators_are_left_alone(launcher: InProcessLauncher, leave: Callable[..., Left]) -> None:
    manifest = a_manifest(str(uuid4()), epoch=0).model_copy(update={"vm": new_name()})
    theirs = directory.create(launcher.state, manifest, b"{}", VmLease(ends=0, seconds=0))
    left = leave()

    adopt(launcher)

    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [left.order_id]
    assert read(theirs.path) == theirs
    assert holds_in(launcher.state) == {Hold(order_id=left.order_id, epoch=1)}


@pytest.mark.parametrize("how", ["copied", "linked"])
def test_a_copy_of_a_directory_or_a_link_to_it_is_put_aside_and_its_machine_adopted_once(
    launcher: InProcessLauncher, leave: Callable[..., Left], how: str
) -> None:
    left = leave()
    other = left.directory.path.with_name(f"0-{left.directory.path.name}")
    if how == "copied":
        shutil.copytree(left.directory.path, other)
    else:
        other.symlink_to(left.directory.path)

    (line,) = [line for line in adopt(launcher) if line["log_level"] == "error"]

    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [left.order_id]
    assert "pids" not in line
    assert left.process.is_running()


def test_a_directory_that_is_put_aside_a_second_time_is_put_beside_the_first(launcher: InProcessLauncher) -> None:
    for _ in range(2):
        (launcher.state / "vms" / "strange").mkdir(parents=True)
        adopt(launcher)

    assert sorted(path.name for path in (launcher.state / "quarantine").iterdir()) == ["strange", "strange.1"]


def test_directories_that_cannot_be_listed_do_not_count_as_none(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    (launcher.state / "vms").write_text("not a folder")

    with pytest.raises(NotADirectoryError):
        adopt(launcher)


class Resumed:
    """A stand-in for the assignments: records the orders to continue, and does nothing."""

    def __init__(self) -> None:
        self.holds: list[Hold] = []

    def resume(self, hold: Hold, *_: object) -> None:
        self.holds.append(hold)


NAMES: Final = st.sampled_from(
    ["0-1", "zz-1", "x", "notes.txt", "lost+found", ".hidden", ".x-1.partial", ".x-1.removed", "é-1", "a b-2"]
)


VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=5,
)


FIELDS: Final = st.sampled_from([*VmManifest.model_fields, "pid", "started", "ends", "seconds"])
CONTENTS: Final = st.binary(max_size=50) | st.dictionaries(FIELDS, VALUES).map(lambda made: json.dumps(made).encode())
FILES: Final = st.dictionaries(st.sampled_from([MANIFEST, PROCESS, LEASE, "config.json", "x"]), CONTENTS)
NEARLY: Final = st.dictionaries(FIELDS, VALUES, max_size=2).map(
    lambda changes: {MANIFEST: json.dumps(a_manifest("0").model_dump(mode="json") | changes).encode()}
)
"""The manifest of the directory 0-1, but for a field or two."""


@settings(deadline=None, max_examples=100, derandomize=True)
@example(garbage={"0-0": {MANIFEST: a_manifest("0", epoch=0).model_dump_json().encode()}})
@example(garbage={"-1": {MANIFEST: a_manifest("").model_dump_json().encode()}})
@given(garbage=st.dictionaries(NAMES, CONTENTS | FILES | NEARLY | st.just("link") | st.just("nowhere"), max_size=4))
def test_a_machine_is_adopted_in_spite_of_other_entries_beside_its_directory(garbage: Mapping[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        good = a_directory(state)
        for name, content in garbage.items():
            write_at(state / "vms" / name, content, good.path)
        resumed, providers = Resumed(), Providers({}, None)
        runner = AttemptRunner(
            "alpha", "http://nowhere", Sources(), state, providers, cast("ReportSender", None), lambda *_: None
        )

        Adoption(runner, cast("Assignments", resumed), room_for(state, 2)).run()

        assert Hold(order_id=good.manifest.order_id, epoch=1) in resumed.holds
        assert read(good.path) == good
        assert len(resumed.holds) == len(set(resumed.holds))
        assert Hold(order_id=good.manifest.order_id, epoch=1) in holds_in(state)


def write_at(path: Path, content: object, good: Path) -> None:
    match content:
        case "link":
            path.symlink_to(good)
        case "nowhere":
            path.symlink_to(path.with_name("nothing"))
        case bytes():
            path.write_bytes(content)
        case dict():
            path.mkdir()
            for name, data in content.items():
                (path / name).write_bytes(data)


def test_a_directory_half_written_or_half_removed_is_removed(launcher: InProcessLauncher) -> None:
    for name in (".one-1.partial", ".two-1.removed"):
        (launcher.state / "vms" / name).mkdir(parents=True)

    adopt(launcher)

    assert not list((launcher.state / "vms").iterdir())
    assert not launcher.server.seen


def test_a_machine_of_a_provider_that_is_not_enabled_any_more_is_kept_aside_and_not_taken_for_gone(
    launcher: InProcessLauncher,
) -> None:
    manifest = a_manifest(argv=()).model_copy(update={"argv": (), "provider": "gcp"})
    vm = directory.create(launcher.state, manifest, b"{}", VmLease(ends=0, seconds=60))

    logs = adopt(launcher)

    assert (launcher.state / "quarantine" / vm.path.name).exists()
    assert any("gcp is not enabled" in str(line.get("why")) for line in logs)
    assert not launcher.server.bodies(UPDATES)
