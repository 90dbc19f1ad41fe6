"""The checks of a host: the operator's command runs them all, a launch runs those that it depends on."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from launcher.host.checks import gpus, hypervisor, network, room, service, sessions, tdx
from launcher.host.checks.host import Case, Finding
from launcher.host.hypervisor import QemuMode
from shared.domain.order import Reason

Applies = Callable[[Case], bool]


class Verdict(StrEnum):
    OK = "ok"
    MISSING = "missing"
    UNNEEDED = "unneeded"
    """The chosen mode and settings do not depend on it."""


@dataclass(frozen=True, slots=True)
class Check:
    """`reason` is a launch's failure reason if the check fails; None if launches do not run the check."""

    name: str
    applies: Applies
    run: Callable[[Case], Finding]
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    check: Check
    verdict: Verdict
    finding: Finding


def _always(_case: Case) -> bool:
    return True


def _mode(*modes: QemuMode) -> Applies:
    return lambda case: case.mode in modes


def _gpus(case: Case) -> bool:
    return bool(case.gpus)


_TDX: Final = _mode(QemuMode.TDX)

TABLE: Final = (
    Check("qemu", _always, hypervisor.installed, Reason.HYPERVISOR_MISSING),
    Check("emulation", _mode(QemuMode.TCG), tdx.emulation),
    Check("kvm", _mode(QemuMode.KVM, QemuMode.TDX), tdx.kvm),
    Check("tdx processor", _TDX, tdx.processor, Reason.HYPERVISOR_MISSING),
    Check("tdx module", _TDX, tdx.module, Reason.HYPERVISOR_MISSING),
    Check("tdx keys", _TDX, tdx.keys),
    Check("qemu version", _TDX, hypervisor.version, Reason.HYPERVISOR_MISSING),
    Check("tdx-guest", _TDX, hypervisor.tdx_object, Reason.HYPERVISOR_MISSING),
    Check("firmware", _TDX, hypervisor.firmware, Reason.IMAGE_MISSING),
    Check("quote service", _TDX, hypervisor.quote_service, Reason.HYPERVISOR_MISSING),
    Check("iommu", _gpus, gpus.iommu, Reason.HYPERVISOR_MISSING),
    Check("gpus", _gpus, gpus.gpus, Reason.HYPERVISOR_MISSING),
    Check("memory", _always, room.memory),
    Check("vcpus", _always, room.processors),
    Check("disk", _always, room.disk),
    Check("scopes", lambda case: case.host.hypervisor.slice is not None, service.scopes),
    Check("guest network", lambda case: case.in_machines, network.of_case),
    Check("image", lambda case: case.image is not None, service.image),
    Check("control plane", lambda case: case.url is not None, service.control_plane),
    Check("executor", lambda case: bool(case.executor), sessions.executor),
    Check("project directories", lambda case: bool(case.project_dirs), sessions.project_directories),
)


def examine(case: Case) -> tuple[CheckResult, ...]:
    """Run all checks, even those that do not apply."""
    return tuple(_result(check, case) for check in TABLE)


def missing(results: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
    return tuple(result for result in results if result.verdict is Verdict.MISSING)


def missing_for_launch(case: Case) -> tuple[CheckResult, ...]:
    """Run the checks that a launch depends on, and return those that fail."""
    checks = (check for check in TABLE if check.reason is not None and check.applies(case))
    return missing(tuple(_result(check, case) for check in checks))


def _result(check: Check, case: Case) -> CheckResult:
    finding = check.run(case)
    if not check.applies(case):
        return CheckResult(check, Verdict.UNNEEDED, finding)
    return CheckResult(check, Verdict.OK if finding.met else Verdict.MISSING, finding)
