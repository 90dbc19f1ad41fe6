"""An attempt at an order whose image is foreign: the launcher reports for its worker, and waits for its last word."""

import dataclasses
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import pytest
import structlog.testing

from launcher.orders.assignment import Assignment, StopReason
from launcher.orders.attempt import AttemptRunner
from launcher.providers.fly.provider import FlyProvider
from launcher.providers.registry import Providers
from shared.client_errors import ControlPlaneError, Refused, Unreachable
from shared.domain.spec import ExportSpec, TaskSpec
from shared.log_events import LogEvent
from shared.wire.problems import Problem
from tests.fly import Fake, NoPrograms
from tests.launcher.conftest import InProcessLauncher, an_assignment
from tests.launcher.fake_control_plane import DEADLINE, UPDATES
from tests.launcher.fly.machines import FOREIGN_EXPORT, FOREIGN_TASK, TASK, Environments

ENDED: Final = Problem(type="https://launchyard.dev/problems/wrong_state", title="", status=409, detail="It has ended.")

Pause = Callable[[float, threading.Event], None]


@dataclasses.dataclass
class Attempts:
    """Runs attempts whose machines end with an exit code as soon as they are reported as running, or made."""

    launcher: InProcessLauncher
    provider: FlyProvider
    fake: Fake
    programs: NoPrograms
    pauses: list[float] = dataclasses.field(default_factory=list)
    rested: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    """What took no order for a while: the provider, or some of its lanes."""

    def runner(self, pause: Pause | None = None) -> AttemptRunner:
        def note(seconds: float, _interrupt: threading.Event) -> None:
            self.pauses.append(seconds)

        def rest(provider: str, lanes: Collection[str]) -> None:
            self.rested.append(tuple(lanes) or (provider,))

        providers = Providers({}, self.provider, images=self.provider)
        return dataclasses.replace(self.launcher.runner, providers=providers, pause=pause or note, rest=rest)

    def failed(self, spec: ExportSpec | TaskSpec) -> tuple[str, str]:
        """Run an attempt whose machine does not start, and return its reason and failure."""
        claimed = self.launcher.server.a_claimed(spec)
        self.runner().run(an_assignment(claimed), claimed)
        report = self.launcher.server.bodies(UPDATES)[-1]
        return report["reason"], report["failure"]

    def run(
        self, spec: ExportSpec | TaskSpec, code: int, pause: Callable[[Assignment], None] | None = None
    ) -> Assignment:
        claimed = self.launcher.server.a_claimed(spec)
        assignment = an_assignment(claimed)
        runner = self.runner((lambda *_: pause(assignment)) if pause else None)
        thread = threading.Thread(target=runner.run, args=(assignment, claimed))
        thread.start()
        [made] = self.fake.await_made()
        if spec == FOREIGN_EXPORT:
            self.launcher.server.wait_for(lambda: "running" in self.statuses(assignment))
        self.programs.end(made["id"], code)
        thread.join()
        assignment.close()
        return assignment

    def statuses(self, assignment: Assignment) -> list[str]:
        return self.launcher.server.statuses(assignment.hold.order_id)


@pytest.fixture
def attempts(
    launcher: InProcessLauncher, provider: FlyProvider, fake: Fake, programs: NoPrograms, tmp_path: Path
) -> Attempts:
    return Attempts(launcher, provider, fake, programs)


def test_a_foreign_exports_machine_is_reported_as_running_and_its_success_waits_for_the_last_callback(
    attempts: Attempts,
) -> None:
    assignment = attempts.run(FOREIGN_EXPORT, code=0)
    assert attempts.statuses(assignment) == ["provisioning", "running", "machine_gone"]
    assert attempts.launcher.server.bodies(UPDATES)[-1]["exit_code"] == 0
    assert attempts.pauses == [30]


def test_a_failure_waits_for_nothing(attempts: Attempts) -> None:
    assignment = attempts.run(FOREIGN_EXPORT, code=1)
    assert attempts.statuses(assignment) == ["provisioning", "running", "machine_gone"]
    assert attempts.launcher.server.bodies(UPDATES)[-1]["exit_code"] == 1
    assert attempts.pauses == []


def test_a_foreign_tasks_worker_reports_its_start_itself(attempts: Attempts) -> None:
    assignment = attempts.run(FOREIGN_TASK, code=0)
    assert attempts.statuses(assignment) == ["provisioning", "machine_gone"]
    assert attempts.pauses == [30]


def test_our_own_worker_reports_everything_itself(attempts: Attempts) -> None:
    assignment = attempts.run(TASK, code=0)
    assert attempts.statuses(assignment) == ["provisioning", "machine_gone"]
    assert attempts.pauses == []


def test_an_order_that_its_last_callback_ends_needs_no_report_of_its_machine(attempts: Attempts) -> None:
    assignment = attempts.run(FOREIGN_EXPORT, code=0, pause=lambda one: one.stop(StopReason.FINISHED))
    assert attempts.statuses(assignment) == ["provisioning", "running"]
    assert list(attempts.launcher.state.glob("vms/*")) == []


def test_a_daemon_that_ends_while_it_waits_leaves_the_wait_to_the_next(
    attempts: Attempts, launcher: InProcessLauncher, provider: FlyProvider
) -> None:
    assignment = attempts.run(FOREIGN_EXPORT, code=0, pause=lambda one: one.leave())
    assert attempts.statuses(assignment) == ["provisioning", "running"]
    [left] = launcher.state.glob("vms/*")
    assert left.name == f"{assignment.hold.order_id}-1"


def test_an_older_control_plane_that_refuses_the_report_changes_nothing_else(attempts: Attempts) -> None:
    attempts.launcher.server.knows_machine_running = False
    with structlog.testing.capture_logs() as logs:
        assignment = attempts.run(FOREIGN_EXPORT, code=0)
    assert attempts.statuses(assignment) == ["provisioning", "running", "machine_gone"]
    assert LogEvent.REPORT_REFUSED in [line["event"] for line in logs]


def test_a_machine_that_was_created_is_not_being_started_any_more(attempts: Attempts) -> None:
    claimed, noted = attempts.launcher.server.a_claimed(TASK), threading.Event()
    assignment = an_assignment(claimed)
    assignment.note_started = noted.set
    thread = threading.Thread(target=attempts.runner().run, args=(assignment, claimed))
    thread.start()
    assert noted.wait(DEADLINE)
    assert len(attempts.fake.made()) == 1
    assignment.stop(StopReason.FINISHED)
    thread.join()
    assignment.close()


def test_an_order_that_names_a_full_region_does_not_hold_up_the_others(attempts: Attempts) -> None:
    attempts.fake.behave(full=["syd"])
    assert attempts.failed(TASK.model_copy(update={"region": "syd"})) == ("no_capacity", "no_capacity")
    assert attempts.rested == []


def test_a_full_region_of_the_settings_rests_the_lane(attempts: Attempts) -> None:
    attempts.fake.behave(full=["ord"])
    assert attempts.failed(TASK) == ("no_capacity", "no_capacity")
    assert attempts.rested == [("any/task",)]


@pytest.mark.parametrize(
    ("error", "rested"), [(Refused(ENDED), []), (Unreachable("no answer"), [("fly",)])], ids=["refused", "unreachable"]
)
def test_an_order_whose_environment_is_refused_does_not_hold_up_the_others(
    attempts: Attempts, environments: Environments, error: ControlPlaneError, rested: list[tuple[str, ...]]
) -> None:
    environments.error = error
    assert attempts.failed(FOREIGN_TASK)[0] == "launch_failed"
    assert attempts.rested == rested
