"""A client of the capacity contract that checks each answer, and keeps what it has seen of the contract."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

Json = dict[str, Any]
ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Like:
    """Equal to any text that the pattern matches as a whole."""

    def __init__(self, pattern: str | re.Pattern[str]) -> None:
        self._pattern = re.compile(pattern)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._pattern.fullmatch(other) is not None

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Like({self._pattern.pattern!r})"


AN_ID: Final = Like(ID)
A_TIME: Final = Like(TIME)
SOMETHING: Final = Like(r"(?s).+")


@dataclass
class Transcript:
    """Asks the control plane, and keeps which of the contract's routes and messages it has seen."""

    http: httpx.Client
    routes: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)

    def ask(
        self,
        method: str,
        route: str,
        status: int,
        answer: object = None,
        *,
        key: str | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        **path: str,
    ) -> Json:
        """Send a request and return the answer. `answer` is what it must hold: these fields, or this `detail`."""
        sent = {**({} if key is None else {"Authorization": f"Bearer {key}"}), **(headers or {})}
        response = self.http.request(method, route.format_map(path), json=body, headers=sent)
        assert response.status_code == status, f"{method} {route}: {response.status_code} {response.text}"
        assert response.headers["content-type"] == "application/json"
        assert "location" not in response.headers
        answered: Json = response.json()
        self.routes.add(f"{method} {route.partition('?')[0]}")
        self._compare(answered, answer, f"{method} {route}")
        return answered

    def _compare(self, answered: Json, answer: object, what: str) -> None:
        if isinstance(answer, str | Like):
            answer = {"detail": answer}
        if isinstance(answer, Mapping):
            seen = {name: answered.get(name, "(missing)") for name in answer}
            assert seen == dict(answer), f"{what}: {answered}"
        if isinstance(answered.get("detail"), str):
            self.messages.add(answered["detail"])
