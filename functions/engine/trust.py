"""The operator's policy: which machines may register agents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog

from functions.domain.agents import Measured
from functions.domain.refusals import Forbidden
from shared.log_events import LogEvent

log = structlog.get_logger()

AGENT_IMAGES: Final = frozenset({"agent", "proxy"})
"""The types of images whose programs may register as agents."""
UP_TO_DATE: Final = "UpToDate"


class Tcb(StrEnum):
    """What to do with a machine whose firmware or microcode is out of date."""

    WARN = "warn"
    STRICT = "strict"
    DISABLED = "disabled"


class Nonces(StrEnum):
    """Whether a registration must answer a challenge: always, only if its report data is not zero, or never.

    It always must if its order demands attestation.
    """

    REQUIRED = "required"
    OPTIONAL = "optional"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Image:
    """A trusted image. Measurements are lower-case hex; only the RTMRs that are listed are compared."""

    mrtd: str
    type: str
    rtmrs: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trust:
    """The operator's policy. `images` may list one MRTD several times: RTMR 0 depends on the machine's size."""

    images: Sequence[Image] = ()
    tcb: Tcb = Tcb.STRICT
    nonces: Nonces = Nonces.OPTIONAL

    def require(self, measured: Measured) -> None:
        """Do nothing if the machine is trusted. Raises Forbidden, with the reason, if it is not."""
        if measured.debuggable:
            raise Forbidden("The machine can be debugged: its host can read its memory.")
        if not measured.mrtd:
            raise Forbidden("The attestation token has no MRTD.")
        if measured.tcb_status != UP_TO_DATE and self.tcb is Tcb.STRICT:
            raise Forbidden(f"The TCB status is {measured.tcb_status or 'not known'}; it must be {UP_TO_DATE}.")
        if measured.tcb_status != UP_TO_DATE and self.tcb is Tcb.WARN:
            log.warning(
                LogEvent.TCB_OUT_OF_DATE,
                message="An agent's machine has firmware or microcode that is out of date.",
                tcb_status=measured.tcb_status,
            )
        listed = [image for image in self.images if image.mrtd == measured.mrtd]
        if not listed:
            raise Forbidden(f"The MRTD {measured.mrtd} is not trusted.")
        agents = [image for image in listed if image.type in AGENT_IMAGES]
        if not agents:
            raise Forbidden(f"The MRTD {measured.mrtd} is that of a {listed[0].type}, which registers no agent.")
        if not any(all(measured.rtmrs.get(number) == rtmr for number, rtmr in image.rtmrs.items()) for image in agents):
            raise Forbidden("The RTMRs do not belong to a trusted image.")
