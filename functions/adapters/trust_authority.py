"""Intel Trust Authority: checks its tokens with its published keys, and has it appraise quotes with an account's key.

https://docs.trustauthority.intel.com, https://portal.trustauthority.intel.com/eat_profile.html
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import jwt
from jwt.types import Options
from jwt.utils import base64url_decode, base64url_encode

from functions.adapters.published_keys import PublishedKeys
from functions.domain.agents import Measured
from functions.domain.refusals import Forbidden, Malformed, Unavailable

ISSUERS: Final = ("Intel Trust Authority", "https://portal.trustauthority.intel.com")
"""The issuers of versions 1 and 2 of its tokens."""
ALGORITHMS: Final = ("PS384", "RS256")
SKEW: Final = timedelta(seconds=30)
"""The tolerated difference between its clock and ours."""
MAX_VALID: Final = timedelta(days=1)
"""A token that is valid for longer is refused: until its end, it must be remembered that it was used."""
HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
REFUSED: Final = (400, 413, 422)
"""Statuses that are about the quote. Any other error is ours or the service's."""
CHECKS: Final[Options] = {
    "require": ["exp", "iss"],
    "verify_signature": True,
    "verify_aud": False,
    "verify_exp": False,  # PyJWT uses its own clock: this class compares the times with `now` instead
    "verify_iat": False,
    "verify_nbf": False,
}


class TrustAuthority:
    """If `api_key` is None, it only checks tokens, and appraises no quotes."""

    def __init__(
        self,
        http: httpx.Client,
        keys: PublishedKeys,
        api: str,
        api_key: str | None = None,
        issuers: Sequence[str] = ISSUERS,
    ) -> None:
        self._http, self._keys, self._issuers = http, keys, issuers
        self._attest, self._api_key = f"{api.rstrip('/')}/appraisal/v1/attest", api_key

    def appraise(self, quote: str) -> str:
        if self._api_key is None:
            raise Malformed("attestation.tdx.intel_ta_token is missing, and no quote is appraised here.")
        headers = {"x-api-key": self._api_key, "Accept": "application/json"}
        try:
            answer = self._http.post(self._attest, json={"quote": quote}, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(f"Intel Trust Authority did not answer: {type(error).__name__}.") from error
        if answer.status_code in REFUSED:
            raise Forbidden("Intel Trust Authority refused the quote.")
        return _token(answer)

    def measured(self, token: str, now: datetime) -> Measured:
        claims = self._verified(token)
        expires_at = _valid_until(claims, now)
        nested = claims.get("tdx")  # in version 2
        return _measured({**claims, **nested} if isinstance(nested, dict) else claims, expires_at)

    def _verified(self, token: str) -> Mapping[str, Any]:
        key = self._keys.find(_key_id(token))
        if key is None:
            raise Forbidden("The attestation token is signed with a key that Intel Trust Authority does not publish.")
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token, key, algorithms=ALGORITHMS, issuer=self._issuers, options=CHECKS
            )
        except jwt.InvalidTokenError as error:
            raise Forbidden(f"The attestation token is refused: {error}.") from None
        # PyJWT also reads padding, and earlier versions of it read digits whose last bits stand for nothing. A token is
        # spent by its text, so it may have one only: that of RFC 7515, section 2.
        signature = token.rpartition(".")[2]
        if base64url_encode(base64url_decode(signature)).decode() != signature:
            raise Forbidden("The attestation token is refused: its signature is not in base64url without padding.")
        return claims


def _token(answer: httpx.Response) -> str:
    """Return the answer's token. Raises Unavailable for any other answer, because the caller is not at fault."""
    if answer.status_code != httpx.codes.OK:
        raise Unavailable(f"Intel Trust Authority answered {answer.status_code}.")
    try:
        token = answer.json()["token"]
    except (ValueError, KeyError, TypeError):
        token = None
    if not isinstance(token, str):
        raise Unavailable("Intel Trust Authority answered without a token.")
    return token


def _key_id(token: str) -> str:
    """Return the id of the token's key. Raises Malformed if it is not a token, Forbidden if it cannot be Intel's."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        raise Malformed("The attestation token is not a JSON Web Token.") from None
    if header.get("alg") not in ALGORITHMS:
        raise Forbidden(f"The attestation token is refused: it is not signed with {' or '.join(ALGORITHMS)}.")
    if not isinstance(key_id := header.get("kid"), str):
        raise Forbidden("The attestation token is refused: it does not name its key.")
    return key_id


def _valid_until(claims: Mapping[str, Any], now: datetime) -> datetime:
    """Return when the token is no longer accepted. Raises Forbidden if it is not valid now."""
    ends, begins = _seconds(claims, "exp"), _seconds(claims, "nbf")
    if ends is None or not (now - SKEW).timestamp() < ends:
        raise Forbidden("The attestation token has expired.")
    if not ends <= (now + MAX_VALID).timestamp():
        raise Forbidden(
            "The attestation token is valid for more than a day; have the quote appraised for a shorter time."
        )
    if begins is not None and not (now + SKEW).timestamp() >= begins:
        raise Forbidden("The attestation token is not valid yet.")
    return datetime.fromtimestamp(ends, UTC) + SKEW


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Forbidden(f"The attestation token is refused: its {name} is not a number.")
    return value


def _measured(claims: Mapping[str, Any], expires_at: datetime) -> Measured:
    """Return the token's claims about the TD. A TD counts as debuggable unless the token says that it is not."""
    status = claims.get("attester_tcb_status")
    rtmrs = {number: _hex(claims, f"tdx_rtmr{number}") for number in range(4)}
    return Measured(
        mrtd=_hex(claims, "tdx_mrtd"),
        tcb_status=status if isinstance(status, str) else "",
        report_data=_hex(claims, "tdx_report_data"),
        expires_at=expires_at,
        rtmrs={number: rtmr for number, rtmr in rtmrs.items() if rtmr},
        debuggable=claims.get("tdx_is_debuggable") is not False,
    )


def _hex(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    text = value.lower() if isinstance(value, str) else ""
    return text if HEX.fullmatch(text) else ""
