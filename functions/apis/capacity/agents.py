"""For agents: a challenge, registration and heartbeats. The credential is evidence of the agent's machine.

For operators: list agents, and remove one.
"""

import base64
from datetime import datetime
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from structlog.contextvars import bind_contextvars

from functions.apis.capacity.dialect import ADMINS
from functions.apis.capacity.wire import CapacityAnswer, Lenient, Short, parse_size
from functions.domain.agents import Agent
from functions.domain.refusals import Malformed
from functions.engine.agents import NO_AGENT, Agents, BootstrapToken, Registration
from functions.engine.attestation import CHALLENGE_VALID, Evidence, Verifier
from functions.http.authentication import Open
from functions.http.paging import fitting
from functions.http.parsing import errors_of
from functions.http.routing import Route
from shared.domain import datacenters
from shared.wire.base import OrderId

POLL_SECONDS: Final = 30
MAX_NAME_LENGTH: Final = 255
MAX_BYTES: Final = 256 * 1024
"""The limit of a body: a quote has about 8 KiB, and its event logs may be in the body, too."""
MAX_KEY_DIGITS: Final = 2048
"""The limit of a public key in base64: one of 4096 bits of RSA has about 740 digits."""
MAX_WRONG_FIELDS: Final = 10
"""The number of wrong fields that a refusal names."""
PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"
ASCII: Final = r"^[\t\n\r -~]*$"


def _absent(value: object) -> object:
    return None if value == "" else value


VmName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME_LENGTH, pattern=PRINTABLE)
]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=PRINTABLE)]
Encoded = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100_000, pattern=ASCII)]
"""A quote in base64, or a token: about 10 KiB."""
PublicKey = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_KEY_DIGITS, pattern=ASCII)]
Secret = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]


class Tdx(Lenient):
    """Agents also send `measurements`. It proves nothing, and is ignored."""

    quote_b64: Annotated[Encoded | None, BeforeValidator(_absent)] = Field(None, repr=False)
    intel_ta_token: Annotated[Encoded | None, BeforeValidator(_absent)] = Field(None, repr=False)


class AttestationBody(Lenient):
    tdx: Tdx

    def evidence(self) -> Evidence:
        return Evidence(self.tdx.quote_b64, self.tdx.intel_ta_token)


class RegisterRequest(Lenient):
    attestation: AttestationBody
    vm_name: VmName
    node_size: Annotated[Short, AfterValidator(parse_size)]
    datacenter: Annotated[Short, AfterValidator(datacenters.parse)]
    version: Word = "1.0.0"
    bootstrap_order_id: Annotated[OrderId | None, BeforeValidator(_absent)] = None
    bootstrap_token: Annotated[Secret | None, BeforeValidator(_absent)] = Field(None, repr=False)
    agent_key: Annotated[PublicKey | None, BeforeValidator(_absent)] = None
    """An addition to the contract: the agent's public key, DER in base64. If the order demands attestation, the quote
    must bind it (docs/attestation.md).
    """

    def bootstrap(self) -> BootstrapToken | None:
        """Return the bootstrap token; None if the body has none. Raises Malformed if the body has only half of it."""
        if (self.bootstrap_order_id is None) != (self.bootstrap_token is None):
            raise Malformed("bootstrap_order_id and bootstrap_token belong together")
        if self.bootstrap_order_id is None or self.bootstrap_token is None:
            return None
        return BootstrapToken(self.bootstrap_order_id, self.bootstrap_token)

    def public_key(self) -> bytes | None:
        """Return the key's bytes; None if the body has none. Raises Malformed if it is not base64."""
        if self.agent_key is None:
            return None
        try:
            return base64.b64decode(self.agent_key, validate=True)
        except ValueError:
            raise Malformed("agent_key must be a public key (DER) in base64") from None


class HeartbeatRequest(Lenient):
    """A field that is left out keeps what is stored."""

    attestation: AttestationBody
    vm_name: VmName
    status: Word | None = None
    deployment_id: Annotated[Word | None, BeforeValidator(_absent)] = None


class ChallengeQuery(Lenient):
    vm_name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]


class ChallengeAnswer(CapacityAnswer):
    """The 16 bytes of `nonce` begin the quote's report data."""

    nonce: str
    ttl_seconds: int
    issued_at: datetime


class Registered(CapacityAnswer):
    """The tunnel fields are always empty: this control plane opens no tunnels to agents."""

    agent_id: str
    poll_interval: int = POLL_SECONDS
    tunnel_token: None = None
    hostname: None = None


