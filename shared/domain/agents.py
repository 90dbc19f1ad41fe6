"""Agents: the programs in capacity machines that prove where they run."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce for the next registration under a machine's name, under which it is kept. `nonce` is 32 hex digits."""

    vm_name: str
    nonce: str
    issued_at: datetime
    expires_at: datetime


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
    last_seen_at: datetime
    status: str = "undeployed"
    hostname: str | None = None
    deployment_id: str | None = None
    order_id: str | None = None
    epoch: int | None = None
