"""The composition root: which adapters the functions run on.

functions-framework imports the entry points in gunicorn's master process and forks: a gRPC client or a thread that
existed before would be dead in the workers. So the services are made at the first request (`endpoint.once`).
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

from pydantic_settings import BaseSettings

from functions.apis.capacity.attestation import Trust
from functions.apis.capacity.parts import Capacity, DefaultPool
from functions.apis.capacity.sessions import Sessions
from functions.app import Ports
from functions.domain.accounts import Account, Enrolment
from functions.domain.agents import Agent, Challenge
from functions.domain.pools import Pool
from functions.engine.claims import Claims
from functions.engine.credentials import CallbackTokens
from functions.engine.leases import Leases
from functions.engine.orders import Orders
from functions.engine.outputs import Outputs
from functions.engine.sweep import Sweep
from functions.http.api import Api
from functions.http.authentication import CachedKeys
from functions.http.handlers import Services, pick, wanted_by
from functions.ports import Appraiser, Doorbell, KeyStore, OrderStore, OutputBucket, Records
from functions.settings import AllSettings, Backend, Settings
from shared.domain.spec import NodeSize

SHORTEST_CLAIM: Final = 30.0
"""Seconds: the contract's."""

APPRAISAL_SECONDS: Final = 10.0
"""How long Intel Trust Authority may take to answer: an agent gives us 30."""

Backends = tuple[OrderStore, KeyStore, Doorbell, Capacity]


OFFERED: Final[Set[type]] = frozenset({Ports, KeyStore, CallbackTokens, Orders, Claims, Leases, Outputs, Sweep})
"""The types of the services that handlers may ask for, beside the settings of their API."""


def build(settings: AllSettings, apis: Sequence[Api]) -> Services:
    return services_of(ports_of(settings.core), apis, settings.of_apis)


def services_of(ports: Ports, apis: Sequence[Api], settings: Mapping[type[BaseSettings], BaseSettings]) -> Services:
    """Return what handlers may ask for, each under its type."""
    store, clock = ports.store, ports.clock
    outputs = Outputs(store, ports.bucket, clock)
    services: Services = {
        Ports: ports,  # for functions/apis/capacity
        KeyStore: ports.keys,
        CallbackTokens: ports.tokens,
        Orders: Orders(store, ports.doorbell, outputs, clock, ports.new_id),
        Claims: Claims(store, ports.any_order, ports.oldest_first, clock, ports.wait, ports.lease),
        Leases: Leases(store, clock, ports.lease),
        Outputs: outputs,
        **settings,
    }
    chores = [partial(chore, **pick(services, wanted_by(chore, {"limit"}))) for api in apis for chore in api.chores]
    return {**services, Sweep: Sweep(store, ports.doorbell, outputs, clock, ports.new_id, chores)}


def ports_of(settings: Settings) -> Ports:
    from functions.engine.candidates import Candidates, oldest_last

    store, keys, doorbell, capacity = _memory(settings) if settings.backend is Backend.MEMORY else _google(settings)
    return Ports(
        store=store,
        keys=CachedKeys(keys),
        doorbell=doorbell,
        bucket=_bucket(settings),
        any_order=Candidates(store),
        oldest_first=Candidates(store, pause=timedelta(), sort=oldest_last),
        capacity=capacity,
        tokens=CallbackTokens(settings.callback_secret.get_secret_value()),
        clock=lambda: datetime.now(UTC),
        new_id=lambda: str(uuid4()),
        new_secret=secrets.token_urlsafe,
        wait=time.sleep,
        lease=timedelta(seconds=settings.lease_seconds),
    )


def _memory(settings: Settings) -> Backends:
    from functions.adapters.memory import MemoryKeyStore, MemoryOrderStore, SilentDoorbell
    from functions.adapters.memory_records import MemoryRecords

    keys = MemoryKeyStore()
    for seeded in settings.keys:
        keys.add(seeded.key())
    return MemoryOrderStore(), keys, SilentDoorbell(), _capacity(settings, lambda _collection, _kind: MemoryRecords())


def _google(settings: Settings) -> Backends:
    """FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST are honoured by Google's libraries themselves."""
    from google.cloud.firestore import Client
    from google.cloud.pubsub_v1 import PublisherClient

    from functions.adapters.firestore import FirestoreKeyStore, FirestoreOrderStore
    from functions.adapters.pubsub import PubSubDoorbell
    from functions.adapters.records import FirestoreRecords

    client = Client(project=settings.project, database=settings.database)
    publisher = PublisherClient()
    topic = publisher.topic_path(settings.project, settings.topic)
    capacity = _capacity(settings, lambda collection, kind: FirestoreRecords(client, collection, kind))
    return FirestoreOrderStore(client), FirestoreKeyStore(client), PubSubDoorbell(publisher, topic), capacity


def _capacity(settings: Settings, records: Callable[[str, type[Any]], Records[Any]]) -> Capacity:
    password = settings.admin_password
    return Capacity(
        accounts=records("accounts", Account),
        enrolments=records("enrolments", Enrolment),
        pools=records("pools", Pool),
        challenges=records("challenges", Challenge),
        agents=records("agents", Agent),
        sessions=Sessions(
            settings.callback_secret.get_secret_value(),
            password.get_secret_value() if password else None,
            settings.password_login,
        ),
        appraiser=_appraiser(settings),
        trust=Trust([trusted.image() for trusted in settings.trusted_images], settings.tcb, settings.nonces),
        claim_ttl=timedelta(seconds=max(settings.claim_ttl_seconds, SHORTEST_CLAIM)),
        open_signup=settings.open_signup,
        attestation=settings.attestation,
        default_pool=_default_pool(settings),
    )


def _appraiser(settings: Settings) -> Appraiser:
    from functions.adapters.published_keys import PublishedKeys
    from functions.adapters.trust_authority import TrustAuthority
    from shared.http_client import open_client

    api_key = settings.ita_api_key
    keys = PublishedKeys(open_client(settings.ita_certs, timeout=APPRAISAL_SECONDS), settings.ita_certs)
    http = open_client(settings.ita_api, timeout=APPRAISAL_SECONDS)
    return TrustAuthority(http, keys, settings.ita_api, api_key.get_secret_value() if api_key else None)


def _default_pool(settings: Settings) -> DefaultPool | None:
    if not settings.default_pool:
        return None
    return DefaultPool(settings.default_pool_datacenter, NodeSize.TINY, settings.default_pool_count)


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
