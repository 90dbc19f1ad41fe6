"""The composition root: makes the services from the adapters that the settings choose.

functions-framework imports the entry points in gunicorn's master process, which then forks. A gRPC client or thread
from before the fork would not work in the workers, so the services are made at the first request (`endpoint.once`).
"""

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

from pydantic_settings import BaseSettings

from functions.domain.accounts import Account, Enrolment, Removal
from functions.domain.agent_sessions import AgentSession, EventPage
from functions.domain.agents import Agent, SpentProof
from functions.domain.batches import Batch
from functions.domain.job_launchers import JobLauncher
from functions.domain.parent_notices import Mailbox, Notice
from functions.domain.pools import Pool
from functions.domain.quotas import DEFAULT_QUOTAS, Quotas
from functions.engine.account_removals import AccountRemovals
from functions.engine.accounts import MAX_UNCONFIRMED, SIGNUPS_A_MINUTE, Accounts
from functions.engine.agent_sessions import AgentSessions
from functions.engine.agents import Agents
from functions.engine.arrivals import MAX_DISPLACED, MAX_WAITING, Arrivals, in_thread
from functions.engine.associations import Associations
from functions.engine.attestation import Trust, Verifier
from functions.engine.backlogs import Backlogs
from functions.engine.batches import Batches
from functions.engine.claims import Claims, NextClaim
from functions.engine.credentials import CallbackTokens, ChallengeNonces
from functions.engine.enrolments import Enrolments
from functions.engine.environments import CallbackAddresses, Environments
from functions.engine.job_launchers import JobLaunchers
from functions.engine.job_polls import JobPolls
from functions.engine.job_reports import JobReports
from functions.engine.late_workers import LateWorkers
from functions.engine.leases import Leases
from functions.engine.oldest_first_claims import OldestFirstClaims
from functions.engine.operator_secrets import OperatorSecrets
from functions.engine.operator_sessions import SessionEnd, Sessions
from functions.engine.order_sets import OrderSets
from functions.engine.orders import Orders
from functions.engine.outputs import Outputs
from functions.engine.parent_notices import ParentNotices, expect
from functions.engine.pools import Pools
from functions.engine.quotas import Usage
from functions.engine.session_jobs import SessionJobs
from functions.engine.sweep import Sweep
from functions.engine.token_bucket import TokenBucket
from functions.http.api import CHORE_GIVEN, ENVIRONMENT_GIVEN, Api
from functions.http.authentication import CachedKeys
from functions.http.handlers import Services, wanted_by
from functions.http.shutdown import stopping
from functions.ports import (
    Appraiser,
    CredentialIssuer,
    Doorbell,
    KeyStore,
    OrderFeed,
    OrderStore,
    OutputBucket,
    Records,
)
from functions.settings import AllSettings, Backend, FunctionsSettings
from shared.domain.order import LEASE
from shared.domain.spec import Attestation

APPRAISAL_SECONDS: Final = 10.0
"""The time limit for Intel Trust Authority's answer: an agent waits 30 s for ours."""

MakeRecords = Callable[[str, type[Any]], Records[Any]]
"""Makes the port for one kind of record from its collection and type."""
Backends = tuple[OrderStore, OrderFeed, KeyStore, Doorbell, MakeRecords]


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports and values from which the services are made.

    `any_order` and `oldest_first` find orders to claim; at most `max_waiting` claims wait for one, and `max_displaced`
    are held for a moment that may not wait. `new_id` returns a
    new UUID, `new_secret` a number of random bytes in URL-safe base64. `wait` sleeps until the event is set, or for
    some seconds; `in_background` runs a function until it ends; `stopping` returns whether the process is about to end.
    `lease` is the length of a lease. `attestation` is the demand of a pool's orders if its target sets none. `url` is
    the control plane's own address. `secrets` are those that orders may ask for.
    """

    store: OrderStore
    feed: OrderFeed
    keys: KeyStore
    doorbell: Doorbell
    bucket: OutputBucket
    issuer: CredentialIssuer
    any_order: NextClaim
    oldest_first: NextClaim
    accounts: Records[Account]
    removals: Records[Removal]
    enrolments: Records[Enrolment]
    pools: Records[Pool]
    batches: Records[Batch]
    spent_proofs: Records[SpentProof]
    agents: Records[Agent]
    agent_sessions: Records[AgentSession]
    agent_session_events: Records[EventPage]
    job_notices: Records[Notice]
    parent_mailboxes: Records[Mailbox]
    job_launchers: Records[JobLauncher]
    appraiser: Appraiser
    trust: Trust
    sessions: Sessions
    tokens: CallbackTokens
    nonces: ChallengeNonces
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    new_secret: Callable[[int], str]
    wait: Callable[[threading.Event, float], object] = threading.Event.wait
    in_background: Callable[[Callable[[], None]], None] = in_thread
    stopping: Callable[[], bool] = lambda: False
    max_waiting: int = MAX_WAITING
    max_displaced: int = MAX_DISPLACED
    quotas: Quotas = DEFAULT_QUOTAS
    signups_a_minute: int = SIGNUPS_A_MINUTE
    max_unconfirmed: int = MAX_UNCONFIRMED
    lease: timedelta = LEASE
    attestation: Attestation = Attestation.OPTIONAL
    url: str = ""
    secrets: OperatorSecrets = field(default_factory=OperatorSecrets)


OFFERED: Final[Set[type]] = frozenset(
    {
        *(KeyStore, CallbackTokens, CallbackAddresses, CredentialIssuer, OperatorSecrets, Sessions),
        *(Orders, Arrivals, Claims, Leases, Outputs, Environments, Sweep),
        *(AgentSessions, SessionJobs, ParentNotices),
        *(Pools, Batches, LateWorkers, OldestFirstClaims, Verifier, Agents, Enrolments, Accounts, AccountRemovals),
        *(JobLaunchers, JobPolls, JobReports),
    }
)
"""The types of the services that handlers may take, in addition to their API's settings."""


