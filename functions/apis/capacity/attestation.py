"""Which machines' evidence is believed: the operator's trusted measurements, and how strictly they are held to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from functions.domain.agents import Measured
from functions.domain.refusals import Forbidden
from functions.http import logs

AGENTS: Final = frozenset({"agent", "proxy"})
"""The types of images whose programs register."""
UP_TO_DATE: Final = "UpToDate"


class Tcb(StrEnum):
    """What becomes of a machine whose firmware or microcode is not up to date."""

    WARN = "warn"
    STRICT = "strict"
    DISABLED = "disabled"


class Nonces(StrEnum):
    """Whether a registration must meet a challenge: always, where one stands, or never."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Image:
    """A measured image that is trusted: measurements in lower-case hex, of RTMRs those that matter."""

    mrtd: str
    type: str
    rtmrs: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trust:
    """`images` may name one MRTD several times: RTMR 0 differs with a machine's size."""

    images: Sequence[Image] = ()
    tcb: Tcb = Tcb.STRICT
    nonces: Nonces = Nonces.OPTIONAL

    def check(self, measured: Measured) -> None:
        """Raises Forbidden."""
        if measured.debuggable:
            raise Forbidden("The machine can be debugged: its memory is open to its host.")
        if not measured.mrtd:
            raise Forbidden("The attestation token has no MRTD.")
        self._check_tcb(measured.tcb_status)
        listed = [image for image in self.images if image.mrtd == measured.mrtd]
        if not listed:
            raise Forbidden(f"The MRTD {measured.mrtd} is not trusted.")
        agents = [image for image in listed if image.type in AGENTS]
        if not agents:
            raise Forbidden(f"The MRTD {measured.mrtd} is that of a {listed[0].type}, of which no agent registers.")
        if not any(_as_listed(image, measured) for image in agents):
            raise Forbidden("The RTMRs are not those of a trusted image.")

    def _check_tcb(self, status: str) -> None:
        if status == UP_TO_DATE or self.tcb is Tcb.DISABLED:
            return
        if self.tcb is Tcb.STRICT:
            raise Forbidden(f"The TCB status is {status or 'not known'}; it must be {UP_TO_DATE}.")
        logs.LOG.warning("An agent's machine is not up to date.", tcb_status=status)


def _as_listed(image: Image, measured: Measured) -> bool:
    return all(measured.rtmrs.get(number) == rtmr for number, rtmr in image.rtmrs.items())
