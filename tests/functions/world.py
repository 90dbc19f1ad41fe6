"""A control plane for tests: the real entry point on functions-framework's own Flask app, over the memory adapters."""

import json
import secrets
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import uuid4

import httpx
from flask.testing import FlaskClient
from pydantic_settings import BaseSettings
from werkzeug.test import TestResponse

from emulators.fakes.trust_authority import LocalTrustAuthority
from functions import apis
from functions.adapters.bucket_credentials import Issuer
from functions.adapters.memory import MemoryOrderStore
from functions.adapters.memory_keys import MemoryKeyStore
from functions.adapters.memory_records import MemoryRecords
from functions.adapters.published_keys import PublishedKeys
from functions.adapters.trust_authority import TrustAuthority
from functions.apis import APIS, EVERYTHING
from functions.apis.v1.settings import SweepSettings
from functions.domain.access import ApiKey, Role, digest
from functions.domain.accounts import ROLE_OF, Account, AccountType, Enrolment, Removal
from functions.domain.agent_sessions import AgentSession, EventPage
from functions.domain.agents import Agent, SpentProof
from functions.domain.batches import Batch
from functions.domain.events import Claim
from functions.domain.job_launchers import JobLauncher
from functions.domain.order import Order
from functions.domain.parent_notices import Mailbox, Notice
from functions.domain.pools import Pool
from functions.domain.quotas import DEFAULT_QUOTAS, Quotas
from functions.domain.refusals import Unavailable, WrongState
from functions.engine.accounts import MAX_UNCONFIRMED, SIGNUPS_A_MINUTE
from functions.engine.arrivals import MAX_DISPLACED, MAX_WAITING, Arrivals
from functions.engine.claims import NextClaim
from functions.engine.credentials import CallbackTokens, ChallengeNonces
from functions.engine.oldest_first_claims import OldestFirst
from functions.engine.operator_secrets import OperatorSecrets
from functions.engine.operator_sessions import SessionEnd, Sessions
from functions.engine.trust import Image, Trust
from functions.http.authentication import CachedKeys
from functions.http.handlers import Services
from functions.ports.attestation import Appraiser
from functions.ports.clock import Clock as AnyClock
from functions.ports.clock import NewId
from functions.ports.doorbell import Doorbell
from functions.ports.keys import KeyStore
from functions.ports.order_feed import OrderFeed
from functions.ports.orders import OrderStore, Snapshot
from functions.ports.outputs import OutputBucket
from functions.ports.records import Records
from functions.ports.worker_credentials import CredentialIssuer, WorkerCredentials
from functions.settings import (
    AddressSettings,
    LeaseSettings,
    PoolSettings,
    QuotaSettings,
    SignupSettings,
    WaitingSettings,
)
from functions.wiring.accounts import NewSecret
from functions.wiring.makers import plan_for
from shared.domain.order import LEASE
from shared.domain.spec import AnySpec, Attestation
from shared.wire.bell import Bell
from tests.factories import NOW, TASK
from tests.functions.made_once import read_settings
from tests.memory_bucket import MemoryBucket
from tests.memory_doorbell import MemoryDoorbell

S = TypeVar("S")

ADMIN: Final = "ly_admin-key"
CLIENT: Final = "ly_client-key"
STRANGER: Final = "ly_another-accounts-client-key"
LAUNCHER: Final = "ly_launcher-key"
OTHER_LAUNCHER: Final = "ly_another-accounts-launcher-key"
KEYS: Final = (
    ApiKey(digest(ADMIN), Role.ADMIN, "operators"),
    ApiKey(digest(CLIENT), Role.CLIENT, "acme"),
    ApiKey(digest(STRANGER), Role.CLIENT, "globex"),
    ApiKey(digest(LAUNCHER), Role.LAUNCHER, "rack"),
    ApiKey(digest(OTHER_LAUNCHER), Role.LAUNCHER, "attic"),
)
AUTHORITY: Final = "http://trust-authority.test"
ITA_API_KEY: Final = "a key of Intel Trust Authority"
MRTD: Final = b"\x91" * 48
"""Of the one image that is trusted."""
PASSWORD: Final = "an operator's password of tests"
SECRET: Final = "a callback secret of tests, of 32 characters or more"
URL: Final = "https://control-plane.test"
BUCKET: Final = "outputs"
STORE: Final = "https://account-id.r2.cloudflarestorage.com"
MANY: Final = 10_000
"""Threads, so that only `max_waiting` limits the claims that wait."""
PLAN: Final = plan_for(APIS, EVERYTHING)
OF_APIS: Final[Sequence[type[BaseSettings]]] = (
    *(kind for kind in PLAN.settings if kind.__module__.startswith(f"{apis.__name__}.") and kind is not SweepSettings),
    SweepSettings,
)
"""The APIs' own settings, those of the function `sweep` included."""
ANY_LANES: Final = ["any/export", "any/task", "any/session", "local:dev/capacity/tiny"]


