"""For agents: a challenge, and registration with evidence of their machine, which is the credential."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import StringConstraints, TypeAdapter, ValidationError

from functions.apis.capacity import challenges, links
from functions.apis.capacity.evidence import Believed, RegisterRequest, VmName, believe, read
from functions.apis.capacity.wire import Answer, Lenient
from functions.app import App
from functions.domain.agents import Agent
from functions.domain.order import Order
from functions.domain.refusals import Conflict, Forbidden, Malformed
from functions.http.authentication import Open
from functions.http.routing import Route
from shared.crash_points import Point, reach

POLL_SECONDS: Final = 30
MOST_BYTES: Final = 256 * 1024
"""Of a body: a quote has some 8 KiB, and its event logs may come with it."""
NAME: Final[TypeAdapter[str]] = TypeAdapter(VmName)


class ChallengeQuery(Lenient):
    vm_name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]


class ChallengeAnswer(Answer):
    """The 16 bytes of `nonce` begin the quote's report data."""

    nonce: str
    ttl_seconds: int
    issued_at: datetime


class Registered(Answer):
    """We make no tunnel: agents are reached where they are, or not at all."""

    agent_id: str
    poll_interval: int = POLL_SECONDS
    tunnel_token: str | None = None
    hostname: str | None = None


def challenge(query: ChallengeQuery, app: App) -> ChallengeAnswer:
    try:
        vm_name = NAME.validate_python(query.vm_name)
    except ValidationError:
        raise Malformed("vm_name must have 1 to 255 characters, and no control characters") from None
    nonce = UUID(app.new_id()).hex  # of its 128 bits 122 are random
    given = challenges.challenge(app.capacity.challenges, vm_name, nonce, app.clock())
    return ChallengeAnswer(
        nonce=given.nonce,
        ttl_seconds=int(challenges.CHALLENGE_VALID.total_seconds()),
        issued_at=given.issued_at,
    )


def register(body: object, app: App) -> Registered:
    """The agent is written before its order is told of it, and both can be done again: a lost answer is asked for
    again, with the same evidence.
    """
    asked = read(RegisterRequest, body)
    bootstrapped = _bootstrapped(asked, app)
    believed = believe(asked.attestation, app, appraised_here=bootstrapped is not None)
    _meet_challenge(asked, believed, app)
    agent = _written(asked, believed, app)
    reach(Point.REGISTER_WRITTEN)
    order = bootstrapped or links.standing(agent, app) or links.named(agent, app)
    if order is not None and links.link(order, agent, app) is None and bootstrapped is not None:
        raise Forbidden(links.INVALID)
    return Registered(agent_id=agent.id, hostname=agent.hostname)


def _bootstrapped(asked: RegisterRequest, app: App) -> Order | None:
    order_id, token = asked.bootstrap_order_id, asked.bootstrap_token
    if (order_id is None) != (token is None):
        raise Malformed("bootstrap_order_id and bootstrap_token belong together")
    if order_id is None or token is None:
        return None
    return links.bootstrapped(order_id, token, asked.vm_name, app)


def _meet_challenge(asked: RegisterRequest, believed: Believed, app: App) -> None:
    challenges.meet(
        app.capacity.challenges,
        asked.vm_name,
        believed.measured.report_data,
        believed.digest,
        app.capacity.trust.nonces,
        app.clock(),
    )


def _written(asked: RegisterRequest, believed: Believed, app: App) -> Agent:
    """Raises Conflict where another machine has the name."""
    now = app.clock()
    fresh = Agent(
        id=app.new_id(),
        vm_name=asked.vm_name,
        datacenter=asked.datacenter,
        node_size=asked.node_size,
        mrtd=believed.measured.mrtd,
        verified=True,
        version=asked.version,
        registered_at=now,
        last_seen_at=now,
    )
    return app.capacity.agents.upsert(fresh.vm_name, fresh, lambda stands: _again(stands, fresh))


def _again(stands: Agent, fresh: Agent) -> Agent:
    """The same machine, perhaps started anew, is the same agent."""
    differs = (stands.mrtd, stands.node_size, stands.datacenter) != (fresh.mrtd, fresh.node_size, fresh.datacenter)
    if stands.verified and differs:
        raise Conflict(f"{fresh.vm_name} is registered with another MRTD, size or datacenter; delete that agent first")
    return replace(
        stands,
        datacenter=fresh.datacenter,
        node_size=fresh.node_size,
        mrtd=fresh.mrtd,
        verified=True,
        version=fresh.version,
        registered_at=fresh.registered_at,
        last_seen_at=fresh.last_seen_at,
    )


BODY: Final[TypeAdapter[Any]] = TypeAdapter(object)

ROUTES: Final = (
    Route(
        "GET",
        "/api/v1/agents/challenge",
        Open.ANYONE,
        challenge,
        "Ask for the nonce of a registration",
        head=False,  # it would put a nonce that nobody is told in place of the one that stands
    ),
    Route(
        "POST",
        "/api/v1/agents/register",
        Open.ANYONE,
        register,
        "Register an agent with evidence of its machine",
        max_bytes=MOST_BYTES,
        conflicts=True,
    ),
)
