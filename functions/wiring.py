"""The composition root: how each service is made, from the services and ports that it takes down to the settings.

Of these, a function makes what its routes need (`assembly`): what is not asked for is not made, its library is not
imported, and its settings and secrets are not read. To add a service, add it to MAKERS: its class, or, if it takes
anything that has no type of its own, a function.

functions-framework imports the entry points in gunicorn's master process, which then forks. A gRPC client or thread
from before the fork would not work in the workers, so the services are made at the first request (`endpoint.once`).
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, get_args
from uuid import uuid4

from functions.assembly import Assembly, Maker, bound, by_type, plan
from functions.domain.accounts import Account, Enrolment, Removal
from functions.domain.agent_sessions import AgentSession, EventPage
from functions.domain.agents import Agent, SpentProof
from functions.domain.batches import Batch
from functions.domain.job_launchers import JobLauncher
from functions.domain.parent_notices import Mailbox, Notice
from functions.domain.pools import Pool
from functions.engine.account_removals import AccountRemovals
from functions.engine.accounts import Accounts
from functions.engine.agent_sessions import AgentSessions
from functions.engine.agents import Agents
from functions.engine.arrivals import Arrivals
from functions.engine.associations import Associations
from functions.engine.attestation import SpentProofs, Trust, Verifier
from functions.engine.backlogs import Backlogs
from functions.engine.batches import Batches
from functions.engine.cancellations import Cancellations
from functions.engine.candidates import Candidates
from functions.engine.claim_quotas import ClaimUsage
from functions.engine.claims import Claims, NextClaim
from functions.engine.credentials import CallbackTokens, ChallengeNonces
from functions.engine.enrolments import Enrolments
from functions.engine.environments import CallbackAddresses, Environment, Environments
from functions.engine.foreign_reports import ForeignReports, ForeignUploads
from functions.engine.job_launchers import JobLaunchers
from functions.engine.job_polls import JobPolls
from functions.engine.job_reports import JobReports
from functions.engine.late_workers import LateWorkers
from functions.engine.leases import Leases
from functions.engine.lost_agents import LostAgents
from functions.engine.oldest_first_claims import OldestFirst, OldestFirstClaims
from functions.engine.operator_secrets import OperatorSecrets
from functions.engine.operator_sessions import SessionEnd, SessionEnds, Sessions
from functions.engine.order_sets import OrderSets
from functions.engine.orders import Orders
from functions.engine.outputs import Outputs
from functions.engine.parent_notices import ParentNotices, expect
from functions.engine.pools import Pools
from functions.engine.purges import Purges
from functions.engine.quotas import TokenBucket, Usage
from functions.engine.session_jobs import SessionJobs
from functions.engine.sweep import Chore, Sweep
from functions.http.api import CHORE_GIVEN, ENVIRONMENT_GIVEN, Api
from functions.http.authentication import CachedKeys
from functions.http.routing import Route
from functions.http.shutdown import stopping
from functions.ports.attestation import Appraiser
from functions.ports.clock import Clock, NewId
from functions.ports.doorbell import Doorbell
from functions.ports.keys import KeyStore
from functions.ports.order_feed import OrderFeed
from functions.ports.orders import OrderStore
from functions.ports.outputs import OutputBucket
from functions.ports.records import Records
from functions.ports.worker_credentials import CredentialIssuer
from functions.settings import (
    AddressSettings,
    AttestationSettings,
    Backend,
    BucketSettings,
    CallbackSettings,
    DatabaseSettings,
    DoorbellSettings,
    LeaseSettings,
    LoginSettings,
    OperatorSecretSettings,
    PoolSettings,
    QuotaSettings,
    ServerSettings,
    SignupSettings,
    TrustAuthoritySettings,
    WaitingSettings,
    WorkerCredentialSettings,
)
from shared.domain.spec import OrderKind

APPRAISAL_SECONDS: Final = 10.0
"""The time limit for Intel Trust Authority's answer: an agent waits 30 s for ours."""

ALWAYS: Final = (AddressSettings, DatabaseSettings, ServerSettings)
"""The settings that every process needs (`main`)."""

NewSecret = Callable[[int], str]
"""Returns this number of random bytes in URL-safe base64."""
MakeRecords = Callable[[str, type[Any]], Records[Any]]
"""Makes the port for one kind of record from its collection and type."""
MakeEnvironments = Mapping[OrderKind, Callable[..., Environment]]


def plan_for(apis: Sequence[Api], routes: Iterable[Route]) -> Assembly:
    """Return what a function with these routes needs. Raises WrongHandler."""
    return plan(apis, routes, makers_for(apis), ALWAYS)


