"""Decides whether R2 would take a request."""

from datetime import datetime

from botocore.credentials import Credentials

from emulators.r2 import signatures
from emulators.r2.bodies import check_body, check_framing
from emulators.r2.operations import operation_of
from emulators.r2.request import NotAllowed, ReceivedRequest
from emulators.r2.scoped_credentials import credentials_of


def check(request: ReceivedRequest, parent: Credentials, now: datetime) -> None:
    """Check signature, time, body and scope. `parent` is the account's own credential. Raises NotAllowed."""
    check_framing(request.headers)
    if not request.target.startswith("/"):
        raise NotAllowed(400, "InvalidURI", "The request's target must be a path.")
    signed = signatures.read_signature(request)
    signatures.check_time(signed, now)
    signatures.check_headers(signed, request.headers)
    credentials, scope = credentials_of(signed.access_key, signed.token, parent, now)
    signatures.check_signature(request, signed, credentials)
    check_body(request)
    if scope is not None and not scope.allows(operation_of(request)):
        raise NotAllowed(403, "AccessDenied", "The temporary credential does not allow this operation here.")