@dataclass
class Clock:
    """Stands until it is moved. `while_waiting` is called at each wait, once it is over."""

    now: datetime = NOW
    waits: list[float] = field(default_factory=list)
    while_waiting: Callable[[], object] = lambda: None

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, _: threading.Event, seconds: float) -> None:
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)
        self.while_waiting()


class Bells(MemoryDoorbell):
    """Counts what it is asked to ring, and can be out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Bell] = []
        self.broken = False

    @property
    def rung(self) -> list[str]:
        return [] if self.broken else [bell.order_id for bell in self.asked]

    def ring(self, bell: Bell) -> None:
        self.asked.append(bell)
        if self.broken:
            raise Unavailable("The broker does not answer.")
        super().ring(bell)


class FirstFitting:
    """The simplest `NextClaim`: the order of the lanes that has waited longest."""

    def __init__(self, store: OrderStore) -> None:
        self._store = store

    def next(self, lanes: Collection[str], claim: Claim, now: datetime) -> Order | None:
        for snapshot in self._store.claimable(lanes, now, 1):
            return self._store.claim(snapshot, claim, now)
        return None

    def claim(self, candidate: Snapshot, claim: Claim, now: datetime) -> Order | None:
        try:
            return self._store.claim(candidate, claim, now)
        except WrongState:
            return None

    def note_queued(self, lanes: Collection[str], arrived: Snapshot | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports and values from which the services of tests are made, in place of what the settings would choose.

    At most `max_waiting` claims wait, and `max_displaced` are held for a moment that may not wait. `wait` sleeps until
    the event is set, or for some seconds; `in_background` runs a function until it ends.
    """

    store: OrderStore
    feed: OrderFeed
    keys: KeyStore
    doorbell: Doorbell
    bucket: OutputBucket
    issuer: CredentialIssuer
    any_order: NextClaim
    oldest_first: OldestFirst
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
    session_ends: Records[SessionEnd]
    sessions: Sessions
    appraiser: Appraiser
    trust: Trust
    tokens: CallbackTokens
    nonces: ChallengeNonces
    clock: AnyClock
    new_id: NewId
    new_secret: NewSecret
    wait: Callable[[threading.Event, float], object]
    in_background: Callable[[Callable[[], None]], None]
    url: str
    max_waiting: int = MAX_WAITING
    max_displaced: int = MAX_DISPLACED
    quotas: Quotas = DEFAULT_QUOTAS
    signups_a_minute: int = SIGNUPS_A_MINUTE
    max_unconfirmed: int = MAX_UNCONFIRMED
    lease: timedelta = LEASE
    attestation: Attestation = Attestation.OPTIONAL
    secrets: OperatorSecrets = field(default_factory=OperatorSecrets)

    def given(self) -> Services:
        """Return what the wiring need not make, by its type."""
        ports: dict[Any, object] = {
            OrderStore: self.store,
            OrderFeed: self.feed,
            KeyStore: self.keys,
            Doorbell: self.doorbell,
            OutputBucket: self.bucket,
            CredentialIssuer: self.issuer,
            NextClaim: self.any_order,
            OldestFirst: self.oldest_first,
            Records[Account]: self.accounts,
            Records[Removal]: self.removals,
            Records[Enrolment]: self.enrolments,
            Records[Pool]: self.pools,
            Records[Batch]: self.batches,
            Records[SpentProof]: self.spent_proofs,
            Records[Agent]: self.agents,
            Records[AgentSession]: self.agent_sessions,
            Records[EventPage]: self.agent_session_events,
            Records[Notice]: self.job_notices,
            Records[Mailbox]: self.parent_mailboxes,
            Records[JobLauncher]: self.job_launchers,
            Records[SessionEnd]: self.session_ends,
            Appraiser: self.appraiser,
            Trust: self.trust,
            Sessions: self.sessions,
            CallbackTokens: self.tokens,
            ChallengeNonces: self.nonces,
            OperatorSecrets: self.secrets,
            AnyClock: self.clock,
            NewId: self.new_id,
            NewSecret: self.new_secret,
            Arrivals: Arrivals(
                self.feed,
                self.any_order.note_queued,
                self.clock,
                self.max_waiting,
                self.max_displaced,
                wait=self.wait,
                in_background=self.in_background,
            ),
        }
        return ports | {
            AddressSettings: AddressSettings.model_construct(url=self.url),
            LeaseSettings: LeaseSettings.model_construct(lease_seconds=self.lease.total_seconds()),
            QuotaSettings: QuotaSettings.model_construct(**asdict(self.quotas)),
            WaitingSettings: WaitingSettings.model_construct(threads=MANY, max_waiting=self.max_waiting),
            SignupSettings: SignupSettings.model_construct(
                signups_a_minute=self.signups_a_minute, max_unconfirmed=self.max_unconfirmed
            ),
            PoolSettings: PoolSettings.model_construct(attestation=self.attestation),
        }


