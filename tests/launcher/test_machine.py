"""A machine's process: its shutdown, step by step."""

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


class Stepped:
    """A machine with two steps before SIGTERM, taken and not obeyed; `asked` has those that were tried."""

    def __init__(self, state: Path) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None
        vm = directory.create(state, a_manifest(), b"{}", A_LEASE)
        steps = [ShutdownStep(name, lambda name=name: self._ask(name), 0.05) for name in ("first", "second")]  # type: ignore[misc]
        self.machine = start_process(vm, vm.serial_log, steps)

    def _ask(self, name: str) -> bool:
        self.asked.append(name)
        if self.failure is not None:
            raise self.failure
        return True


def test_every_step_is_tried_before_a_signal_is_sent(tmp_path: Path) -> None:
    stepped = Stepped(tmp_path)

    stepped.machine.stop(lambda: 60)

    assert stepped.asked == ["first", "second"]
    assert stepped.machine.reap() == TERMINATED


def test_nothing_is_asked_if_there_is_no_time(tmp_path: Path) -> None:
    stepped = Stepped(tmp_path)

    stepped.machine.stop(lambda: 0)

    assert not stepped.asked
    assert stepped.machine.reap() == KILLED


def test_the_other_steps_are_skipped_when_the_time_is_over(tmp_path: Path) -> None:
    stepped = Stepped(tmp_path)
    left = iter([60.0, 0.0, 0.0])

    stepped.machine.stop(lambda: next(left))

    assert stepped.asked == ["first"]
    assert stepped.machine.reap() == KILLED


def test_a_step_that_fails_counts_as_refused(tmp_path: Path) -> None:
    stepped = Stepped(tmp_path)
    stepped.failure = OSError(errno.EMFILE, "Too many open files")

    stepped.machine.stop(lambda: 60)

    assert stepped.asked == ["first", "second"]
    assert stepped.machine.reap() == TERMINATED


def test_the_machine_is_gone_at_the_end_even_if_a_step_raises(tmp_path: Path) -> None:
    stepped = Stepped(tmp_path)
    stepped.failure = RuntimeError("unforeseen")

    with pytest.raises(RuntimeError):
        stepped.machine.stop(lambda: 60)

    assert stepped.machine.reap() == KILLED


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
