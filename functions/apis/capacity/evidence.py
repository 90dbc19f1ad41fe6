"""What agents send to prove where they run, and what is believed of it."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError

from functions.apis.capacity.wire import Lenient, Short
from functions.app import App
from functions.domain.agents import Measured
from functions.domain.refusals import Malformed
from functions.http.parsing import told
from shared.domain import datacenters
from shared.domain.spec import NodeSize
from shared.wire.base import OrderId

LONGEST_NAME: Final = 255
VM_NAME: Final = r"^[^\x00-\x1f\x7f]+$"
ASCII: Final = r"^[\t\n\r -~]*$"
MOST_NAMED: Final = 10
"""How many wrong fields a refusal names."""

VmName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME, pattern=VM_NAME)
]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=VM_NAME)]
Evidence = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100_000, pattern=ASCII)]
"""A quote in base64, or a token: either has some 10 KiB."""
Secret = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]


def _size(text: str) -> NodeSize:
    if text.strip().lower() not in set(NodeSize):
        raise ValueError("Invalid node_size. Expected one of: tiny, standard, llm")
    return NodeSize(text.strip().lower())


def _absent(value: object) -> object:
    return None if value == "" else value


class Tdx(Lenient):
    """`measurements`, which agents send too, proves nothing, and is not read."""

    quote_b64: Annotated[Evidence | None, BeforeValidator(_absent)] = Field(None, repr=False)
    intel_ta_token: Annotated[Evidence | None, BeforeValidator(_absent)] = Field(None, repr=False)


class Attestation(Lenient):
    tdx: Tdx


class RegisterRequest(Lenient):
    attestation: Attestation
    vm_name: VmName
    node_size: Annotated[Short, AfterValidator(_size)]
    datacenter: Annotated[Short, AfterValidator(datacenters.parse)]
    version: Word = "1.0.0"
    bootstrap_order_id: Annotated[OrderId | None, BeforeValidator(_absent)] = None
    bootstrap_token: Annotated[Secret | None, BeforeValidator(_absent)] = Field(None, repr=False)


class HeartbeatRequest(Lenient):
    """What is not said stays as it was."""

    attestation: Attestation
    vm_name: VmName
    status: Word | None = None
    deployment_id: Annotated[Word | None, BeforeValidator(_absent)] = None


Request = TypeVar("Request", bound=Lenient)


@dataclass(frozen=True, slots=True)
class Believed:
    """`digest` is the SHA-256 of what was sent: the same evidence, sent again, has the same."""

    measured: Measured
    digest: str


def read(model: type[Request], body: object) -> Request:
    """Return the body as the model; the contract's word for a wrong one is 400 on these routes. Raises Malformed."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise Malformed("; ".join(_said(one) for one in told(error)[:MOST_NAMED])) from None


def believe(sent: Attestation, app: App, appraised_here: bool) -> Believed:
    """Return what is known of the machine, by its token; or by its quote, where it is to be appraised here.

    Raises Malformed, Forbidden, Unavailable.
    """
    token, shown = sent.tdx.intel_ta_token, sent.tdx.intel_ta_token
    if token is None and appraised_here and sent.tdx.quote_b64 is not None:
        shown = _base64(sent.tdx.quote_b64)
        token = app.capacity.appraiser.appraise(shown)
    if token is None or shown is None:
        raise Malformed("attestation.tdx.intel_ta_token is missing")
    measured = app.capacity.appraiser.measured(token, app.clock())
    app.capacity.trust.check(measured)
    return Believed(measured, hashlib.sha256(shown.encode()).hexdigest())


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        raise Malformed("attestation.tdx.quote_b64 is not base64") from None
    return text


def _said(wrong: Any) -> str:
    where = ".".join(str(part) for part in wrong["loc"]) or "body"
    return f"{where} is missing" if wrong["type"] == "missing" else f"{where}: {wrong['msg']}"
