"""A machine's process: the ladder down, rung by rung."""

import errno
import os
from pathlib import Path
from typing import Final

import pytest

from launcher.machines import directory
from launcher.machines.port import LaunchFailed
from launcher.providers.process.start import start_process
from launcher.providers.process.supervise import ShutdownStep
from tests.launcher.stand_ins import A_LEASE, a_manifest

KILLED: Final = -9
TERMINATED: Final = -15


class Ladder:
    """A machine with two rungs above SIGTERM, heard and not obeyed; `asked` says which were tried."""

    def __init__(self, state: Path) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None
        vm = directory.create(state, a_manifest(), b"{}", A_LEASE)
        rungs = [ShutdownStep(name, lambda name=name: self._ask(name), 0.05) for name in ("first", "second")]  # type: ignore[misc]
        self.machine = start_process(vm, vm.serial_log, rungs)

    def _ask(self, name: str) -> bool:
        self.asked.append(name)
        if self.failure is not None:
            raise self.failure
        return True


def test_every_rung_is_stepped_on_before_a_signal_is_sent(tmp_path: Path) -> None:
    ladder = Ladder(tmp_path)

    ladder.machine.stop(lambda: 60)

    assert ladder.asked == ["first", "second"]
    assert ladder.machine.reap() == TERMINATED


def test_nothing_is_asked_where_there_is_no_time(tmp_path: Path) -> None:
    ladder = Ladder(tmp_path)

    ladder.machine.stop(lambda: 0)

    assert not ladder.asked
    assert ladder.machine.reap() == KILLED


def test_the_rest_of_the_ladder_is_skipped_when_the_time_is_over(tmp_path: Path) -> None:
    ladder = Ladder(tmp_path)
    left = iter([60.0, 0.0, 0.0])

    ladder.machine.stop(lambda: next(left))

    assert ladder.asked == ["first"]
    assert ladder.machine.reap() == KILLED


def test_a_rung_that_breaks_is_as_good_as_not_heard(tmp_path: Path) -> None:
    ladder = Ladder(tmp_path)
    ladder.failure = OSError(errno.EMFILE, "Too many open files")

    ladder.machine.stop(lambda: 60)

    assert ladder.asked == ["first", "second"]
    assert ladder.machine.reap() == TERMINATED


def test_whatever_happens_on_the_ladder_the_machine_is_gone_at_its_end(tmp_path: Path) -> None:
    ladder = Ladder(tmp_path)
    ladder.failure = RuntimeError("nobody thought of this")

    with pytest.raises(RuntimeError):
        ladder.machine.stop(lambda: 60)

    assert ladder.machine.reap() == KILLED


def test_a_machine_that_cannot_be_watched_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", exhausted)
    ran = tmp_path / "ran"
    manifest = a_manifest().model_copy(update={"argv": ("touch", str(ran))})
    vm = directory.create(tmp_path, manifest, b"{}", A_LEASE)

    with pytest.raises(LaunchFailed, match="Too many open files"):
        start_process(vm, vm.serial_log)

    assert not ran.exists()
