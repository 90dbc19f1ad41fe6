"""A live project, served by the fake, and its control plane's address."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from werkzeug import Response

from deploy.check import check
from deploy.data import Outputs, read_data
from deploy.deployment import Target
from deploy.google import Endpoints, Google
from deploy.rows import Row, Verdict
from emulators.fakes.google_project.api import TOKEN, FakeGoogle
from emulators.fakes.google_project.behaviour import Behaviour
from emulators.fakes.google_project.resources import Resources
from emulators.serving import serving
from tests.deploy.whole import PROJECT, REGION, whole


class Token:
    """Credentials that the fake accepts."""

    def headers(self, url: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Live:
    """A project that is served, and checked as an operator would."""

    url: str
    address: str
    """The control plane's."""
    fake: FakeGoogle
    healthy: list[int] = field(default_factory=lambda: [200])

    @property
    def resources(self) -> Resources:
        return self.fake.resources

    @property
    def behaviour(self) -> Behaviour:
        return self.fake.behaviour

    def check(self, outputs: Outputs | None = None, **emulators: str) -> Sequence[Row]:
        google = Google(Token(), Endpoints(self.url, emulators))
        try:
            return check(google, Target(PROJECT, REGION), read_data(), outputs)
        finally:
            google.close()

    def faults(self, outputs: Outputs | None = None) -> Sequence[Row]:
        return [row for row in self.check(outputs) if row.verdict is not Verdict.OK]


Serve = Callable[..., Live]


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Returns a function that serves a whole project, which a test may change."""
    with ExitStack() as stack:

        def serve_one(**shape: Any) -> Live:
            return stack.enter_context(_served(**shape))

        yield serve_one


@pytest.fixture
def live() -> Iterator[Live]:
    """A whole project without a gateway, whose outputs are in Cloud Storage."""
    with _served() as served:
        yield served


@contextmanager
def _served(**shape: Any) -> Iterator[Live]:
    healthy = [200]

    def control_plane(environ: Any, start_response: Any) -> Any:
        return Response(json.dumps({"status": "ok"}), healthy[0])(environ, start_response)

    with serving(control_plane) as address:
        fake = FakeGoogle(PROJECT, whole(address, **shape))
        with serving(fake) as url:
            yield Live(url, address, fake, healthy)
