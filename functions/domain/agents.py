"""Agents: the programs in capacity machines that prove where they run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce for the next registration under a machine's name, under which it is kept. `nonce` is 32 hex digits.

    `met_by` is the SHA-256 of the one piece of evidence that met it: good for no other, and for that one once more
    where its answer was lost.
    """

    vm_name: str
    nonce: str
    issued_at: datetime
    expires_at: datetime
    met_by: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What an appraiser vouches for of a TD. Measurements and `report_data` (64 bytes) are lower-case hex.

    `mrtd` and `tcb_status` are empty where it does not say.
    """

    mrtd: str
    tcb_status: str
    report_data: str
    rtmrs: Mapping[int, str] = field(default_factory=dict)
    debuggable: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    """Kept under its machine's name. `mrtd` is lower-case hex; `order_id` and `epoch` are of its machine's order."""

    id: str
    vm_name: str
    datacenter: str
    node_size: str
    mrtd: str
    verified: bool
    version: str
    registered_at: datetime
    """When it registered last."""
    last_seen_at: datetime
    status: str = "undeployed"
    hostname: str | None = None
    deployment_id: str | None = None
    order_id: str | None = None
    epoch: int | None = None
