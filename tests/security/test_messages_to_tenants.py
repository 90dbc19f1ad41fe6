"""Whoever placed an order is told why it failed, and nothing of the launcher's host, its cloud account or a library."""

import errno
import os
import re
from pathlib import Path
from typing import Any, Final

import pytest
import structlog.testing

from launcher.host.checks.host import Case, Host
from launcher.host.clock import SYSTEM
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.machines.directory import VmDirectory
from launcher.machines.explanations import EXPLANATIONS
from launcher.machines.failures import BY_ERRNO, BY_WORDS, of_host, of_words
from launcher.machines.port import LaunchFailed, MachinePlan
from launcher.providers.fly import errors as fly
from launcher.providers.gcp import errors as gcp
from launcher.providers.process.supervise import ProcessMachine
from launcher.providers.qemu import provider as qemu
from shared.domain.order import Reason
from shared.domain.spec import SessionSpec
from shared.guest.config import Executor, WorkerConfig
from shared.guest.image import ImageRejected
from shared.log_events import LogEvent
from shared.wire.launchers import Hold
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import UPDATES
from tests.launcher.stand_ins import Processes
from tests.launcher.test_launch import the_error
from tests.worker.control_plane import serving as a_control_plane
from worker.logs import open_log
from worker.network import client
from worker.runtime import Worker

DETAILS: Final = (
    "POST https://compute.googleapis.com/compute/v1/projects/a-project/zones/z: qemu-system-x86_64: -netdev user: "
    "/var/lib/launchyard/vms/one/qmp.sock: httpx.ConnectError [Errno 2]"
)
"""What a cloud, QEMU or a library may say."""
NOTHING_OF: Final = re.compile(
    r"://|/var|/tmp|/home|/root|a-project|qemu|httpx|errno|LAUNCHYARD_|\d{3}:", re.IGNORECASE
)


def compute_refusals() -> dict[str, LaunchFailed]:
    """Return a failure of each kind, as of an order that names its zone, and of one that names none."""
    failures = {}
    for kind in gcp.ComputeRefusalKind:
        refused = type("OfKind", (gcp.ComputeRefused,), {"kind": kind})("code", 400, DETAILS)
        for names in (True, False):
            failures[f"gcp-{kind.name}-{names}"] = gcp.launch_failed([refused], names_zone=names, own_zone=names)
    return failures


def fly_refusals() -> dict[str, LaunchFailed]:
    failures = {}
    for kind in fly.FlyRefusalKind:
        refused = type("OfKind", (fly.FlyRefused,), {"kind": kind})(400, DETAILS)
        for names in (True, False):
            failures[f"fly-{kind.name}-{names}"] = fly.launch_failed(refused, names_image=names, names_region=names)
    return failures


def hosts_failures() -> dict[str, LaunchFailed]:
    numbers = (*BY_ERRNO, errno.EACCES)
    of_errors = {
        f"errno-{number}": of_host(OSError(number, os.strerror(number)), f"{DETAILS} cannot be started")
        for number in numbers
    }
    words = (*(" ".join(phrases) for phrases, _ in BY_WORDS), "any other")
    of_qemu = {
        f"qemu-{number}": of_words(said, qemu._ended(1, f"{said} {DETAILS}")) for number, said in enumerate(words)
    }
    return {**of_errors, **of_qemu, "qemu-silent": of_words("", qemu._silent(30, DETAILS))}


FAILURES: Final = {
    **compute_refusals(),
    **fly_refusals(),
    **hosts_failures(),
    **{f"reason-{reason}": LaunchFailed(DETAILS, reason) for reason in EXPLANATIONS},
}


