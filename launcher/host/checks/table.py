"""The table of checks, and its two readers: all of it for the operator, and for a launch what that depends on."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from launcher.host.checks import gpus, hypervisor, room, service, tdx
from launcher.host.checks.case import Case, Finding
from launcher.machines.port import LaunchFailed
from launcher.providers.qemu.argv import Mode
from shared.domain.order import Reason

Applies = Callable[[Case], bool]


class Verdict(StrEnum):
    OK = "ok"
    MISSING = "missing"
    UNNEEDED = "unneeded"
    """What was asked for goes without it."""


@dataclass(frozen=True, slots=True)
class Check:
    """`reason` is what a launch is refused with; None where no launch looks at it beforehand."""

    name: str
    applies: Applies
    look: Callable[[Case], Finding]
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Result:
    check: Check
    verdict: Verdict
    finding: Finding


def _always(_case: Case) -> bool:
    return True


def _mode(*modes: Mode) -> Applies:
    return lambda case: case.mode in modes


def _gpus(case: Case) -> bool:
    return bool(case.gpus)


_TDX: Final = _mode(Mode.TDX)

TABLE: Final = (
    Check("qemu", _always, hypervisor.installed, Reason.HYPERVISOR_MISSING),
    Check("emulation", _mode(Mode.TCG), tdx.emulation),
    Check("kvm", _mode(Mode.KVM, Mode.TDX), tdx.kvm),
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
    Check("image", lambda case: case.image is not None, service.image),
    Check("control plane", lambda case: case.url is not None, service.control_plane),
)


def examine(case: Case) -> tuple[Result, ...]:
    """Look at everything, whether or not it is needed."""
    return tuple(_result(check, case) for check in TABLE)


def missing(results: tuple[Result, ...]) -> tuple[Result, ...]:
    return tuple(result for result in results if result.verdict is Verdict.MISSING)


def require(case: Case) -> None:
    """Look at what a launch depends on. Raises LaunchFailed with all that is missing, and the first one's reason."""
    checks = (check for check in TABLE if check.reason is not None and check.applies(case))
    if lacking := missing(tuple(_result(check, case) for check in checks)):
        message = "\n".join(f"{result.check.name}: {result.finding}" for result in lacking)
        raise LaunchFailed(message, lacking[0].check.reason or Reason.HYPERVISOR_MISSING)


def _result(check: Check, case: Case) -> Result:
    finding = check.look(case)
    if not check.applies(case):
        return Result(check, Verdict.UNNEEDED, finding)
    return Result(check, Verdict.OK if finding.met else Verdict.MISSING, finding)