def makers_for(apis: Sequence[Api]) -> Mapping[Any, Maker]:
    """Return what makes each service, port and value."""
    chores = [chore for api in apis for chore in api.chores]
    environments = {kind: make for api in apis for kind, make in api.environments.items()}
    return {
        **by_type(MAKERS),
        **RECORDS,
        Sequence[Chore]: bound("The sweep's chores", chores, CHORE_GIVEN),
        MakeEnvironments: bound(
            "The images' environments",
            environments.values(),
            ENVIRONMENT_GIVEN,
            lambda makers: dict(zip(environments, makers, strict=True)),
        ),
    }


def orders(
    store: OrderStore, doorbell: Doorbell, usage: Usage, clock: Clock, new_id: NewId, notices: Records[Notice]
) -> Orders:
    return Orders(store, doorbell, usage, clock, new_id, before_session=partial(expect, notices))


def order_sets(store: OrderStore, orders: Orders, clock: Clock) -> OrderSets:
    return OrderSets(store, orders.ring, clock)


def usage(store: OrderStore, pools: Records[Pool], clock: Clock, quotas: QuotaSettings) -> Usage:
    return Usage(store, pools, clock, quotas.quotas())


def claim_usage(store: OrderStore, clock: Clock, quotas: QuotaSettings, waiting: WaitingSettings) -> ClaimUsage:
    limits = quotas.quotas()
    here = min(limits.waiting_claims, waiting.claims_that_wait)
    return ClaimUsage(store, clock, replace(limits, waiting_claims=here))


def arrivals(feed: OrderFeed, any_order: NextClaim, clock: Clock, waiting: WaitingSettings) -> Arrivals:
    return Arrivals(
        feed, any_order.note_queued, clock, waiting.claims_that_wait, waiting.claims_held_back, stopping=stopping
    )


def any_order(store: OrderStore) -> NextClaim:
    return Candidates(store)


def oldest_first(store: OrderStore) -> OldestFirst:
    return Candidates(store, pause=timedelta(), oldest_first=True)


def claims(
    store: OrderStore,
    any_order: NextClaim,
    arrivals: Arrivals,
    backlogs: Backlogs,
    usage: ClaimUsage,
    clock: Clock,
    leases: LeaseSettings,
) -> Claims:
    return Claims(store, any_order, arrivals, backlogs, usage, clock, leases.lease)


def oldest_first_claims(
    oldest_first: OldestFirst,
    store: OrderStore,
    doorbell: Doorbell,
    outputs: Outputs,
    notices: ParentNotices,
    usage: ClaimUsage,
    clock: Clock,
    new_id: NewId,
) -> OldestFirstClaims:
    expired = Sweep(store, doorbell, outputs, clock, new_id, after_end=notices.settle)
    return OldestFirstClaims(oldest_first, expired.settle_held, usage, clock, new_id)


def cancellations(store: OrderStore, clock: Clock, notices: ParentNotices) -> Cancellations:
    return Cancellations(store, clock, notices.settle)


def leases(
    store: OrderStore, outputs: Outputs, clock: Clock, settings: LeaseSettings, notices: ParentNotices
) -> Leases:
    return Leases(store, outputs, clock, settings.lease, notices.settle)


def outputs(store: OrderStore, bucket: OutputBucket, clock: Clock, new_id: NewId, notices: ParentNotices) -> Outputs:
    return Outputs(store, bucket, clock, new_id, notices.settle)


def sweep(
    store: OrderStore,
    doorbell: Doorbell,
    outputs: Outputs,
    clock: Clock,
    new_id: NewId,
    chores: Sequence[Chore],
    notices: ParentNotices,
) -> Sweep:
    return Sweep(store, doorbell, outputs, clock, new_id, chores, after_end=notices.settle)


def job_launchers(
    records: Records[JobLauncher],
    store: OrderStore,
    arrivals: Arrivals,
    clock: Clock,
    new_id: NewId,
    notices: ParentNotices,
) -> JobLaunchers:
    return JobLaunchers(records, store, arrivals.nudge, clock, new_id, notices.settle)


def job_reports(
    launchers: JobLaunchers,
    store: OrderStore,
    clock: Clock,
    new_id: NewId,
    leases: LeaseSettings,
    notices: ParentNotices,
) -> JobReports:
    return JobReports(launchers, store, clock, new_id, leases.lease, notices.settle)


def pools(
    records: Records[Pool],
    agents: Records[Agent],
    order_sets: OrderSets,
    usage: Usage,
    clock: Clock,
    settings: PoolSettings,
) -> Pools:
    return Pools(records, agents, order_sets, usage, clock, settings.attestation)