def ports_for(clock: Clock, bells: Bells, authority: LocalTrustAuthority | None = None) -> Ports:
    store, keys, ends = MemoryOrderStore(), MemoryKeyStore(), MemoryRecords[SessionEnd]()
    for key in KEYS:
        keys.add(key)
    transport = httpx.WSGITransport(authority or LocalTrustAuthority(clock, ITA_API_KEY))
    http = httpx.Client(transport=transport, base_url=AUTHORITY)
    return Ports(
        store=store,
        feed=store,
        keys=CachedKeys(keys),
        doorbell=bells,
        bucket=MemoryBucket(clock),
        issuer=Issuer(f"s3://{BUCKET}", STORE, None, "parent-key", SECRET, WorkerCredentials.TEMPORARY),
        any_order=FirstFitting(store),
        oldest_first=FirstFitting(store),
        accounts=MemoryRecords(),
        removals=MemoryRecords(),
        enrolments=MemoryRecords(),
        pools=MemoryRecords(),
        batches=MemoryRecords(),
        spent_proofs=MemoryRecords(),
        agents=MemoryRecords(),
        agent_sessions=MemoryRecords(),
        agent_session_events=MemoryRecords(),
        job_notices=MemoryRecords(),
        parent_mailboxes=MemoryRecords(),
        job_launchers=MemoryRecords(),
        appraiser=TrustAuthority(http, PublishedKeys(http, f"{AUTHORITY}/certs"), AUTHORITY, ITA_API_KEY),
        trust=Trust([Image(MRTD.hex(), "agent")]),
        session_ends=ends,
        sessions=Sessions(SECRET, PASSWORD, ends=ends, clock=clock),
        tokens=CallbackTokens(SECRET),
        nonces=ChallengeNonces(SECRET),
        clock=clock,
        new_id=lambda: str(uuid4()),
        new_secret=secrets.token_urlsafe,
        wait=clock.sleep,
        in_background=lambda _: None,
        url=URL,
    )


