"""How the map of routes is made."""

from functools import partial
from typing import Any

import pytest
from werkzeug.routing import Map

from functions.apis import EVERYTHING
from functions.http import routing
from tests.threads import at_once


def test_many_first_requests_at_once_make_one_map(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def counted(*arguments: Any, **options: Any) -> Map:
        made.append(arguments)
        return Map(*arguments, **options)

    monkeypatch.setattr(routing, "Map", counted)
    routes = (*EVERYTHING[1:], EVERYTHING[0])  # a sequence of which no other test has made a map

    maps = at_once([partial(routing.url_map, routes)] * 16)

    assert len(made) == 1
    assert all(one is maps[0] for one in maps)