def accounts(
    records: Records[Account],
    keys: KeyStore,
    enrolments: Enrolments,
    removals: AccountRemovals,
    settings: SignupSettings,
    clock: Clock,
    new_id: NewId,
    new_secret: NewSecret,
) -> Accounts:
    signups = TokenBucket(settings.signups_a_minute / 60, settings.signups_a_minute, clock)
    return Accounts(records, keys, enrolments, removals, signups, settings.max_unconfirmed, clock, new_id, new_secret)


def sessions(callback: CallbackSettings, login: LoginSettings, ends: Records[SessionEnd], clock: Clock) -> Sessions:
    secret, previous = callback.secrets()
    password = None if login.admin_password is None else login.admin_password.get_secret_value()
    return Sessions(secret, password, login.password_login, previous=previous, ends=ends, clock=clock)


def callback_tokens(settings: CallbackSettings) -> CallbackTokens:
    return CallbackTokens(*settings.secrets())


def challenge_nonces(settings: CallbackSettings) -> ChallengeNonces:
    return ChallengeNonces(*settings.secrets())


def callback_addresses(address: AddressSettings, tokens: CallbackTokens) -> CallbackAddresses:
    return CallbackAddresses(address.url, tokens)


def operator_secrets(settings: OperatorSecretSettings) -> OperatorSecrets:
    return settings.operator_secrets()


def trust(settings: AttestationSettings) -> Trust:
    return settings.trust()


def clock() -> Clock:
    return lambda: datetime.now(UTC)


def new_id() -> NewId:
    return lambda: str(uuid4())


def new_secret() -> NewSecret:
    return secrets.token_urlsafe


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

    from functions.adapters.firestore import FirestoreKeyStore, FirestoreOrderStore
    from functions.adapters.firestore_feed import FirestoreOrderFeed
    from functions.adapters.records import FirestoreRecords

    client = Client(project=settings.project, database=settings.database)
    return Database(
        FirestoreOrderStore(client),
        FirestoreOrderFeed(client),
        FirestoreKeyStore(client),
        partial(FirestoreRecords, client),
    )


def _memory(settings: DatabaseSettings) -> Database:
    from functions.adapters.memory import MemoryKeyStore, MemoryOrderStore
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


def doorbell(database: DatabaseSettings, settings: DoorbellSettings) -> Doorbell:
    """Google's library reads PUBSUB_EMULATOR_HOST itself."""
    if database.backend is Backend.MEMORY:
        from functions.adapters.memory import SilentDoorbell

        return SilentDoorbell()
    from google.cloud.pubsub_v1 import PublisherClient

    from functions.adapters.pubsub import PubSubDoorbell

    publisher = PublisherClient()
    return PubSubDoorbell(publisher, publisher.topic_path(database.project, settings.topic))


def bucket(settings: BucketSettings) -> OutputBucket:
    from functions.adapters.buckets import open_bucket

    return open_bucket(
        settings.bucket,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret=settings.s3_secret,
        sign_as=settings.sign_as,
    )


def credential_issuer(bucket: BucketSettings, settings: WorkerCredentialSettings) -> CredentialIssuer:
    from functions.adapters.bucket_credentials import Issuer

    return Issuer(
        bucket.bucket,
        bucket.s3_endpoint,
        settings.r2_account_id,
        bucket.s3_access_key_id,
        bucket.s3_secret,
        settings.worker_credentials,
    )


def appraiser(settings: TrustAuthoritySettings) -> Appraiser:
    from functions.adapters.published_keys import PublishedKeys
    from functions.adapters.trust_authority import TrustAuthority
    from shared.http_client import open_client

    api_key = settings.ita_api_key
    keys = PublishedKeys(open_client(settings.ita_certs, timeout=APPRAISAL_SECONDS), settings.ita_certs)
    http = open_client(settings.ita_api, timeout=APPRAISAL_SECONDS)
    return TrustAuthority(http, keys, settings.ita_api, api_key.get_secret_value() if api_key else None)


MAKERS: Final[Sequence[Callable[..., object]]] = (
    *(orders, cancellations, order_sets, outputs, Purges, usage, claim_usage, sweep, Environments),
    *(any_order, oldest_first, Backlogs, arrivals, claims, oldest_first_claims, leases, ForeignReports, ForeignUploads),
    *(SessionJobs, AgentSessions, ParentNotices, job_launchers, JobPolls, job_reports),
    *(pools, Batches, LateWorkers, Associations, Agents, LostAgents, Verifier, SpentProofs),
    *(accounts, AccountRemovals, Enrolments, sessions, SessionEnds),
    *(callback_tokens, challenge_nonces, callback_addresses, operator_secrets, trust),
    *(clock, new_id, new_secret),
    *(database, order_store, order_feed, key_store, doorbell, bucket, credential_issuer, appraiser),
)
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