@dataclass
class World:
    """One control plane, its clock, and requests to it in one line each."""

    http: FlaskClient = field(init=False)
    ports: Ports = field(init=False)
    clock: Clock = field(default_factory=Clock)
    bells: Bells = field(default_factory=Bells)
    authority: LocalTrustAuthority = field(init=False)
    settings: Mapping[type[BaseSettings], BaseSettings] = field(init=False)
    """Of the APIs, each under its type."""
    _made: tuple[object, object, Services] | None = None

    def __post_init__(self) -> None:
        self.authority = LocalTrustAuthority(self.clock, ITA_API_KEY)
        self.ports = ports_for(self.clock, self.bells, self.authority)
        self.settings = read_settings(OF_APIS).by_type

    @property
    def services(self) -> Services:
        """The services that handlers get. They are made again after `ports` or `settings` were replaced."""
        if self._made is None or self._made[0] is not self.ports or self._made[1] is not self.settings:
            self._made = self.ports, self.settings, PLAN.make({**self.ports.given(), **self.settings})
        return self._made[2]

    def service(self, kind: type[S]) -> S:
        service = self.services[kind]
        assert isinstance(service, kind)
        return service

    @property
    def bucket(self) -> MemoryBucket:
        assert isinstance(self.ports.bucket, MemoryBucket)
        return self.ports.bucket

    def get(self, path: str, key: str = CLIENT) -> TestResponse:
        return self.http.get(path, headers=_bearer(key))

    def post(
        self, path: str, body: object = None, key: str = CLIENT, headers: Mapping[str, str] | None = None
    ) -> TestResponse:
        data = b"" if body is None else json.dumps(body)
        sent = {"Content-Type": "application/json", **_bearer(key), **(headers or {})}
        return self.http.post(path, data=data, headers=sent)

    def delete(self, path: str, key: str = CLIENT) -> TestResponse:
        return self.http.delete(path, headers=_bearer(key))

    def place(self, spec: AnySpec = TASK, key: str = CLIENT, idempotency_key: str | None = None) -> dict[str, Any]:
        """Return the new order's view."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return _answer(self.post("/v1/orders", {"order": spec.model_dump(mode="json")}, key, headers), 201)

    def order(self, order_id: str) -> Order:
        return self.ports.store.get(order_id)

    def view(self, order_id: str) -> dict[str, Any]:
        return _answer(self.get(f"/v1/orders/{order_id}", ADMIN))

    def admit(self, account_type: AccountType, name: str | None = None) -> tuple[str, str]:
        """Return the id and key of a new account of the capacity contract."""
        account_id, key = str(uuid4()), f"ee_live_{secrets.token_urlsafe(24)}"
        self.ports.keys.add(ApiKey(digest(key), ROLE_OF[account_type], account_id, revocable=True))
        name = name or f"{account_type}-{account_id[:8]}"
        account = Account(account_id, name, account_type, "", digest(key), self.clock.now)
        self.ports.accounts.add(name, account)
        return account_id, key

    def claim(self, order_id: str, key: str = LAUNCHER, **changes: Any) -> dict[str, Any] | None:
        """Return what was claimed."""
        return _claimed(self.post("/v1/claims", by_id(order_id, **changes), key))

    def claim_next(self, key: str = LAUNCHER, **changes: Any) -> dict[str, Any] | None:
        return _claimed(self.post("/v1/claims", next_of(**changes), key))

    def update(self, order_id: str, status: str, epoch: int = 1, key: str = LAUNCHER, **fields: Any) -> TestResponse:
        body = {"status": status, "request_id": str(uuid4()), "launcher": "alpha", "epoch": epoch, **fields}
        return self.post(f"/v1/updates/{order_id}", body, key)

    def heartbeat(self, *holds: tuple[str, int], launcher: str = "alpha", key: str = LAUNCHER) -> dict[str, Any]:
        body = {"launcher": launcher, "holds": [{"order_id": order_id, "epoch": epoch} for order_id, epoch in holds]}
        return _answer(self.post("/v1/heartbeats", body, key))

    def call_back(self, order_id: str, event: str, epoch: int = 1, **fields: Any) -> TestResponse:
        """Report as the worker of this epoch would."""
        token = self.ports.tokens.issue(order_id, epoch)
        return self.post(f"/v1/callbacks/{order_id}", {"event": event, "epoch": epoch, **fields}, token)

    def sweep(self, **body: Any) -> dict[str, Any]:
        return _answer(self.post("/v1/sweeps", body, ADMIN))

    def lapse(self, order_id: str) -> None:
        """Let the order's lease run out, and its backoff pass."""
        self.clock.now += timedelta(minutes=2)
        self.sweep()
        self.clock.now += timedelta(minutes=2)


def by_id(order_id: str, **changes: Any) -> dict[str, Any]:
    body = {"by": "id", "request_id": str(uuid4()), "launcher": "alpha", "order_id": order_id, "lanes": ANY_LANES}
    return body | changes


def next_of(**changes: Any) -> dict[str, Any]:
    return {"by": "next", "request_id": str(uuid4()), "launcher": "alpha", "lanes": ANY_LANES} | changes


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _claimed(response: TestResponse) -> dict[str, Any] | None:
    claimed: dict[str, Any] | None = _answer(response)["claimed"]
    return claimed


def _answer(response: TestResponse, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.get_json()
    return answer
