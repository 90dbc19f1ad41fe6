# mypy: disable-error-code="empty-body"
"""A handler is checked against its route when the route is made, and its services when the process starts."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from functions.apis import APIS, SERVICES
from functions.domain.access import Role
from functions.engine.orders import Orders
from functions.http.authentication import Anyone, Bearer, Open, Principal
from functions.http.handlers import WrongHandler
from functions.http.presence import Present
from functions.http.routing import NoContent, Redirect, Route
from functions.wiring.makers import plan_for

CLIENTS = frozenset({Role.CLIENT})


class Body(BaseModel):
    text: str


class Query(BaseModel):
    text: str = ""


def unannotated(body):  # type: ignore[no-untyped-def]
    return body


def without_the_paths_name() -> Body: ...


def with_a_number(thing_id: int) -> Body: ...


def with_body_and_query(body: Body, query: Query, thing_id: str) -> Body: ...


def with_a_query_that_is_no_model(query: str, thing_id: str) -> Body: ...


def of_a_worker(worker: Bearer, thing_id: str) -> Body: ...


def of_anyone(caller: Anyone, thing_id: str) -> Body: ...


def keyed_by_a_number(idempotency_key: int, thing_id: str) -> Body: ...


def present_by_a_flag(present: bool, thing_id: str) -> Body: ...


def answering_a_number(thing_id: str) -> int: ...


def answering_nothing(thing_id: str) -> None: ...


def answering_either_of_two(thing_id: str) -> Body | Query: ...


def answering_a_model_or_a_redirect(thing_id: str) -> Body | Redirect: ...


async def waiting(thing_id: str) -> Body: ...


def with_anything(*things: str, thing_id: str) -> Body: ...


def by_position(thing_id: str, /) -> Body: ...


@pytest.mark.parametrize(
    "handler",
    [
        answering_a_number,
        answering_nothing,
        answering_either_of_two,
        answering_a_model_or_a_redirect,
        waiting,
        with_anything,
        by_position,
        unannotated,
        without_the_paths_name,
        with_a_number,
        with_body_and_query,
        with_a_query_that_is_no_model,
        of_a_worker,
        of_anyone,
        keyed_by_a_number,
        present_by_a_flag,
    ],
)
def test_a_handler_that_does_not_fit_its_route_ends_the_process_as_it_starts(handler: Callable[..., Any]) -> None:
    with pytest.raises(WrongHandler):
        Route("POST", "/v1/things/{thing_id}", CLIENTS, handler, "Do a thing")


def fitting(
    body: Body, client: Principal, orders: Orders, idempotency_key: str, present: Present, thing_id: str
) -> Body: ...


def redirecting(query: Query, thing_id: str) -> Redirect: ...


def test_a_signature_defines_a_handlers_arguments_and_answer() -> None:
    route = Route("POST", "/v1/things/{thing_id}", CLIENTS, fitting, "Do a thing")
    signature = route.signature

    assert signature.body is not None
    assert signature.body.validate_python({"text": "x"}) == Body(text="x")
    assert (signature.query, signature.caller, signature.keyed, signature.waits) == (None, "client", True, True)
    assert signature.services == {"orders": Orders}
    assert route.answer is Body


def test_a_redirect_has_no_model() -> None:
    route = Route("GET", "/v1/things/{thing_id}", Open.ANYONE, redirecting, "Fetch a thing")

    assert (route.signature.query, route.signature.body, route.answer) == (Query, None, None)


def answering_a_body_if_any(thing_id: str) -> Body | NoContent: ...


def test_an_answer_may_be_empty() -> None:
    route = Route("GET", "/v1/things/{thing_id}", Open.ANYONE, answering_a_body_if_any, "Look for a thing")

    assert (route.answer, route.may_be_empty) == (Body, True)
    assert not Route("POST", "/v1/things/{thing_id}", CLIENTS, fitting, "Do a thing").may_be_empty


def asking_for_a_number(number: float) -> Body: ...


def test_a_service_that_there_is_not_ends_the_process_as_it_starts() -> None:
    route = Route("GET", "/v1/things", Open.ANYONE, asking_for_a_number, "Read a thing")

    with pytest.raises(WrongHandler, match=r"asking_for_a_number: no service is a .*number"):
        plan_for(APIS, [route])


def forgetting_the_worker(thing_id: str) -> Body: ...


@pytest.mark.parametrize("access", [Open.WORKER, Open.EITHER])
def test_a_handler_whose_route_takes_tokens_takes_the_token(access: Open) -> None:
    with pytest.raises(WrongHandler, match="token"):
        Route("POST", "/v1/things/{thing_id}", access, forgetting_the_worker, "Do a thing")


def counting_by_a_number(number: float, limit: int) -> Counter[str]: ...


def test_a_chore_that_asks_for_a_service_that_there_is_not_ends_the_process_as_it_starts() -> None:
    api = replace(APIS[0], chores=(counting_by_a_number,))

    with pytest.raises(WrongHandler, match=r"counting_by_a_number\.number"):
        plan_for([api], SERVICES["sweep"])
