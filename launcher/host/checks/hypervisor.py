"""Checks of QEMU, and of what else a trust domain needs."""

import re
from typing import Final
from uuid import UUID

from launcher.host.checks.host import Case, Finding

MIN_FOR_TDX: Final = (10, 1)
"""The first QEMU with the object `tdx-guest` (its release notes for 10.1)."""
TDX_METADATA: Final = UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
"""The mark in the table at the end of a firmware that can start a trust domain (edk2, OvmfPkg/ResetVector)."""
TABLE_BYTES: Final = 4096
VERSION: Final = re.compile(r"version (\d+)\.(\d+)(?:\.\d+)?")


def installed(case: Case) -> Finding:
    binary = case.host.hypervisor.binary
    path = case.host.which(binary)
    return Finding(
        met=path is not None,
        found=path or f"no {binary} on the PATH",
        needed=binary,
        to_do="install QEMU (Debian and Ubuntu: qemu-system-x86)",
    )


def version(case: Case) -> Finding:
    found = VERSION.search(case.host.qemu("--version"))
    return Finding(
        met=found is not None and (int(found[1]), int(found[2])) >= MIN_FOR_TDX,
        found=f"QEMU {found[0]}" if found else "QEMU prints no version",
        needed="QEMU version 10.1 or later",
        to_do="install a later QEMU (Ubuntu has it from 25.10 on)",
    )


def tdx_object(case: Case) -> Finding:
    known = "tdx-guest" in case.host.qemu("-object", "help").split()
    return Finding(
        met=known,
        found="QEMU knows tdx-guest" if known else "QEMU does not know tdx-guest",
        needed="a QEMU with the object tdx-guest",
        to_do="install a QEMU that was built with KVM and TDX",
    )


def firmware(case: Case) -> Finding:
    path = case.host.hypervisor.firmware
    content = case.host.content(path)
    fit = TDX_METADATA in content[-TABLE_BYTES:]
    return Finding(
        met=fit,
        found=str(path) if fit else f"{path} has no TDX metadata" if content else f"no firmware {path}",
        needed="the firmware that a trust domain boots from (TDVF)",
        to_do="install the package ovmf, or name another file in LAUNCHYARD_TDX_FIRMWARE",
    )


def quote_service(case: Case) -> Finding:
    path = case.host.hypervisor.quote_socket
    answers = case.host.connects(path)
    return Finding(
        met=answers,
        found=f"{path} answers" if answers else f"nothing listens on {path}",
        needed="Intel's quote generation service: without it no machine can prove what it is",
        to_do="install and start qgsd with a Unix socket, or name another one in LAUNCHYARD_QUOTE_SOCKET",
    )
