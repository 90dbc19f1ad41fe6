"""Checks of the machines' environment: systemd, the guest image, the control plane."""

import os
import socket
import stat
from pathlib import Path
from typing import Final

import httpx

from launcher.host.checks.host import Case, Finding
from shared.address import origin
from shared.guest.image import ImageManifest, ImageRejected, verify
from shared.http_client import explain, moved, open_client
from shared.settings import SettingsWrong

BOOTED: Final = Path("/run/systemd/system")
"""Exists if process 1 is systemd: sd_booted(3)."""
SYSTEMD_RUN: Final = "systemd-run"
ANSWER_SECONDS: Final = 10.0
NETWORK_ADVICE: Final = "check the address, the name server and the firewall"


def scopes(case: Case) -> Finding:
    """Check that machines can have control groups of their own, outside their launcher's."""
    slice_name, systemd = case.host.hypervisor.slice, case.host.path(BOOTED).is_dir()
    able = systemd and case.host.which(SYSTEMD_RUN) is not None
    group = f"the slice {slice_name}" if slice_name else "their launcher's control group, in sessions of their own"
    return Finding(
        met=able or not slice_name,
        found=f"process 1 is {'' if systemd else 'not '}systemd; machines go to {group}",
        needed=f"systemd as process 1, and {SYSTEMD_RUN}",
        to_do="run the launcher as a systemd service, or unset LAUNCHYARD_SLICE",
    )


def image(case: Case) -> Finding:
    return Finding(
        met=case.image is None or (why := _rejected(case.image, case.image_digest)) is None,
        found="none is configured" if case.image is None else why or f"{case.image} matches its digest",
        needed="the guest image of LAUNCHYARD_IMAGE, with the digest of LAUNCHYARD_IMAGE_DIGEST",
        to_do="build it with `make guest-image` or copy it whole; the digest is the SHA-256 of its manifest.json",
    )


def control_plane(case: Case) -> Finding:
    wrong, to_do = (None, "") if case.url is None else _unreached(case.url)
    return Finding(
        met=wrong is None,
        found=wrong or ("none is configured" if case.url is None else f"{case.url} answers"),
        needed="a control plane that answers at LAUNCHYARD_URL, to this host and to its machines",
        to_do=to_do,
    )


def _rejected(image: Path, digest: str | None) -> str | None:
    """Return why the image would not be booted; None if it would."""
    if digest is None:
        return "no digest is configured"
    try:
        return closed_to_machines(image, verify(image, digest))
    except ImageRejected as rejected:
        return str(rejected)


def closed_to_machines(image: Path, manifest: ImageManifest) -> str | None:
    """Return what is wrong if machines' QEMU, which is another user if this is root, may not read the image."""
    if os.geteuid() != 0:
        return None
    names = [file.name for file in (manifest.kernel, manifest.unpacked_kernel, manifest.initrd)]
    closed = [name for name in names if not (image / name).stat().st_mode & stat.S_IROTH]
    return f"machines may not read {', '.join(closed)} of the image: chmod a+r them" if closed else None


def _unreached(url: str) -> tuple[str | None, str]:
    """Return why the control plane cannot be reached (None if it can be), and what to do."""
    address = httpx.URL(url)
    try:
        with open_client(url, timeout=ANSWER_SECONDS) as http:
            answer = http.get("/v1/health")
    except SettingsWrong as error:
        return str(error), "correct the variable"
    except httpx.HTTPError as error:
        why, _, to_do = explain(error, address).partition(": ")
        return f"{url} did not answer: {why}", to_do or NETWORK_ADVICE
    if answer.is_redirect:
        return moved(answer), "set LAUNCHYARD_URL to the address that answers by itself"
    if answer.status_code != httpx.codes.OK:
        return f"{url}/v1/health: {answer.status_code}", NETWORK_ADVICE
    return _unreached_by_machines(address)


def _unreached_by_machines(url: httpx.URL) -> tuple[str | None, str]:
    """Return why machines cannot reach it; None if they can. They have only IPv4, and use no proxy."""
    try:
        socket.getaddrinfo(url.host, url.port, socket.AF_INET)
    except OSError:
        why = f"this host reaches {origin(url)}, and its machines do not: they have only IPv4, and use no proxy"
        return why, "give LAUNCHYARD_URL a name with an IPv4 address, or an IPv4 address such as 127.0.0.1"
    return None, ""