class Fails(Processes):
    """A provider whose machines do not start."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def start(self, directory: VmDirectory) -> ProcessMachine:
        raise self._error


@pytest.mark.parametrize("name", FAILURES)
def test_of_no_failure_of_any_provider_a_tenant_reads_more_than_the_reason(
    launcher: InProcessLauncher, name: str
) -> None:
    assignment, failed = launcher.assignment(), FAILURES[name]

    with structlog.testing.capture_logs() as logs:
        launcher.run(assignment, Fails(failed))

    report = launcher.server.bodies(UPDATES)[-1]
    assert report["reason"] == failed.reason
    assert report["message"].endswith(".")
    assert not NOTHING_OF.search(report["message"]), report["message"]
    (line,) = [line for line in logs if line["event"] == LogEvent.LAUNCH_FAILED]
    assert line["order_id"] == assignment.hold.order_id
    assert line["error"] == str(failed)


def test_a_rejected_image_is_named_in_the_log_only(launcher: InProcessLauncher) -> None:
    with structlog.testing.capture_logs() as logs:
        launcher.run(launcher.assignment(), Fails(ImageRejected(DETAILS)))

    report = launcher.server.bodies(UPDATES)[-1]
    assert report["message"] == EXPLANATIONS[Reason.IMAGE_REJECTED]
    assert the_error(logs, LogEvent.IMAGE_REJECTED) == DETAILS


def test_what_a_host_lacks_is_named_in_the_log_only(launcher: InProcessLauncher, tmp_path: Path) -> None:
    class Lacks(Processes):
        def plan(self, hold: Hold, uuid: str, config: WorkerConfig) -> MachinePlan:
            qemu.require(Case(Host(Hypervisor("/opt/no-such-qemu"), root=tmp_path), QemuMode.TDX))
            raise AssertionError

    with structlog.testing.capture_logs() as logs:
        launcher.run(launcher.assignment(), Lacks())

    report = launcher.server.bodies(UPDATES)[-1]
    assert report["message"] == EXPLANATIONS[Reason.HYPERVISOR_MISSING]
    assert "/opt/no-such-qemu" in the_error(logs, LogEvent.LAUNCH_FAILED)


def test_the_last_words_of_a_machine_and_its_log_s_path_are_in_the_log_only(launcher: InProcessLauncher) -> None:
    assignment = launcher.assignment()
    prints = ("python3", "-c", f"print({DETAILS!r}); raise SystemExit(3)")

    with structlog.testing.capture_logs() as logs:
        launcher.run(assignment, Processes(prints))

    report = launcher.server.bodies(UPDATES)[-1]
    assert report["message"] == "The machine ended by itself, with exit code 3."
    (gone,) = [line for line in logs if line["event"] == LogEvent.MACHINE_GONE]
    assert (gone["order_id"], gone["last_line"]) == (assignment.hold.order_id, DETAILS)


def test_a_provider_that_is_not_enabled_is_named_in_the_log_only(launcher: InProcessLauncher) -> None:
    claimed = launcher.server.a_claimed(SessionSpec(session_name="one", prompt=""))

    with structlog.testing.capture_logs() as logs:
        launcher.assignments.begin(claimed, launcher.reserve(), SYSTEM.monotonic())
        launcher.assignments.await_end()

    (report,) = launcher.server.bodies(UPDATES)
    assert report["status"] == "returned"
    assert not NOTHING_OF.search(report["message"])
    assert "LAUNCHYARD_EXECUTOR" in the_error(logs, LogEvent.ORDER_NOT_SUPPORTED)


@pytest.mark.parametrize(
    "executor",
    [
        {"command": ("/opt/secret/executor",)},
        {"command": ("true",), "project_dir": "/srv/secret/project"},
    ],
)
def test_a_session_s_order_names_no_path_of_the_launcher_s_host(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], executor: dict[str, Any]
) -> None:
    with a_control_plane() as plane, client(None) as http:
        config = plane.config(SessionSpec(session_name="one", prompt=""))
        config = config.model_copy(update={"executor": Executor(**executor)})
        Worker(config, http, tmp_path, open_log(config)).run()

    (failed,) = [received.report for received in plane.reports if received.report["event"] == "failed"]
    assert "secret" not in failed["message"]
    assert str(tmp_path) not in failed["message"]
    assert "secret" in "".join(capfd.readouterr())
