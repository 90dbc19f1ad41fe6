"""The OpenAPI document matches the routes, and the routes follow it for any input."""

from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from functions.apis import APIS, EVERYTHING
from functions.apis.v1 import HEALTH
from functions.domain.access import Role
from functions.domain.accounts import AccountType
from functions.http import openapi
from functions.http.authentication import Open
from functions.http.routing import PATH_NAME, Route
from tests.factories import CAPACITY, EXPORT, TASK
from tests.functions.junk import Untouched
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World
from tests.sampling import sample

CHECKS: Final[list[Any]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ROLES: Final = {ADMIN: Role.ADMIN, CLIENT: Role.CLIENT, LAUNCHER: Role.LAUNCHER}
FEW_AND_MANY: Final = [5, pytest.param(30, marks=pytest.mark.slow)]
"""Requests a route."""
DOCUMENT_FILE: Final = Path(__file__).parents[2] / "docs" / "openapi.json"
NO_CONTROL_CHARACTERS: Final = {r"^\P{Cc}*$": r"^[^\x00-\x1f\x7f-\x9f]*$"}
"""A pattern that schemathesis does not know, and another with the same meaning."""


def known_to_schemathesis(part: Any) -> Any:
    """Return the document with patterns that texts can be generated for."""
    if isinstance(part, dict):
        return {name: known_to_schemathesis(value) for name, value in part.items()}
    if isinstance(part, list):
        return [known_to_schemathesis(value) for value in part]
    return NO_CONTROL_CHARACTERS.get(part, part) if isinstance(part, str) else part


DOCUMENT: Final = schemathesis.openapi.from_dict(known_to_schemathesis(openapi.document(APIS, HEALTH)))


def test_the_document_in_docs_is_not_stale() -> None:
    assert DOCUMENT_FILE.read_text() == openapi.render(APIS, HEALTH), "run: make docs"


def test_the_document_is_the_same_on_a_python_that_names_statuses_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for status in HTTPStatus:
        monkeypatch.setattr(status, "phrase", "as another Python says")
    assert DOCUMENT_FILE.read_text() == openapi.render(APIS, HEALTH)


@pytest.mark.parametrize("route", sample(EVERYTHING), ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("examples", FEW_AND_MANY)
def test_every_route_answers_any_input_as_documented(world: World, route: Route, examples: int) -> None:
    """Half of the requests keep to the schema and half break it; half of them name what exists."""
    account_id, account_key = world.admit(AccountType.DEPLOYER)
    names, orders = PATH_NAME.findall(route.path), Untouched(lambda: orders_in_each_state(world))

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def answers(data: st.DataObject) -> None:
        mode = data.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
        order_id = data.draw(st.sampled_from([None, *(orders.get() if "order_id" in names else ())]))
        case = data.draw(cases(route, mode))
        if order_id is not None:
            case.path_parameters = {"order_id": order_id}
        elif names == ["account_id"]:
            case.path_parameters = {"account_id": data.draw(st.sampled_from(["acme", account_id]))}
        key = data.draw(
            st.sampled_from([fitting(route, world, order_id)] * 5 + [ADMIN, CLIENT, LAUNCHER, account_key, ""])
        )

        response = case.call(app=world.http.application, headers={"Authorization": f"Bearer {key}"})
        orders.note(route.method, response.status_code)

        case.validate_response(response, checks=CHECKS)

    answers()


def test_each_operation_has_an_id_of_its_own_and_the_tag_of_its_api() -> None:
    operations = [
        operation for methods in openapi.document(APIS, HEALTH)["paths"].values() for operation in methods.values()
    ]

    assert len(operations) == len(EVERYTHING)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert {tag for operation in operations for tag in operation["tags"]} == {api.name for api in APIS}


@cache
def cases(route: Route, mode: GenerationMode) -> st.SearchStrategy[Any]:
    """Return requests that keep to the document, or that break it."""
    return DOCUMENT[route.path][route.method].as_strategy(generation_mode=mode)


def fitting(route: Route, world: World, order_id: str | None) -> str:
    """Return a key, or a token, that opens the route."""
    if isinstance(route.access, Open):
        return world.ports.tokens.issue(order_id or "", 1)
    return next(key for key in (ADMIN, CLIENT, LAUNCHER) if ROLES[key] in route.access)


def orders_in_each_state(world: World) -> list[str]:
    """One queued order, one held order, one running order."""
    held: list[str] = [world.place(spec)["id"] for spec in (TASK, EXPORT, CAPACITY)]
    world.claim(held[1])
    world.claim(held[2])
    world.call_back(held[2], "started")
    return held
