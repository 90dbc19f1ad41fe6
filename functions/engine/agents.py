"""Registers agents with evidence of their machine, takes their heartbeats, lists and removes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from functions.domain.agents import Agent
from functions.domain.refusals import Conflict, Forbidden, Malformed, NotFound
from functions.domain.rules import demands_attestation
from functions.engine.associations import Associations, BootedOrder, InvalidBootstrapToken
from functions.engine.attestation import Evidence, Verifier, binding_of
from functions.engine.lost_agents import LostAgents
from functions.engine.record_pages import every
from functions.ports.orders import OrderStore
from functions.ports.records import Records
from shared.crash_points import Point, reach

NO_AGENT: Final = "Agent not found"


@dataclass(frozen=True, slots=True)
class BootstrapToken:
    order_id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Registration:
    vm_name: str
    datacenter: str
    node_size: str
    version: str
    evidence: Evidence
    bootstrap: BootstrapToken | None = None
    agent_key: bytes | None = None
    """The public key that the agent made. Its quote binds it to the bootstrap token."""


@dataclass(frozen=True, slots=True)
class Agents:
    records: Records[Agent]
    store: OrderStore
    associations: Associations
    verifier: Verifier
    lost: LostAgents
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def register(self, asked: Registration) -> Agent:
        """Check the evidence, write the agent, then associate it with its order.

        With a bootstrap token, the agent is that of the token's order. Without one, its name alone finds an order, but
        none that demands attestation. Every step is idempotent: an agent that lost the answer sends the same evidence
        again. The control plane fetches a token only for an agent with a bootstrap token. Raises Conflict, Forbidden,
        Malformed, Unavailable.
        """
        booted, binding = self._booted(asked)
        appraised = self.verifier.appraise(asked.evidence, fetch_token=booted is not None)
        attested = booted is not None and demands_attestation(booted.order)
        nonce = self.verifier.require_nonce(asked.vm_name, appraised, always=attested)
        if binding is not None:
            self.verifier.require_binding(binding, appraised)
        now = self.clock()
        fresh = Agent(
            id=self.new_id(),
            vm_name=asked.vm_name,
            datacenter=asked.datacenter,
            node_size=asked.node_size,
            mrtd=appraised.measured.mrtd,
            version=asked.version,
            registered_at=now,
            last_seen_at=now,
            order_id=None if booted is None else booted.order.id,
            epoch=None if booted is None else booted.order.epoch,
            bootstrapped=booted is not None,
            binding=binding,
        )
        self.verifier.spend(fresh.record_id, appraised, nonce)

        def registered_again(stored: Agent) -> Agent:
            """Keep the agent if it registers again from the same machine, perhaps after a restart."""
            machine = (fresh.mrtd, fresh.node_size, fresh.datacenter)
            if (stored.mrtd, stored.node_size, stored.datacenter) != machine:
                raise Conflict(
                    f"{asked.vm_name} is registered with another MRTD, size or datacenter; delete that agent first"
                )
            return replace(stored, version=asked.version, registered_at=now, last_seen_at=now)

        agent = self.records.upsert(fresh.record_id, fresh, registered_again)
        reach(Point.REGISTER_WRITTEN)
        if booted is not None:
            if self.associations.associate(booted.order, agent, booted.replaces) is None:
                raise InvalidBootstrapToken
            return agent
        order = self.associations.order_of(agent) or self.associations.order_by_name(agent)
        if order is not None:
            self.associations.associate(order, agent)
        return agent

    def _booted(self, asked: Registration) -> tuple[BootedOrder | None, str | None]:
        """Return the order of the bootstrap token, and what the report data must bind. Raises InvalidBootstrapToken,
        Malformed.
        """
        if asked.bootstrap is None:
            if asked.agent_key is not None:
                raise Malformed("agent_key belongs with a bootstrap token")
            return None, None
        token, key = asked.bootstrap.token, asked.agent_key
        binding = None if key is None else binding_of(token, key)
        booted = self.associations.order_of_token(asked.bootstrap.order_id, token, asked.vm_name, binding)
        if binding is None and demands_attestation(booted.order):
            raise Malformed("agent_key is missing: the order demands attestation, and its quote must bind a key")
        return booted, binding

    def heartbeat(self, agent_id: str, vm_name: str, evidence: Evidence, reported: Mapping[str, str | None]) -> Agent:
        """Check the evidence again, and store what the agent reports (`status`, `deployment_id`).

        The evidence is the credential: the id alone gives no access. An agent that has bound a key sends fresh evidence
        that binds the same. Raises NotFound, Forbidden, Malformed.
        """
        agent = self.get(agent_id)
        if vm_name != agent.vm_name:
            raise Forbidden("The vm_name is not the one that this agent registered with")
        appraised = self.verifier.appraise(evidence, fetch_token=agent.order_id is not None)
        self.verifier.require_mrtd(agent.mrtd, appraised)
        if agent.binding is not None:
            self.verifier.require_nonce(vm_name, appraised, always=True)
            self.verifier.require_binding(agent.binding, appraised)

        def seen(stored: Agent) -> Agent:
            if stored.id != agent.id:  # the agent was deleted, and another registered under its name
                raise NotFound(NO_AGENT)
            return replace(
                stored,
                last_seen_at=self.clock(),
                status=reported.get("status") or stored.status,
                deployment_id=reported.get("deployment_id", stored.deployment_id),
            )

        try:
            return self.records.change(agent.record_id, seen)
        except NotFound:
            raise NotFound(NO_AGENT) from None

    def get(self, agent_id: str) -> Agent:
        """Return the agent. Raises NotFound, and Unavailable if another version wrote the record."""
        for agent in self.records.find_every("id", agent_id, 1):
            return agent
        raise NotFound(NO_AGENT)

    def list_agents(self, takes: Callable[[Agent], bool]) -> Sequence[Agent]:
        """Return the agents that `takes` accepts, oldest registration first."""
        found = filter(takes, every(self.records, "registered_at"))
        return sorted(found, key=lambda agent: (agent.registered_at, agent.id))

    def remove(self, agent_id: str) -> None:
        """Replace the agent's machine if its lease is not attended, then remove the agent. Raises NotFound.

        The order changes first, so that a repeat completes an interrupted removal.
        """
        agent = self.get(agent_id)
        self.lost.replace_machine(agent, "An operator removed its agent.")
        self.records.take(agent.record_id, lambda stored: stored.id == agent.id)
