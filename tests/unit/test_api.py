"""The wire between versions: requests are parsed strictly, and an earlier version can read answers."""

import json
from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from functions.apis.v1 import HEALTH, V1
from functions.apis.v1.views import order_view
from shared.domain.order import Reason, State
from shared.wire.base import Answer, Request, read_answer
from shared.wire.launchers import (
    ClaimAnswer,
    Claimed,
    EnvironmentAnswer,
    HeartbeatAnswer,
    HeartbeatRequest,
    HoldsView,
    HoldView,
    Renewed,
    StopOrder,
)
from shared.wire.operators import SweepAnswer
from shared.wire.orders import OrderList
from shared.wire.problems import FieldError, Problem
from shared.wire.workers import CallbackAnswer, UploadGrant
from tests.factories import CAPACITY, EXPORT, NOW, SESSION, TASK, an_order
from tests.later_answers import OF_LATER, with_more_fields, with_more_values

ROUTES: Final = (*V1.routes, *HEALTH)
ENDED: Final = an_order(state=State.FAILED, reason=Reason.BOOT_TIMEOUT, metrics={"pages": 1})
ORDERS: Final = (ENDED, an_order(CAPACITY), an_order(EXPORT), an_order(SESSION), an_order(TASK))
VIEWS: Final = tuple(map(order_view, ORDERS))
CLAIMED: Final = Claimed(
    order_id="one", epoch=1, lease_until=NOW, lease_seconds=60.0, spec=CAPACITY, callback_token="token"
)
ANSWERS: Final[tuple[Answer, ...]] = (
    *VIEWS,
    OrderList(orders=VIEWS, next="more"),
    ClaimAnswer(claimed=CLAIMED),
    HeartbeatAnswer(
        renewed=(Renewed(order_id="one", epoch=1, lease_until=NOW, lease_seconds=60.0, state=State.RUNNING),),
        stop=(StopOrder(order_id="two", epoch=1, why="cancelled"),),
    ),
    HoldsView(holds=(HoldView(order_id="one", epoch=1, state=State.CLAIMED),)),
    EnvironmentAnswer(variables={"TASK_ID": "task-1"}, arguments=("--task", "task-1")),
    CallbackAnswer(state=State.RUNNING, upload=UploadGrant(url="http://x", headers={"content-type": "a/b"})),
    SweepAnswer.model_validate(dict.fromkeys(SweepAnswer.model_fields, 1) | {"more": True}),
    Problem(
        type="t",
        title="t",
        status=409,
        detail="d",
        state=State.QUEUED,
        errors=(FieldError(field="f", message=""),),
    ),
)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a field, or a route, is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for part in get_args(annotation):
        yield from _models(part)


def _ours(annotation: Any) -> set[type[BaseModel]]:
    """Without what orders ask for, which both have."""
    return {model for model in _models(annotation) if model.__module__.startswith("shared.wire.")}


def test_every_model_of_a_request_is_strict_and_every_model_of_an_answer_is_open() -> None:
    answers = set().union(*(_ours(route.answer) for route in ROUTES), _ours(Problem))
    bodies = set().union(*(_ours(_type(route.signature.body)) for route in ROUTES if route.signature.body is not None))

    assert {type(answer) for answer in ANSWERS} <= answers
    assert [model for model in answers if not issubclass(model, Answer)] == []
    assert [model for model in bodies if not issubclass(model, Request)] == []


def _type(adapter: TypeAdapter[Any]) -> Any:
    return adapter._type


def test_every_answer_of_the_native_routes_is_among_those_tried_here() -> None:
    told = {route.answer for route in ROUTES if route.answer is not None and route.path != "/v1/health"}
    assert told - {type(answer) for answer in ANSWERS} == set()


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_with_more_fields_is_read_as_if_it_had_them_not(answer: Answer) -> None:
    later = json.dumps(with_more_fields(answer.model_dump(mode="json")))

    assert OF_LATER in later
    assert read_answer(type(answer), later.encode()) == answer


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_with_values_that_were_added_since_is_read_and_keeps_them(answer: Answer) -> None:
    later = with_more_values(answer.model_dump(mode="json"))

    assert read_answer(type(answer), json.dumps(later).encode()).model_dump(mode="json") == later


def test_an_order_of_a_kind_that_was_added_since_is_shown_beside_the_others() -> None:
    document = OrderList(orders=VIEWS[:2], next=None).model_dump(mode="json")
    document["orders"][0] |= {"kind": OF_LATER, "spec": {"kind": OF_LATER, "of": {"later": 1}}}

    first, second = read_answer(OrderList, json.dumps(document).encode()).orders

    assert (first.kind, first.spec) == (OF_LATER, {"kind": OF_LATER, "of": {"later": 1}})
    assert second == VIEWS[1]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_without_a_required_field_is_refused(answer: Answer) -> None:
    needed = next(name for name, field in type(answer).model_fields.items() if field.is_required())
    document = {name: part for name, part in answer.model_dump(mode="json").items() if name != needed}

    with pytest.raises(ValidationError):
        read_answer(type(answer), json.dumps(document).encode())


def test_a_request_with_a_field_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        HeartbeatRequest.model_validate({"launcher": "alpha", "holds": (), OF_LATER: 1})
