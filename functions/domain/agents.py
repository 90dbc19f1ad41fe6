"""Agents: the programs in capacity machines that prove where they run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce (32 hex digits) for a registration of one machine. It is derived, not stored."""

    nonce: str
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class SpentProof:
    """Evidence or a nonce that a registration has used. No other registration can use it until it `expires_at`.

    `id` names what was used, `agent` is the id of that agent's record, and `evidence` is the SHA-256 of the
    evidence (`Appraised.digest`): the same registration can be sent again.
    """

    id: str
    agent: str
    evidence: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """An appraiser's statements about a trust domain. Measurements and `report_data` (64 bytes) are lower-case hex.

    `mrtd` and `tcb_status` are empty if the appraiser does not state them. The statement is valid until `expires_at`.
    """

    mrtd: str
    tcb_status: str
    report_data: str
    expires_at: datetime
    rtmrs: Mapping[int, str] = field(default_factory=dict)
    debuggable: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    """Stored under its `record_id`. `mrtd` is lower-case hex; `order_id` and `epoch` are of the machine's order."""

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
    bootstrapped: bool = False
    """True if it registered with its order's bootstrap token."""
    binding: str | None = None
    """What the report data of its evidence holds after the nonce: 96 hex digits. None if nothing is demanded."""

    @property
    def record_id(self) -> str:
        """The machine's name, which anyone may use; or what only the holder of a bootstrap token can use."""
        if not self.bootstrapped:
            return self.vm_name
        return f"{self.order_id}\n{self.epoch}\n{self.vm_name}\n{self.binding or ''}"  # no name has a line break
