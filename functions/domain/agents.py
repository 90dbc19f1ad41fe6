"""Agents: the programs in capacity machines that prove where they run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce for the next registration of a machine, stored under the machine's name. `nonce` is 32 hex digits.

    `met_by` is the SHA-256 of the evidence that used the nonce: no other evidence can use it, and the same evidence
    can be sent again.
    """

    vm_name: str
    nonce: str
    issued_at: datetime
    expires_at: datetime
    met_by: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """An appraiser's statements about a trust domain. Measurements and `report_data` (64 bytes) are lower-case hex.

    `mrtd` and `tcb_status` are empty if the appraiser does not state them.
    """

    mrtd: str
    tcb_status: str
    report_data: str
    rtmrs: Mapping[int, str] = field(default_factory=dict)
    debuggable: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    """Stored under its machine's name. `mrtd` is lower-case hex; `order_id` and `epoch` are those of the machine's
    order.
    """

    id: str
    vm_name: str
    datacenter: str
    node_size: str
    mrtd: str
    version: str
    registered_at: datetime
    """The time of the last registration."""
    last_seen_at: datetime
    status: str = "undeployed"
    deployment_id: str | None = None
    order_id: str | None = None
    epoch: int | None = None
    verified: bool = True
    """Always true: instances of the previous version cannot read a record without it."""
