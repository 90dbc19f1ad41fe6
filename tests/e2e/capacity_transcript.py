"""A conversation with the capacity contract's routes, written down: what was asked, and what was answered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

Json = dict[str, Any]
ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Like:
    """Equal to any text of a form."""

    def __init__(self, form: str | re.Pattern[str]) -> None:
        self._form = re.compile(form)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._form.fullmatch(other) is not None

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Like({self._form.pattern!r})"


AN_ID: Final = Like(ID)
A_TIME: Final = Like(TIME)
SOMETHING: Final = Like(r"(?s).+")


@dataclass
class Transcript:
    """Every exchange of a run, and the contract's routes and messages that were seen in it."""

    base: str
    lines: list[str] = field(default_factory=list)
    routes: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)

    def section(self, title: str) -> None:
        self.lines.append(f"\n## {title}\n")

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
        """Send, and require the status; a mapping's fields must be in the answer, a text must be its `detail`."""
        url = self.base + route.format_map(path)
        sent = {**({} if key is None else {"Authorization": f"Bearer {key}"}), **(headers or {})}
        response = httpx.request(method, url, json=body, headers=sent, timeout=60)
        self.lines.append(f"{method} {route} -> {response.status_code} {response.text[:200]}")
        assert response.status_code == status, f"{method} {route}: {response.status_code} {response.text}"
        assert response.headers["content-type"] == "application/json"
        assert "location" not in response.headers
        told: Json = response.json()
        self.routes.add(f"{method} {route.partition('?')[0]}")
        self._compare(told, answer, f"{method} {route}")
        return told

    def _compare(self, told: Json, answer: object, what: str) -> None:
        if isinstance(answer, str | Like):
            answer = {"detail": answer}
        if isinstance(answer, Mapping):
            seen = {name: told.get(name, "(missing)") for name in answer}
            assert seen == dict(answer), f"{what}: {told}"
        if isinstance(told.get("detail"), str):
            self.messages.add(told["detail"])
