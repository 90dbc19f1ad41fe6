"""Every id by which a repeated request is recognised, so that it has the same effect as a single one.

There are three kinds. An order remembers the *request ids* that changed it (`Order.recent`). An *idempotency key* is
stored beside the order that was created with it. A *derived id* is computed from the purpose of an order, a pool or a
batch, so that two concurrent creates make one.

The texts are stored, and other versions of the control plane compare them: never change one.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from functions.domain.holder import split_holder

REQUEUED_ORDERS: Final = UUID("774e4218-93ba-4e29-9834-be9c7b646c5d")
LATE_WORKERS_ORDERS: Final = UUID("0f3bc5de-6a8e-4f0e-9d0c-5a9d4c1d8a37")
POOLS: Final = UUID("f2b4c8a8-0c55-4f6e-9a53-5b3c5a2d7f10")
"""The namespace of pools' ids; a pool's id is the namespace of its orders' ids."""


# Request ids


def cancel_by_client() -> str:
    """The id of a client's cancellation: repeats of it change nothing."""
    return "cancel@client"


def cancel_by_pool() -> str:
    """The id of a pool's release of an order."""
    return "cancel@pool"


def of_launcher(holder: str, request_id: str) -> str:
    """The id of a launcher's claim or report. A launcher of another account or name cannot repeat it.

    It leaves out the identity, because a repeat may reach an instance of an earlier version, which has no identities.
    """
    return f"{_prefix(holder)}{request_id}"


def is_of_launcher(request_id: str, holder: str) -> bool:
    """Return whether `of_launcher` made this id for the holder, or for another holder of its account and name."""
    return request_id.startswith(_prefix(holder))


def _prefix(holder: str) -> str:
    name, _ = split_holder(holder)
    return f"{name}@"


def cancel_by_removal() -> str:
    """The id of the cancellation of an order whose account was deleted."""
    return "cancel@removal"


def renew(epoch: int) -> str:
    return f"renew@{epoch}"


def worker_started(epoch: int) -> str:
    return f"started@{epoch}"


def worker_progress(epoch: int) -> str:
    """The id of a report of progress. No order remembers it, because a repeat changes nothing."""
    return f"progress@{epoch}"


def worker_report(event: str, epoch: int, report: str) -> str:
    """The id of a worker's report. A different report at the same epoch has another id, and is refused.

    `report` is the whole report as JSON text.
    """
    return f"{event}@{epoch}@{hashlib.sha256(report.encode()).hexdigest()}"


def environment_refused(epoch: int) -> str:
    """The id of the end of an order whose program cannot be given its environment."""
    return f"environment@{epoch}"


def job_launcher_lost(epoch: int) -> str:
    """The id of the end of a running job whose launcher was lost or deregistered."""
    return f"job-launcher-lost@{epoch}"


def account_removed(epoch: int) -> str:
    """The id of the end of an attempt whose launcher's account, or whose client's account, was deleted."""
    return f"account-removed@{epoch}"


def register_agent(epoch: int, agent_id: str) -> str:
    return f"register@{epoch}@{agent_id}"


def agent_lost(epoch: int, agent_id: str) -> str:
    return f"agent-lost@{epoch}@{agent_id}"


# Idempotency keys. A client cannot send a line break in its own key, so no client's key is one of these.


def pool_key(order_id: str) -> str:
    """The key of an order of a pool."""
    return f"pool\n{order_id}"


def unkeyed(order_id: str) -> str:
    """The key of an order whose client sent none: a repeat of its request creates another order."""
    return f"unkeyed\n{order_id}"


def batch_key(order_id: str) -> str:
    """The key of an order of a batch."""
    return f"batch\n{order_id}"


def late_worker_key(order_id: str) -> str:
    """The key of an order that was created for a late worker's machine."""
    return f"late\n{order_id}"


def notice_key(order_id: str) -> str:
    """The key of a job that resumes a parent's session."""
    return f"notice\n{order_id}"


def requeue_key(ended_id: str) -> str:
    """The key of the order that takes the place of one that has ended.

    The key is kept as long as the ended order, so that there is one successor even after that was removed.
    """
    return f"requeue\n{ended_id}"


# Derived ids


def requeued_order(ended_id: str) -> str:
    """The id of the one successor of an order that has ended."""
    return str(uuid5(REQUEUED_ORDERS, ended_id))


def order_of_lapsed_claim(order_id: str, holder: str, epoch: int) -> str:
    """The id of the one order of a machine whose worker reported after this claim of `order_id` had lapsed."""
    return str(uuid5(LATE_WORKERS_ORDERS, f"{order_id}\n{holder}\nepoch {epoch}"))


def notice_job(account: str, ended_ids: Sequence[str]) -> str:
    """The id of the one job that brings the ends of these jobs to their parent's session.

    It has the form of the ids of the contract of agent jobs.
    """
    digest = hashlib.sha256("\n".join([account, *ended_ids]).encode()).hexdigest()
    return f"job_{digest[:12]}"


def pool(account: str, datacenter: str, node_size: str) -> str:
    """The id of the one pool that an account has of this datacenter and size."""
    return str(uuid5(POOLS, f"{account}\n{datacenter}\n{node_size}"))


def pool_order(pool_id: str, slot: int, generation: int) -> str:
    """The id of the one order of this generation in a pool's slot."""
    return str(uuid5(UUID(pool_id), f"{slot}/{generation}"))


def batch(account: str, idempotency_key: str) -> str:
    """The id of the one batch that an account creates with this key."""
    digest = hashlib.sha256(f"{account}\n{idempotency_key}".encode()).hexdigest()
    return f"batch_{digest[:32]}"


def batch_order(batch_id: str, nth: int, now: datetime) -> str:
    """The id of an export of a batch that is created `now`."""
    return export(now, f"{batch_id}/{nth}")


# Ids in the form of the exports contract: the time in milliseconds, and 8 hexadecimal digits of a digest


def export(now: datetime, seed: str) -> str:
    """The id of a new export. `seed` tells exports of the same millisecond apart."""
    return f"export_mods_{int(now.timestamp() * 1000)}_{hashlib.sha256(seed.encode()).hexdigest()[:8]}"


# Ids in the form of the agent-jobs contract: 12 hexadecimal digits of a random UUID


def job(new_id: str) -> str:
    """The id of a new job."""
    return f"job_{_digits(new_id)}"


def job_launcher(new_id: str) -> str:
    """The id of a new launcher of the agent-jobs contract."""
    return f"lnch_{_digits(new_id)}"


def _digits(new_id: str) -> str:
    return UUID(new_id).hex[:12]
