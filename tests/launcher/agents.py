"""A fake control plane that stores agents, and always lists them all."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from werkzeug import Request, Response

from emulators.serving import serving

AGENTS = "/api/v1/agents"


@dataclass
class AgentsPlane:
    """`agents` are the machines' names by the agents' ids."""

    agents: dict[str, str]
    token: str
    url: str = ""

    def answer(self, request: Request) -> Response:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response('{"detail":"Invalid session token"}', 401, content_type="application/json")
        if request.method == "GET" and request.path == AGENTS:
            listed = [{"agent_id": agent, "vm_name": name, "status": "ready"} for agent, name in self.agents.items()]
            return Response(json.dumps({"agents": listed, "total": len(listed)}), content_type="application/json")
        if request.method == "DELETE" and request.path.removeprefix(f"{AGENTS}/") in self.agents:
            del self.agents[request.path.removeprefix(f"{AGENTS}/")]
            return Response("{}", content_type="application/json")
        return Response('{"detail":"Agent not found"}', 404, content_type="application/json")


@contextmanager
def a_control_plane_with_agents(agents: Mapping[str, str], token: str) -> Iterator[AgentsPlane]:
    plane = AgentsPlane(dict(agents), token)
    with serving(Request.application(plane.answer)) as plane.url:
        yield plane