def build(settings: AllSettings, apis: Sequence[Api]) -> Services:
    return services_of(ports_of(settings.core), apis, settings.of_apis)


def services_of(ports: Ports, apis: Sequence[Api], settings: Mapping[type[BaseSettings], BaseSettings]) -> Services:
    """Return the services that handlers may take, by their type."""
    store, clock, new_id = ports.store, ports.clock, ports.new_id
    outputs = Outputs(store, ports.bucket, clock, new_id)
    waiting_claims = min(ports.quotas.waiting_claims, ports.max_waiting)
    usage = Usage(store, ports.pools, clock, replace(ports.quotas, waiting_claims=waiting_claims))
    orders = Orders(store, ports.doorbell, outputs, usage, clock, new_id, partial(expect, ports.job_notices))
    jobs = SessionJobs(store)
    agent_sessions = AgentSessions(ports.agent_sessions, ports.agent_session_events, jobs, clock)
    notices = ParentNotices(ports.job_notices, ports.parent_mailboxes, store, orders, jobs, agent_sessions, clock)
    sweep = Sweep(store, ports.doorbell, outputs, clock, new_id, after_end=notices.settle)
    verifier = Verifier(ports.appraiser, ports.spent_proofs, ports.trust, ports.nonces, clock, new_id)
    associations = Associations(ports.agents, store, ports.tokens, clock)
    order_sets = OrderSets(store, orders.ring, clock)
    pools = Pools(ports.pools, ports.agents, order_sets, usage, clock, ports.attestation)
    arrivals = Arrivals(
        ports.feed,
        ports.any_order.note_queued,
        clock,
        ports.max_waiting,
        ports.max_displaced,
        stopping=ports.stopping,
        wait=ports.wait,
        in_background=ports.in_background,
    )
    enrolments = Enrolments(ports.enrolments, clock, ports.new_secret)
    claims = Claims(store, ports.any_order, arrivals, Backlogs(store), usage, clock, ports.lease)
    job_launchers = JobLaunchers(ports.job_launchers, store, arrivals.nudge, clock, new_id, notices.settle)
    batches = Batches(ports.batches, order_sets, usage, clock)
    removals = AccountRemovals(
        ports.removals,
        ports.accounts,
        ports.keys,
        store,
        outputs,
        pools,
        batches,
        notices,
        agent_sessions,
        job_launchers,
        clock,
    )
    services: Services = {
        KeyStore: ports.keys,
        CallbackTokens: ports.tokens,
        CallbackAddresses: CallbackAddresses(ports.url, ports.tokens),
        CredentialIssuer: ports.issuer,
        OperatorSecrets: ports.secrets,
        Sessions: ports.sessions,
        Orders: orders,
        Arrivals: arrivals,
        Claims: claims,
        Leases: Leases(store, clock, ports.lease),
        Outputs: outputs,
        AgentSessions: agent_sessions,
        SessionJobs: jobs,
        ParentNotices: notices,
        Pools: pools,
        Batches: batches,
        LateWorkers: LateWorkers(store, associations, ports.removals, clock, new_id),
        OldestFirstClaims: OldestFirstClaims(ports.oldest_first, sweep.settle_held, usage, clock, new_id),
        Verifier: verifier,
        Agents: Agents(ports.agents, store, associations, verifier, clock, new_id),
        Enrolments: enrolments,
        AccountRemovals: removals,
        Accounts: Accounts(
            ports.accounts,
            ports.keys,
            enrolments,
            removals,
            TokenBucket(ports.signups_a_minute / 60, ports.signups_a_minute, clock),
            ports.max_unconfirmed,
            clock,
            new_id,
            ports.new_secret,
        ),
        JobLaunchers: job_launchers,
        JobPolls: JobPolls(job_launchers, claims, clock, new_id),
        JobReports: JobReports(job_launchers, store, clock, new_id, ports.lease, notices.settle),
        **settings,
    }
    chores = [
        partial(chore, **{name: services[kind] for name, kind in wanted_by(chore, CHORE_GIVEN).items()})
        for api in apis
        for chore in api.chores
    ]
    makers = {
        kind: partial(make, **{name: services[wanted] for name, wanted in wanted_by(make, ENVIRONMENT_GIVEN).items()})
        for api in apis
        for kind, make in api.environments.items()
    }
    return {**services, Sweep: replace(sweep, chores=chores), Environments: Environments(store, clock, makers)}


