"""Why a machine did not start, for whoever placed the order.

An order's message is read by another account than the host's. So it names no URL, no path, no project and nothing that
a library or a hypervisor wrote: these are in the launcher's log, beside the order's id.
"""

from collections.abc import Mapping
from typing import Final

from shared.domain.order import Reason

EXPLANATIONS: Final[Mapping[Reason, str]] = {
    Reason.DISK_FULL: "The launcher's host has no disk space left for the machine.",
    Reason.HYPERVISOR_MISSING: "The launcher cannot start machines until its operator has set it up.",
    Reason.IMAGE_MISSING: "The launcher does not have the image of its machines.",
    Reason.IMAGE_REJECTED: "The launcher's image of its machines is not the one that it may boot.",
    Reason.LAUNCH_FAILED: "The machine could not be started.",
    Reason.NO_CAPACITY: "The launcher has no room for the machine now.",
    Reason.PORT_TAKEN: "The machine could not be started: another program uses a port that it needs.",
}
"""The words for each reason that a launcher may give for a machine that did not start."""
NO_PROVIDER: Final = "This launcher makes no machines for such an order."