class AgentView(CapacityAnswer):
    model_config = ConfigDict(from_attributes=True)

    agent_id: Annotated[str, Field(validation_alias="id")]
    vm_name: str
    status: str
    deployment_id: str | None
    version: str
    node_size: str
    datacenter: str
    hostname: None = None
    verified: bool = True
    mrtd: str
    order_id: str | None
    registered_at: datetime
    last_seen_at: datetime


class AgentList(CapacityAnswer):
    """The agents that fit into one answer; `total` counts all that the filter matches."""

    agents: tuple[AgentView, ...]
    total: int


class AgentFilter(Lenient):
    """`status` matches exactly, `vm_name` any part, both in any case. An empty filter matches everything."""

    status: Short = ""
    vm_name: Annotated[str, StringConstraints(max_length=MAX_NAME_LENGTH)] = ""

    def takes(self, agent: Agent) -> bool:
        status, part = self.status.strip().lower(), self.vm_name.strip().lower()
        return status in ("", agent.status.lower()) and part in agent.vm_name.lower()


class HeartbeatAnswer(CapacityAnswer):
    status: str = "ok"
    agent_id: str


class AgentDeleted(CapacityAnswer):
    status: str = "deleted"
    agent_id: str


def issue_challenge(query: ChallengeQuery, verifier: Verifier) -> ChallengeAnswer:
    try:
        vm_name = VM_NAME.validate_python(query.vm_name)
    except ValidationError:
        raise Malformed("vm_name must have 1 to 255 characters, and no control characters") from None
    challenge = verifier.challenge(vm_name)
    return ChallengeAnswer(
        nonce=challenge.nonce,
        ttl_seconds=int(CHALLENGE_VALID.total_seconds()),
        issued_at=challenge.issued_at,
    )


def register(body: object, agents: Agents) -> Registered:
    asked = _parse(RegisterRequest, body)
    bind_contextvars(vm_name=asked.vm_name)
    registration = Registration(
        vm_name=asked.vm_name,
        datacenter=asked.datacenter,
        node_size=asked.node_size,
        version=asked.version,
        evidence=asked.attestation.evidence(),
        bootstrap=asked.bootstrap(),
        agent_key=asked.public_key(),
    )
    return Registered(agent_id=agents.register(registration).id)


def send_heartbeat(body: object, agents: Agents, agent_id: str) -> HeartbeatAnswer:
    sent = _parse(HeartbeatRequest, body)
    reported = sent.model_dump(include={"status", "deployment_id"}, exclude_unset=True)
    agent = agents.heartbeat(agent_id, sent.vm_name, sent.attestation.evidence(), reported)
    return HeartbeatAnswer(agent_id=agent.id)


def list_agents(query: AgentFilter, agents: Agents) -> AgentList:
    found = agents.list_agents(query.takes)
    return AgentList(agents=fitting(AgentView.model_validate(agent) for agent in found), total=len(found))


def delete_agent(agents: Agents, agent_id: str) -> AgentDeleted:
    agents.remove(agent_id)
    return AgentDeleted(agent_id=agent_id)


Request = TypeVar("Request", bound=Lenient)


def _parse(model: type[Request], body: object) -> Request:
    """Return the body as the model. Raises Malformed: the contract answers wrong fields with 400 on these routes."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        wrong = [
            (".".join(map(str, one["loc"])) or "body", one["type"], one["msg"])
            for one in errors_of(error)[:MAX_WRONG_FIELDS]
        ]
        texts = [f"{field} is missing" if kind == "missing" else f"{field}: {text}" for field, kind, text in wrong]
        raise Malformed("; ".join(texts)) from None


VM_NAME: Final[TypeAdapter[str]] = TypeAdapter(VmName)
AGENT: Final = "/api/v1/agents/{agent_id}"

ROUTES: Final = (
    Route(
        "GET",
        "/api/v1/agents/challenge",
        Open.ANYONE,
        issue_challenge,
        "Ask for the nonce of a registration",
    ),
    Route(
        "POST",
        "/api/v1/agents/register",
        Open.ANYONE,
        register,
        "Register an agent with evidence of its machine",
        max_bytes=MAX_BYTES,
        conflicts=True,
    ),
    Route(
        "POST",
        f"{AGENT}/heartbeat",
        Open.ANYONE,
        send_heartbeat,
        "Send an agent's heartbeat with fresh evidence of its machine",
        max_bytes=MAX_BYTES,
        missing=NO_AGENT,
    ),
    Route("GET", "/api/v1/agents", ADMINS, list_agents, "List agents"),
    Route("DELETE", AGENT, ADMINS, delete_agent, "Remove an agent", missing=NO_AGENT),
)
