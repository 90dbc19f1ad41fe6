"""Credentials of every kind, and what they do not reach: one tenant's orders, and all that belongs to them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from functions.adapters.memory_records import MemoryRecords
from functions.domain.access import Role, digest
from functions.domain.accounts import ROLE_OF, AccountType
from functions.domain.events import Fail
from functions.engine.operator_sessions import Sessions
from functions.http.authentication import Open
from functions.http.routing import Route
from shared.domain.order import Reason
from tests.factories import CAPACITY, EXPORT, SESSION, TASK
from tests.functions.capacity.accounts import enrol
from tests.functions.jobs.client import register
from tests.functions.jobs.sessions import created
from tests.functions.world import (
    ADMIN,
    CLIENT,
    LAUNCHER,
    OTHER_LAUNCHER,
    PASSWORD,
    SECRET,
    STRANGER,
    World,
)

JUNK: Final = "ly_nobodys-key"
KEYS: Final = {Role.ADMIN: ADMIN, Role.CLIENT: CLIENT, Role.LAUNCHER: LAUNCHER}


@dataclass(frozen=True, slots=True)
class Credential:
    """`role` is that of a key; None if it is none. `session` says that it is an operator's session.

    `owner` says that it belongs to the tenant, to the launcher that runs its orders, or to an operator.
    """

    name: str
    token: str | None
    role: Role | None = None
    session: bool = False
    owner: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What exists: `ids` maps the name of each id in a path to those of one tenant, `absent` to one that is nobody's.

    `running` is an order of the tenant that runs, at epoch 1.
    """

    ids: Mapping[str, tuple[str, ...]]
    absent: Mapping[str, str]
    running: str
    credentials: tuple[Credential, ...]


def tenancy(world: World) -> Tenancy:
    """Fill the world with one tenant's orders in several states, its jobs, sessions and accounts; return it all."""
    account_id, account_key = world.admit(AccountType.DEPLOYER, "victim")
    launcher = register(world).id
    queued, held, running, ended = (world.place(TASK)["id"] for _ in range(4))
    export, capacity, job = (world.place(spec)["id"] for spec in (EXPORT, CAPACITY, SESSION))
    for order_id in (held, running, ended, export):
        world.claim(order_id)
    for order_id in (running, ended, export):
        world.call_back(order_id, "started")
    world.ports.store.apply(ended, Fail("end", 1, Reason.PROGRAM_FAILED, "It failed."), world.clock())
    created(world, "s-1", SESSION.session_name)
    batch_id = world.post("/export/mods/batch", {"pis": [EXPORT.pi]}).get_json()["batch_id"]
    tasks = (queued, held, running, ended)
    return Tenancy(
        ids={
            "order_id": (*tasks, export, capacity, job),
            "task_id": (export, *tasks),
            "job_id": (job, *tasks),
            "account_id": (account_id,),
            "batch_id": (batch_id,),
            "session_id": ("s-1",),
            "session_name": (SESSION.session_name,),
            "launcher_id": (launcher,),
        },
        absent={
            "order_id": f"00000000{held[8:]}",
            "task_id": f"00000000{held[8:]}",
            "job_id": f"00000000{held[8:]}",
            "account_id": f"00000000{account_id[8:]}",
            "batch_id": f"{batch_id[:-4]}0000",
            "session_id": "s-0",
            "session_name": "survey-0",
            "launcher_id": f"{launcher[:-4]}0000",
        },
        running=running,
        credentials=tuple(_credentials(world, running, account_key)),
    )


def opening(world: World, route: Route) -> dict[str, str]:
    """Return the headers of somebody who may call the route, as far as a header decides that."""
    if isinstance(route.access, Open):
        return {} if route.access is Open.ANYONE else {"Authorization": f"Bearer {world.ports.tokens.issue('x', 1)}"}
    return {"Authorization": f"Bearer {next(KEYS[role] for role in KEYS if role in route.access)}"}


def _credentials(world: World, running: str, account_key: str) -> Iterator[Credential]:
    tokens, session = world.ports.tokens, world.ports.sessions.open(PASSWORD)[0]
    yield Credential("none", None)
    yield Credential("empty", "")
    yield Credential("junk", JUNK)
    yield Credential("digest of a key", digest(CLIENT))
    yield Credential("operator", ADMIN, Role.ADMIN, owner=True)
    yield Credential("client", CLIENT, Role.CLIENT, owner=True)
    yield Credential("another client", STRANGER, Role.CLIENT)
    yield Credential("launcher", LAUNCHER, Role.LAUNCHER, owner=True)
    yield Credential("another launcher", OTHER_LAUNCHER, Role.LAUNCHER)
    yield Credential("the account itself", account_key, Role.CLIENT, owner=True)
    for account_type, role in ROLE_OF.items():
        yield Credential(f"another account: {account_type}", world.admit(account_type)[1], role)
    yield Credential("operator's session", session, session=True)
    yield Credential("expired session", _session_of_yesterday(world))
    yield Credential("session that was logged out", _logged_out(world))
    yield Credential("altered session", f"{session[:-1]}{'A' if session[-1] != 'A' else 'B'}")
    yield Credential("worker's token", tokens.issue(running, 1))
    yield Credential("worker's token of an earlier epoch", tokens.issue(running, 0))
    yield Credential("worker's token of another order", tokens.issue("another", 1))
    yield Credential("worker's secret of a path", tokens.secret(running, 1))
    yield Credential("agent's bootstrap token", tokens.bootstrap(running, 1))
    yield Credential("enrolment", enrol(world))
    yield Credential("key of a deleted account", _deleted(world))
    yield Credential("key that was replaced", _replaced(world))


def _session_of_yesterday(world: World) -> str:
    yesterday = Sessions(SECRET, PASSWORD, ends=MemoryRecords(), clock=lambda: world.clock() - timedelta(days=2))
    token, _ = yesterday.open(PASSWORD)
    return token


def _logged_out(world: World) -> str:
    token, _ = world.ports.sessions.open(PASSWORD)
    assert world.post("/admin/logout", key=token).status_code == 200
    return token


def _replaced(world: World) -> str:
    account_id, key = world.admit(AccountType.LAUNCHER)
    assert world.post(f"/api/v1/accounts/{account_id}/api-key/rotate", key=key).status_code == 200
    return key


def _deleted(world: World) -> str:
    account_id, key = world.admit(AccountType.DEPLOYER)
    assert world.delete(f"/api/v1/accounts/{account_id}", key).status_code == 200
    return key
