"""Deletes the record that a control plane keeps of a machine's agent."""

from typing import Annotated, Final

import httpx
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError

from shared.http_client import explain, open_client

TIMEOUT_SECONDS: Final = 30.0


class AgentsFailed(Exception):
    """The control plane did not delete the records; the message says why."""


class AgentRecord(BaseModel):
    agent_id: str
    vm_name: str


def _agents(document: object) -> object:
    """Return the list: some control planes answer with it, others with an object that has it."""
    return document["agents"] if isinstance(document, dict) and "agents" in document else document


AGENTS: Final[TypeAdapter[list[AgentRecord]]] = TypeAdapter(Annotated[list[AgentRecord], BeforeValidator(_agents)])


def delete(url: str, token: str, name: str) -> int:
    """Delete the records of the machine's agents, and return how many there were. Raises AgentsFailed."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    try:
        with open_client(url, headers=headers, timeout=TIMEOUT_SECONDS) as http:
            listed = http.get("/api/v1/agents", params={"vm_name": name}).raise_for_status()
            # The original ignores the filter, and answers with all agents.
            found = [agent for agent in AGENTS.validate_json(listed.content) if agent.vm_name == name]
            for agent in found:
                _require_deleted(http.delete(f"/api/v1/agents/{agent.agent_id}"))
    except httpx.HTTPStatusError as error:
        raise AgentsFailed(
            f"The control plane answered {error.response.status_code} at {error.request.url.path}."
        ) from error
    except httpx.HTTPError as error:
        raise AgentsFailed(f"The control plane did not answer: {explain(error, httpx.URL(url))}.") from None
    except ValidationError:
        raise AgentsFailed("The control plane's list of agents cannot be read.") from None
    return len(found)


def _require_deleted(answer: httpx.Response) -> None:
    if answer.status_code != httpx.codes.NOT_FOUND:  # it may have been deleted meanwhile
        answer.raise_for_status()
