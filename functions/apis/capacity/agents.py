"""For agents: heartbeats. For operators: which agents there are."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import StringConstraints, TypeAdapter

from functions.apis.capacity import registration
from functions.apis.capacity.dialect import ADMINS
from functions.apis.capacity.evidence import LONGEST_NAME, HeartbeatRequest, believe, read
from functions.apis.capacity.lost_agents import replace_node
from functions.apis.capacity.wire import Answer, Lenient, Short
from functions.app import App
from functions.domain.agents import Agent
from functions.domain.refusals import Forbidden, NotFound
from functions.http.authentication import Open
from functions.http.paging import fitting
from functions.http.routing import Route

MOST_AGENTS: Final = 10_000
MISSING: Final = "Agent not found"


class AgentView(Answer):
    agent_id: str
    vm_name: str
    status: str
    deployment_id: str | None
    version: str
    node_size: str
    datacenter: str
    hostname: str | None
    verified: bool
    mrtd: str
    order_id: str | None
    registered_at: datetime
    last_seen_at: datetime

    @classmethod
    def of(cls, agent: Agent) -> Self:
        return cls(
            agent_id=agent.id,
            vm_name=agent.vm_name,
            status=agent.status,
            deployment_id=agent.deployment_id,
            version=agent.version,
            node_size=agent.node_size,
            datacenter=agent.datacenter,
            hostname=agent.hostname,
            verified=agent.verified,
            mrtd=agent.mrtd,
            order_id=agent.order_id,
            registered_at=agent.registered_at,
            last_seen_at=agent.last_seen_at,
        )


class AgentList(Answer):
    """The agents that fit into one answer; `total` counts all."""

    agents: tuple[AgentView, ...]
    total: int


class AgentQuery(Lenient):
    """`status` exactly, `vm_name` in part; both without case, and empty for any."""

    status: Short = ""
    vm_name: Annotated[str, StringConstraints(max_length=LONGEST_NAME)] = ""


class Beaten(Answer):
    status: str = "ok"
    agent_id: str


class Deleted(Answer):
    status: str = "deleted"
    agent_id: str


def heartbeat(body: object, app: App, agent_id: str) -> Beaten:
    """The agent's evidence is its credential: the id alone opens nothing."""
    said = read(HeartbeatRequest, body)
    agent = _find(agent_id, app)
    if said.vm_name != agent.vm_name:
        raise Forbidden("The vm_name is not the one that this agent registered with")
    believed = believe(said.attestation, app, appraised_here=agent.order_id is not None)
    if believed.measured.mrtd != agent.mrtd:
        raise Forbidden("The MRTD is not the one that this agent registered with")
    _seen(agent, said, app)
    return Beaten(agent_id=agent.id)


def list_agents(query: AgentQuery, app: App) -> AgentList:
    found = [agent for agent in app.capacity.agents.all(MOST_AGENTS) if _asked_for(agent, query)]
    found.sort(key=lambda agent: (agent.registered_at, agent.id))
    return AgentList(agents=fitting(AgentView.of(agent) for agent in found), total=len(found))


def delete(app: App, agent_id: str) -> Deleted:
    """Its node is replaced, where nobody else would see that it is gone; before the record goes, so that a repeat heals
    what was cut short.
    """
    agent = _find(agent_id, app)
    replace_node(agent, "An operator removed its agent.", app)
    app.capacity.agents.take(agent.vm_name, lambda stands: stands.id == agent.id)
    return Deleted(agent_id=agent.id)


def _seen(agent: Agent, said: HeartbeatRequest, app: App) -> None:
    given = said.model_dump(include={"status", "deployment_id"}, exclude_unset=True)
    if given.get("status", "") is None:
        del given["status"]
    try:
        app.capacity.agents.change(
            agent.vm_name, lambda stands: replace(_same(stands, agent), last_seen_at=app.clock(), **given)
        )
    except NotFound:
        raise NotFound(MISSING) from None


def _same(stands: Agent, agent: Agent) -> Agent:
    if stands.id != agent.id:
        raise NotFound(MISSING)
    return stands


def _find(agent_id: str, app: App) -> Agent:
    found = app.capacity.agents.find_every("id", agent_id, 1)
    if not found:
        raise NotFound(MISSING)
    return found[0]


def _asked_for(agent: Agent, query: AgentQuery) -> bool:
    status, part = query.status.strip().lower(), query.vm_name.strip().lower()
    return status in ("", agent.status.lower()) and part in agent.vm_name.lower()


BODY: Final[TypeAdapter[Any]] = TypeAdapter(object)

ROUTES: Final = (
    *registration.ROUTES,
    Route(
        "POST",
        "/api/v1/agents/{agent_id}/heartbeat",
        Open.ANYONE,
        heartbeat,
        "Prove anew that the agent's machine is what it was",
        max_bytes=registration.MOST_BYTES,
        missing=MISSING,
    ),
    Route("GET", "/api/v1/agents", ADMINS, list_agents, "List agents"),
    Route("DELETE", "/api/v1/agents/{agent_id}", ADMINS, delete, "Remove an agent", missing=MISSING),
)