def ports_of(settings: FunctionsSettings) -> Ports:
    from functions.engine.candidates import Candidates

    store, feed, keys, doorbell, records = (
        _memory(settings) if settings.backend is Backend.MEMORY else _google(settings)
    )
    secret = settings.callback_secret.get_secret_value()
    previous = None if (former := settings.callback_secret_previous) is None else former.get_secret_value()
    password = None if settings.admin_password is None else settings.admin_password.get_secret_value()
    return Ports(
        store=store,
        feed=feed,
        keys=CachedKeys(keys),
        doorbell=doorbell,
        bucket=_bucket(settings),
        issuer=_issuer(settings),
        any_order=Candidates(store),
        oldest_first=Candidates(store, pause=timedelta(), oldest_first=True),
        accounts=records("accounts", Account),
        removals=records("account_removals", Removal),
        enrolments=records("enrolments", Enrolment),
        pools=records("pools", Pool),
        batches=records("batches", Batch),
        spent_proofs=records("spent_proofs", SpentProof),
        agents=records("agents", Agent),
        agent_sessions=records("agent_sessions", AgentSession),
        agent_session_events=records("agent_session_events", EventPage),
        job_notices=records("job_notices", Notice),
        parent_mailboxes=records("parent_mailboxes", Mailbox),
        job_launchers=records("job_launchers", JobLauncher),
        appraiser=_appraiser(settings),
        trust=Trust([trusted.image() for trusted in settings.trusted_images], settings.tcb, settings.nonces),
        sessions=Sessions(
            secret,
            password,
            settings.password_login,
            previous=previous,
            ends=records("operator_session_ends", SessionEnd),
            clock=_now,
        ),
        tokens=CallbackTokens(secret, previous),
        nonces=ChallengeNonces(secret, previous),
        clock=_now,
        new_id=lambda: str(uuid4()),
        new_secret=secrets.token_urlsafe,
        stopping=stopping,
        max_waiting=settings.claims_that_wait,
        max_displaced=settings.claims_held_back,
        quotas=settings.quotas(),
        signups_a_minute=settings.signups_a_minute,
        max_unconfirmed=settings.max_unconfirmed,
        lease=timedelta(seconds=settings.lease_seconds),
        attestation=settings.attestation,
        url=settings.url,
        secrets=settings.operator_secrets(),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _memory(settings: FunctionsSettings) -> Backends:
    from functions.adapters.memory import MemoryKeyStore, MemoryOrderStore, SilentDoorbell
    from functions.adapters.memory_records import MemoryRecords

    keys = MemoryKeyStore()
    for seeded in settings.keys:
        keys.add(seeded.key())
    store = MemoryOrderStore()
    return store, store, keys, SilentDoorbell(), lambda _collection, _kind: MemoryRecords()


def _google(settings: FunctionsSettings) -> Backends:
    """Google's libraries read FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST themselves."""
    from google.cloud.firestore import Client
    from google.cloud.pubsub_v1 import PublisherClient

    from functions.adapters.firestore import FirestoreKeyStore, FirestoreOrderStore
    from functions.adapters.firestore_feed import FirestoreOrderFeed
    from functions.adapters.pubsub import PubSubDoorbell
    from functions.adapters.records import FirestoreRecords

    client = Client(project=settings.project, database=settings.database)
    publisher = PublisherClient()
    doorbell = PubSubDoorbell(publisher, publisher.topic_path(settings.project, settings.topic))
    store, feed = FirestoreOrderStore(client), FirestoreOrderFeed(client)
    return store, feed, FirestoreKeyStore(client), doorbell, partial(FirestoreRecords, client)


def _appraiser(settings: FunctionsSettings) -> Appraiser:
    from functions.adapters.published_keys import PublishedKeys
    from functions.adapters.trust_authority import TrustAuthority
    from shared.http_client import open_client

    api_key = settings.ita_api_key
    keys = PublishedKeys(open_client(settings.ita_certs, timeout=APPRAISAL_SECONDS), settings.ita_certs)
    http = open_client(settings.ita_api, timeout=APPRAISAL_SECONDS)
    return TrustAuthority(http, keys, settings.ita_api, api_key.get_secret_value() if api_key else None)


def _issuer(settings: FunctionsSettings) -> CredentialIssuer:
    from functions.adapters.bucket_credentials import Issuer

    secret = settings.s3_secret_access_key
    return Issuer(
        settings.bucket,
        settings.s3_endpoint,
        settings.r2_account_id,
        settings.s3_access_key_id,
        secret.get_secret_value() if secret else None,
        settings.worker_credentials,
    )


def _bucket(settings: FunctionsSettings) -> OutputBucket:
    from functions.adapters.buckets import open_bucket

    secret = settings.s3_secret_access_key
    return open_bucket(
        settings.bucket,
        endpoint=settings.s3_endpoint,
        access_key_id=settings.s3_access_key_id,
        secret=secret.get_secret_value() if secret else None,
        sign_as=settings.sign_as,
    )
