"""Reads bodies and queries as FastAPI does, for the contracts whose services were built with it.

A body is read leniently: unknown fields are ignored. Whatever is wrong with it is answered with 422 and FastAPI's list:
https://fastapi.tiangolo.com/tutorial/handling-errors/
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from functions.domain.refusals import Refusal
from functions.http.parsing import MAX_FIELDS, errors_of

MISSING_BODY: Final[Mapping[str, Any]] = {
    "type": "missing",
    "loc": ["body"],
    "msg": "Field required",
    "input": None,
}


class Unprocessable(Refusal):
    """`errors` have the form of FastAPI's: `type`, `loc`, `msg`."""

    code = "unprocessable"
    title = "Some fields are wrong"

    def __init__(self, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("Some fields are wrong.")
        self.errors = errors


def parse_body(body: bytes, model: TypeAdapter[Any]) -> Any:
    """Return the body as the model; unknown fields are ignored. Raises Unprocessable."""
    if not body:
        raise Unprocessable([MISSING_BODY])
    try:
        return model.validate_json(body)
    except ValidationError as error:
        raise Unprocessable(_errors(error, "body")) from None


def parse_query(pairs: Iterable[tuple[str, str]], model: type[BaseModel]) -> BaseModel:
    """Return the query's parameters as the model. If one is sent twice, the last counts. Raises Unprocessable."""
    try:
        return model.model_validate(dict(pairs))
    except ValidationError as error:
        raise Unprocessable(_errors(error, "query")) from None


def _errors(error: ValidationError, source: str) -> list[dict[str, Any]]:
    wrong = errors_of(error)[:MAX_FIELDS]
    return [{"type": one["type"], "loc": [source, *one["loc"]], "msg": one["msg"]} for one in wrong]
