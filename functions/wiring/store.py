"""Makes what keeps orders, keys and records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, get_args

from functions.assembly import Maker
from functions.domain.accounts import Account, Enrolment, Removal
from functions.domain.agent_sessions import AgentSession, EventPage
from functions.domain.agents import Agent, SpentProof
from functions.domain.batches import Batch
from functions.domain.job_launchers import JobLauncher
from functions.domain.parent_notices import Mailbox, Notice
from functions.domain.pools import Pool
from functions.engine.operator_sessions import SessionEnd
from functions.http.authentication import CachedKeys
from functions.ports.keys import KeyStore
from functions.ports.order_feed import OrderFeed
from functions.ports.orders import OrderStore
from functions.ports.records import Records
from functions.settings import Backend, DatabaseSettings

MakeRecords = Callable[[str, type[Any]], Records[Any]]
"""Makes the port for one kind of record from its collection and type."""


@dataclass(frozen=True, slots=True)
class Database:
    """What keeps orders, keys and records."""

    store: OrderStore
    feed: OrderFeed
    keys: KeyStore
    records: MakeRecords


def database(settings: DatabaseSettings) -> Database:
    """Google's library reads FIRESTORE_EMULATOR_HOST itself."""
    if settings.backend is Backend.MEMORY:
        return _memory(settings)
    from google.cloud.firestore import Client

    from functions.adapters.firestore import FirestoreOrderStore
    from functions.adapters.firestore_feed import FirestoreOrderFeed
    from functions.adapters.firestore_keys import FirestoreKeyStore
    from functions.adapters.records import FirestoreRecords

    client = Client(project=settings.project, database=settings.database)
    return Database(
        FirestoreOrderStore(client),
        FirestoreOrderFeed(client),
        FirestoreKeyStore(client),
        partial(FirestoreRecords, client),
    )


def _memory(settings: DatabaseSettings) -> Database:
    from functions.adapters.memory import MemoryOrderStore
    from functions.adapters.memory_keys import MemoryKeyStore
    from functions.adapters.memory_records import MemoryRecords

    keys = MemoryKeyStore()
    for seeded in settings.keys:
        keys.add(seeded.key())
    store = MemoryOrderStore()
    return Database(store, store, keys, lambda _collection, _kind: MemoryRecords())


def order_store(database: Database) -> OrderStore:
    return database.store


def order_feed(database: Database) -> OrderFeed:
    return database.feed


def key_store(database: Database) -> KeyStore:
    return CachedKeys(database.keys)


COLLECTIONS: Final[Mapping[Any, str]] = {
    Records[Account]: "accounts",
    Records[Removal]: "account_removals",
    Records[Enrolment]: "enrolments",
    Records[Pool]: "pools",
    Records[Batch]: "batches",
    Records[SpentProof]: "spent_proofs",
    Records[Agent]: "agents",
    Records[AgentSession]: "agent_sessions",
    Records[EventPage]: "agent_session_events",
    Records[Notice]: "job_notices",
    Records[Mailbox]: "parent_mailboxes",
    Records[JobLauncher]: "job_launchers",
    Records[SessionEnd]: "operator_session_ends",
}


def _records(collection: str, kind: type[Any], database: Database) -> Records[Any]:
    return database.records(collection, kind)


RECORDS: Final[Mapping[Any, Maker]] = {
    records: Maker(collection, partial(_records, collection, *get_args(records)), {"database": Database})
    for records, collection in COLLECTIONS.items()
}


MAKERS: Final[Sequence[Callable[..., object]]] = (database, order_store, order_feed, key_store)
