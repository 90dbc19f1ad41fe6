"""An order's states, the reasons for its end, and how an attempt can fail."""

from datetime import timedelta
from enum import StrEnum
from typing import Final

LEASE: Final = timedelta(seconds=60)
"""How long a claim or a heartbeat leases an order to its launcher, unless the deployment sets another time."""

ORDER_ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
"""A regular expression for the whole id. Such an id needs no quoting in a path."""


class State(StrEnum):
    QUEUED = "queued"
    CLAIMED = "claimed"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


FINAL: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


class Reason(StrEnum):
    """Why an order ended, or was queued again. A closed list: clients may switch on it."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    QUEUE_TTL = "queue_ttl"
    UNMATCHED = "unmatched"
    BOOT_TIMEOUT = "boot_timeout"
    RUN_TIMEOUT = "run_timeout"
    TTL = "ttl"
    LEASE_LAPSED = "lease_lapsed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    RETURNED = "returned"
    NO_CAPACITY = "no_capacity"
    MACHINE_EXITED = "machine_exited"
    LAUNCH_FAILED = "launch_failed"
    DISK_FULL = "disk_full"
    HYPERVISOR_MISSING = "hypervisor_missing"
    PORT_TAKEN = "port_taken"
    IMAGE_MISSING = "image_missing"
    IMAGE_REJECTED = "image_rejected"
    AGENT_LOST = "agent_lost"
    PROGRAM_FAILED = "program_failed"
    SOURCE_UNAVAILABLE = "source_unavailable"
    UPLOAD_FAILED = "upload_failed"
    OUTPUT_MISMATCH = "output_mismatch"


class Failure(StrEnum):
    """What an attempt's failure means for the next one."""

    RETRYABLE = "retryable"
    """Another attempt may succeed."""
    PERMANENT = "permanent"
    """Another attempt would end the same way."""
    NO_CAPACITY = "no_capacity"
    """This host has no room, so there was no attempt, and none is counted."""
