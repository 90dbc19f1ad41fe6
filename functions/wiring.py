"""The composition root: which adapters the functions run on.

functions-framework imports the entry points in gunicorn's master process and forks: a gRPC client or a thread that
existed before would be dead in the workers. So the App is made at the first request, once a process.
"""

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

from pydantic_settings import BaseSettings

from functions.apis.v1.orders import ring
from functions.apis.v1.sweeps import settle_held
from functions.app import App
from functions.domain.accounts import Account, Enrolment
from functions.domain.agents import Agent, Challenge
from functions.domain.pools import Pool
from functions.engine.accounts import Accounts
from functions.engine.agents import Agents
from functions.engine.associations import Associations
from functions.engine.attestation import Trust, Verifier
from functions.engine.credentials import CallbackTokens
from functions.engine.enrolments import Enrolments
from functions.engine.late_workers import LateWorkers
from functions.engine.order_sets import OrderSets
from functions.engine.pools import Pools
from functions.engine.sessions import Sessions
from functions.engine.sweep import Chores
from functions.engine.unattended_claims import UnattendedClaims
from functions.http.api import Api
from functions.http.authentication import CachedKeys
from functions.http.handlers import Services, pick, wanted_by
from functions.ports import Appraiser, Doorbell, KeyStore, OrderStore, OutputBucket, Records
from functions.settings import AllSettings, Backend, Settings

APPRAISAL_SECONDS: Final = 10.0
"""How long Intel Trust Authority may take to answer: an agent gives us 30."""

MakeRecords = Callable[[str, type[Any]], Records[Any]]
"""Makes the port of one kind of record, from its collection and type."""
Ports = tuple[OrderStore, KeyStore, Doorbell, MakeRecords]


def once(make: Callable[[], Services]) -> Callable[[], Services]:
    """Return a function that makes the services at its first call, by any thread, and returns the same ever after."""
    lock, made = threading.Lock(), list[Services]()

    def services() -> Services:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return services


OFFERED: Final[Set[type]] = frozenset(
    {
        *(App, Chores, KeyStore, OrderStore, CallbackTokens, Sessions),
        *(Accounts, Agents, Enrolments, LateWorkers, Pools, UnattendedClaims, Verifier),
    }
)
"""The types of the services that handlers may ask for, beside the settings of their API."""


def build(settings: AllSettings, apis: Sequence[Api]) -> Services:
    return services_of(build_app(settings.core), apis, settings.of_apis)


def services_of(app: App, apis: Sequence[Api], settings: Mapping[type[BaseSettings], BaseSettings]) -> Services:
    """Return what handlers may ask for, each under its type."""
    services: Services = {App: app, KeyStore: app.keys, OrderStore: app.store, **_capacity(app), **settings}
    chores = [partial(chore, **pick(services, wanted_by(chore, {"limit"}))) for api in apis for chore in api.chores]
    return {**services, Chores: Chores(chores)}


def _capacity(app: App) -> Services:
    """Return the services of pools, agents and accounts."""
    clock, new_id = app.clock, app.new_id
    verifier = Verifier(app.appraiser, app.challenges, app.trust, clock, new_id)
    associations = Associations(app.agents, app.store, app.tokens, clock)
    order_sets = OrderSets(app.store, partial(ring, app=app), clock)
    pools = Pools(app.pools, app.agents, order_sets, clock, app.attestation)
    enrolments = Enrolments(app.enrolments, clock, app.new_secret)
    return {
        CallbackTokens: app.tokens,
        Sessions: app.sessions,
        Verifier: verifier,
        Agents: Agents(app.agents, app.store, associations, verifier, clock, new_id),
        LateWorkers: LateWorkers(app.store, associations, clock, new_id),
        UnattendedClaims: UnattendedClaims(app.oldest.next, partial(settle_held, app), clock, new_id),
        Pools: pools,
        Enrolments: enrolments,
        Accounts: Accounts(app.accounts, app.keys, enrolments, pools, clock, new_id, app.new_secret),
    }


def build_app(settings: Settings) -> App:
    from functions.engine.candidates import Candidates, oldest_last

    store, keys, doorbell, records = _memory(settings) if settings.backend is Backend.MEMORY else _google(settings)
    secret = settings.callback_secret.get_secret_value()
    password = None if settings.admin_password is None else settings.admin_password.get_secret_value()
    return App(
        store=store,
        keys=CachedKeys(keys),
        doorbell=doorbell,
        bucket=_bucket(settings),
        candidates=Candidates(store),
        oldest=Candidates(store, rest=timedelta(), shuffle=oldest_last),
        accounts=records("accounts", Account),
        enrolments=records("enrolments", Enrolment),
        pools=records("pools", Pool),
        challenges=records("challenges", Challenge),
        agents=records("agents", Agent),
        sessions=Sessions(secret, password, settings.password_login, clock=_now),
        appraiser=_appraiser(settings),
        trust=Trust([trusted.image() for trusted in settings.trusted_images], settings.tcb, settings.nonces),
        tokens=CallbackTokens(secret),
        clock=_now,
        new_id=lambda: str(uuid4()),
        new_secret=secrets.token_urlsafe,
        wait=time.sleep,
        lease=timedelta(seconds=settings.lease_seconds),
        attestation=settings.attestation,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _memory(settings: Settings) -> Ports:
    from functions.adapters.memory import MemoryKeyStore, MemoryOrderStore, SilentDoorbell
    from functions.adapters.memory_records import MemoryRecords

    keys = MemoryKeyStore()
    for seeded in settings.keys:
        keys.add(seeded.key())
    return MemoryOrderStore(), keys, SilentDoorbell(), lambda _collection, _kind: MemoryRecords()


def _google(settings: Settings) -> Ports:
    """FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST are honoured by Google's libraries themselves."""
    from google.cloud.firestore import Client
    from google.cloud.pubsub_v1 import PublisherClient

    from functions.adapters.firestore import FirestoreKeyStore, FirestoreOrderStore
    from functions.adapters.pubsub import PubSubDoorbell
    from functions.adapters.records import FirestoreRecords

    client = Client(project=settings.project, database=settings.database)
    publisher = PublisherClient()
    doorbell = PubSubDoorbell(publisher, publisher.topic_path(settings.project, settings.topic))
    return FirestoreOrderStore(client), FirestoreKeyStore(client), doorbell, partial(FirestoreRecords, client)


def _appraiser(settings: Settings) -> Appraiser:
    from functions.adapters.published_keys import PublishedKeys
    from functions.adapters.trust_authority import TrustAuthority
    from shared.http_client import open_client

    api_key = settings.ita_api_key
    keys = PublishedKeys(open_client(settings.ita_certs, timeout=APPRAISAL_SECONDS), settings.ita_certs)
    http = open_client(settings.ita_api, timeout=APPRAISAL_SECONDS)
    return TrustAuthority(http, keys, settings.ita_api, api_key.get_secret_value() if api_key else None)


def _bucket(settings: Settings) -> OutputBucket:
    from functions.adapters.buckets import open_bucket

    secret = settings.s3_secret_access_key
    return open_bucket(
        settings.bucket,
        endpoint=settings.s3_endpoint,
        access_key_id=settings.s3_access_key_id,
        secret=secret.get_secret_value() if secret else None,
        sign_as=settings.sign_as,
    )
