"""The sweep's work for this contract: replace the machines of lost agents, settle accounts, forget expired
records, fill pools.

Pools come last, because they replace the machines of lost agents.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from functions.apis.capacity.settings import CapacitySettings
from functions.apis.capacity.wire import CONTROLLER
from functions.domain.accounts import NOBODY
from functions.engine.account_removals import AccountRemovals
from functions.engine.accounts import Accounts
from functions.engine.attestation import SpentProofs
from functions.engine.enrolments import Enrolments
from functions.engine.lost_agents import LostAgents
from functions.engine.operator_sessions import SessionEnds
from functions.engine.pools import Pools
from functions.http.api import Chore
from shared.domain.spec import NodeSize


def replace_lost_agents(agents: LostAgents, limit: int) -> Counter[str]:
    return Counter(records_forgotten=agents.replace_lost(limit))


def forget_expired(proofs: SpentProofs, enrolments: Enrolments, ends: SessionEnds, limit: int) -> Counter[str]:
    forgotten = proofs.forget(limit) + enrolments.forget_expired(limit) + ends.forget(limit)
    return Counter(records_forgotten=forgotten)


def settle_accounts(accounts: Accounts, removals: AccountRemovals, limit: int) -> Counter[str]:
    """Finish the deletion of accounts, and remove those that nobody vouched for and nobody used."""
    return removals.sweep(limit) + Counter(records_forgotten=accounts.settle_unconfirmed(limit))


def fill_pools(pools: Pools, settings: CapacitySettings, limit: int) -> Counter[str]:
    if settings.default_pool:
        pools.add_target_once(
            NOBODY,
            settings.default_pool_datacenter,
            NodeSize.TINY,
            min_warm_count=settings.default_pool_count,
            dispatch=True,
            reason=CONTROLLER,
        )
    return pools.sweep(limit)


CHORES: Final[Sequence[Chore]] = (replace_lost_agents, settle_accounts, forget_expired, fill_pools)
