"""Checks of what surrounds the machines: systemd, the guest image, the control plane."""

from pathlib import Path
from typing import Final

import httpx

from launcher.checks.case import Case, Finding
from shared.image import ImageRejected, verify

BOOTED: Final = Path("/run/systemd/system")
"""There where process 1 is systemd: sd_booted(3)."""
SYSTEMD_RUN: Final = "systemd-run"
ANSWER_SECONDS: Final = 10.0


def scopes(case: Case) -> Finding:
    """Whether machines can be put in control groups of their own, outside their launcher's."""
    wanted, systemd = case.host.hypervisor.slice, case.host.path(BOOTED).is_dir()
    able = systemd and case.host.which(SYSTEMD_RUN) is not None
    place = f"the slice {wanted}" if wanted else "their launcher's control group, in sessions of their own"
    return Finding(
        met=able or not wanted,
        found=f"process 1 is {'' if systemd else 'not '}systemd; machines go to {place}",
        needed=f"systemd as process 1, and {SYSTEMD_RUN}",
        to_do="run the launcher as a systemd service, or unset LAUNCHYARD_SLICE",
    )


def image(case: Case) -> Finding:
    return Finding(
        met=case.image is None or (why := _rejected(case.image, case.image_digest)) is None,
        found="none is configured" if case.image is None else why or f"{case.image} is what its digest promises",
        needed="the guest image of LAUNCHYARD_IMAGE, with the digest of LAUNCHYARD_IMAGE_DIGEST",
        to_do="build it with `make guest-image` or copy it whole; the digest is the SHA-256 of its manifest.json",
    )


def control_plane(case: Case) -> Finding:
    return Finding(
        met=case.url is None or (said := _health(case.url)) == str(httpx.codes.OK.value),
        found="none is configured" if case.url is None else f"{case.url}/v1/health: {said}",
        needed="a control plane that answers at LAUNCHYARD_URL",
        to_do="check the address, the name server and the firewall",
    )


def _rejected(image: Path, digest: str | None) -> str | None:
    """Return why the image would not be booted; None where it would."""
    if digest is None:
        return "no digest is configured"
    try:
        verify(image, digest)
    except ImageRejected as rejected:
        return str(rejected)
    return None


def _health(url: str) -> str:
    try:
        return str(httpx.get(f"{url}/v1/health", timeout=ANSWER_SECONDS).status_code)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
