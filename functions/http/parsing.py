"""Reading what was sent, strictly: JSON as RFC 7493 (I-JSON) has it, then the route's model.

What cannot be read is Malformed; what can be read, and is wrong, is Invalid and names each field.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from functions.domain.refusals import Invalid, Malformed

MAX_INTEGER: Final = 2**63 - 1
MAX_FIELDS: Final = 50
"""How many wrong fields an answer names; a body can hold thousands."""
MAX_FIELD_LENGTH: Final = 200
UNION_ERRORS: Final = frozenset({"union_tag_invalid", "union_tag_not_found"})


def parse_body(body: bytes, model: TypeAdapter[Any]) -> Any:
    """Return the model that the JSON document `body` is. Raises Malformed, Invalid."""
    document = _read_json(body)
    try:
        return model.validate_json(body, strict=True)
    except ValidationError as error:
        wrong = errors_of(error)
        if wrong[0]["type"] == "json_invalid":  # what Python's reader lets pass: deep nesting, lone surrogates
            raise Malformed(f"The body cannot be read: {wrong[0]['msg']}.") from None
        raise Invalid("Some fields of the body are wrong.", _named(wrong, document)) from None


def parse_query(pairs: Iterable[tuple[str, str]], model: type[BaseModel]) -> BaseModel:
    """Return the model that the query's parameters are. Raises Invalid."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise Invalid("Some parameters of the query are wrong.", {name: "Given more than once"})
        given[name] = value
    try:
        return model.model_validate_strings(given)
    except ValidationError as error:
        raise Invalid("Some parameters of the query are wrong.", _named(errors_of(error), given)) from None


def _read_json(body: bytes) -> object:
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None
    except ValueError as error:
        raise Malformed(f"The body is not a JSON document: {error}.") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object has the same name twice")
    return document


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is too large")
    return number


def _integer(text: str) -> int:
    if len(text) > len(str(-MAX_INTEGER)) or abs(number := int(text)) > MAX_INTEGER:
        raise ValueError(f"an integer is beyond ±{MAX_INTEGER}")
    return number


def errors_of(error: ValidationError) -> Sequence[ErrorDetails]:
    """Return the errors of what was sent, without what was sent: it may hold a secret.

    Pydantic counts only the items that are right, and says of a list with a wrong one that it is too short, too.
    """
    wrong = error.errors(include_url=False, include_input=False)
    within = {one["loc"][:length] for one in wrong for length in range(len(one["loc"]))}
    return [one for one in wrong if one["type"] != "too_short" or one["loc"] not in within]


def _named(wrong: Sequence[ErrorDetails], document: object) -> Mapping[str, str]:
    """Return what is wrong with each field. If a field may have several types, say what is wrong for each of them."""
    fields: dict[str, list[str]] = {}
    for error in wrong[:MAX_FIELDS]:
        fields.setdefault(_field(error, document)[:MAX_FIELD_LENGTH], []).append(error["msg"])
    return {field: "; or: ".join(dict.fromkeys(messages)) for field, messages in fields.items()}


def _field(error: ErrorDetails, document: Any) -> str:
    """Return the dotted path of the field, as it was sent: pydantic puts the tags of unions and types in between."""
    path: list[str] = []
    at, last = document, len(error["loc"]) - 1
    for position, part in enumerate(error["loc"]):
        try:
            at = at[part]
        except (KeyError, IndexError, TypeError):
            if position != last or not isinstance(at, dict):
                continue
        path.append(str(part))
    if error["type"] in UNION_ERRORS:
        path.append(str(error["ctx"]["discriminator"]).strip("'"))
    return ".".join(path) or "(body)"
