"""Reads headers, and bodies up to a limit; parses bodies and queries strictly: JSON according to RFC 7493 (I-JSON),
then the route's model.

Input that cannot be read raises Malformed. Input that can be read but is wrong raises Invalid, which names each field.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import ClientDisconnected

from functions.domain.refusals import Invalid, Malformed, Refusal, TooLarge

KEY_HEADER: Final = "Idempotency-Key"
MAX_KEY_LENGTH: Final = 200
BODY_SECONDS: Final = 20.0
"""How long a body may take."""
CHUNK: Final = 64 * 1024
FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""What a page may send to any host without asking it first
(https://fetch.spec.whatwg.org/#cors-safelisted-request-header).
"""

MAX_INTEGER: Final = 2**63 - 1
MAX_FIELDS: Final = 50
"""The number of wrong fields that an answer names: a body can have thousands."""
MAX_FIELD_LENGTH: Final = 200
UNION_ERRORS: Final = frozenset({"union_tag_invalid", "union_tag_not_found"})


class BodyTooSlow(Refusal):
    """The body did not come in time."""

    code = "body_too_slow"
    title = "The body came too slowly"

    def __init__(self) -> None:
        super().__init__(f"The body must come within {BODY_SECONDS:.0f} s. Send the same request again.")


class WrongContentType(Refusal):
    """The body says that it is a form, or plain text."""

    code = "unsupported_media_type"
    title = "The body is not JSON"


def single_header(request: Request, name: str) -> str | None:
    """Return the header's value; None if it was not sent. Raises Malformed if it was sent twice.

    The server joins headers of one name with commas first (RFC 9110, section 5.3).
    """
    value = request.headers.get(name)
    if value is not None and "," in value:
        raise Malformed(f"The header {name} was sent more than once, or has a comma. Send it once, without a comma.")
    return value


def idempotency_key_of(request: Request, required: bool) -> str | None:
    """Return the request's idempotency key; None if it sent none and none is required. Raises Malformed."""
    key = single_header(request, KEY_HEADER)
    if key is None and not required:
        return None
    if not (key and len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise Malformed(
            f"The header {KEY_HEADER} {'is needed' if required else 'is wrong'}: 1 to {MAX_KEY_LENGTH} printable ASCII "
            "characters, no comma. Send a fresh UUID with each new order, and the same one again when you repeat the "
            "request."
        )
    return key


def read_body(request: Request, limit: int) -> bytes:
    """Return the body, of at most `limit` bytes. Raises TooLarge, BodyTooSlow, Malformed."""
    body = bytearray()
    try:
        while len(body) <= limit and (chunk := request.stream.read(CHUNK)):
            body += chunk
    except (TimeoutError, BlockingIOError):  # nothing came within the server's own time
        raise BodyTooSlow from None
    except (ClientDisconnected, ParseException, OSError):  # Flask's, gunicorn's and the socket's
        raise Malformed("The body ends too early, or its chunks cannot be read.") from None
    require_size(len(body), limit)
    return bytes(body)


def require_json(request: Request) -> None:
    """Refuse a body of a type that pages send to any host without asking.

    A body without a type is taken, as scripts send it. Raises WrongContentType.
    """
    if request.mimetype in FORM_TYPES:
        raise WrongContentType("Send the body as JSON, with the header `Content-Type: application/json`.")


def require_uncompressed(request: Request) -> None:
    """Raises Malformed."""
    codings = {coding.strip().lower() for coding in request.headers.get("Content-Encoding", "").split(",")}
    if codings - {"", "identity"}:
        raise Malformed("Send the body without a Content-Encoding.")


def require_size(size: int | None, limit: int) -> None:
    """Raise TooLarge if a body's size in bytes is known and over the limit."""
    if size is not None and size > limit:
        raise TooLarge(
            f"The body is over {limit // 1024} KiB, the limit of this route. "
            "Shorten its longest field, or write its characters as UTF-8: \\u escapes need more bytes."
        )


def parse_body(body: bytes, model: TypeAdapter[Any]) -> Any:
    """Parse the JSON document `body` as the model. Raises Malformed, Invalid."""
    document = _read_json(body)
    try:
        return model.validate_json(body, strict=True)
    except ValidationError as error:
        wrong = errors_of(error)
        if wrong[0]["type"] == "json_invalid":  # errors that Python's reader accepts: deep nesting, lone surrogates
            raise Malformed(f"The body cannot be read: {wrong[0]['msg']}.") from None
        raise Invalid("Some fields of the body are wrong.", _named(wrong, document)) from None


def parse_query(pairs: Iterable[tuple[str, str]], model: type[BaseModel]) -> BaseModel:
    """Parse the query's parameters as the model. Raises Invalid."""
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
    """Return the errors without the input itself, which may contain a secret.

    Pydantic counts only valid items, so it also reports a list with a wrong item as too short. This drops that error.
    """
    wrong = error.errors(include_url=False, include_input=False)
    within = {one["loc"][:length] for one in wrong for length in range(len(one["loc"]))}
    return [one for one in wrong if one["type"] != "too_short" or one["loc"] not in within]


def _named(wrong: Sequence[ErrorDetails], document: object) -> Mapping[str, str]:
    """Return the errors of each field. If a field may have several types, it has one error for each of them."""
    fields: dict[str, list[str]] = {}
    for error in wrong[:MAX_FIELDS]:
        fields.setdefault(_field(error, document)[:MAX_FIELD_LENGTH], []).append(error["msg"])
    return {field: "; or: ".join(dict.fromkeys(messages)) for field, messages in fields.items()}


def _field(error: ErrorDetails, document: Any) -> str:
    """Return the field's dotted path in the document, without the tags of unions and types that pydantic adds."""
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
