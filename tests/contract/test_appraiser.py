"""The appraiser's contract, with a Trust Authority that answers over HTTP."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Final

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from werkzeug import Request, Response

from emulators.fakes.tdx_quote import TdxQuote
from emulators.fakes.trust_authority import VALID, LocalTrustAuthority, any_key
from emulators.ports import free_port
from emulators.processes import LOOPBACK
from emulators.serving import serving
from functions.adapters.published_keys import FETCH_INTERVAL, KEY_TTL, RETRY_DELAY, PublishedKeys
from functions.adapters.trust_authority import SKEW, TrustAuthority
from functions.domain.agents import Measured
from functions.domain.refusals import Forbidden, Malformed, Unavailable
from tests.factories import NOW
from tests.harness.waiting import ANSWER_SECONDS
from tests.threads import at_once

API_KEY: Final = "a key of tests"
RTMRS: Final = (b"\x00" * 48, b"\x01" * 48, b"\x02" * 48, b"\x03" * 48)
QUOTE: Final = TdxQuote(b"\xaa" * 48, RTMRS, b"\xbb" * 16)
SENT: Final = base64.b64encode(QUOTE.pack()).decode()
MEASURED: Final = Measured(
    mrtd="aa" * 48,
    tcb_status="UpToDate",
    report_data="bb" * 16 + "00" * 48,
    expires_at=NOW + VALID + SKEW,
    rtmrs={number: rtmr.hex() for number, rtmr in enumerate(RTMRS)},
)


class Timer:
    """A clock, in seconds, that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def authority() -> LocalTrustAuthority:
    return LocalTrustAuthority(lambda: NOW, API_KEY)


@pytest.fixture
def address(authority: LocalTrustAuthority) -> Iterator[str]:
    with serving(authority) as address:
        yield address


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=ANSWER_SECONDS) as http:
        yield http


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def appraiser(address: str, http: httpx.Client, timer: Timer) -> TrustAuthority:
    return TrustAuthority(http, PublishedKeys(http, f"{address}/certs", timer), f"{address}/", API_KEY)


def test_a_quote_is_read_from_the_token_that_vouches_for_it(appraiser: TrustAuthority) -> None:
    assert appraiser.measured(appraiser.appraise(SENT), NOW) == MEASURED


@pytest.mark.parametrize("algorithm", ["PS384", "RS256"])
@pytest.mark.parametrize("nested", [False, True])
def test_both_versions_of_a_token_are_read_and_both_its_algorithms(
    appraiser: TrustAuthority, authority: LocalTrustAuthority, algorithm: str, nested: bool
) -> None:
    assert appraiser.measured(authority.appraise(QUOTE, algorithm, nested), NOW) == MEASURED


@pytest.mark.parametrize("issuer", ["Intel Trust Authority", "https://portal.trustauthority.intel.com"])
def test_both_of_its_names_are_taken(appraiser: TrustAuthority, authority: LocalTrustAuthority, issuer: str) -> None:
    assert appraiser.measured(authority.appraise(QUOTE, iss=issuer), NOW) == MEASURED


@pytest.mark.parametrize("issuer", [None, "", "Mallory", "Intel", 7, ["Intel Trust Authority"]])
def test_any_other_issuer_is_refused(appraiser: TrustAuthority, authority: LocalTrustAuthority, issuer: object) -> None:
    with pytest.raises(Forbidden):
        appraiser.measured(authority.appraise(QUOTE, iss=issuer), NOW)


def test_a_token_is_good_from_its_beginning_to_its_end_by_the_clock_it_is_compared_with(
    appraiser: TrustAuthority, authority: LocalTrustAuthority
) -> None:
    token, second = authority.appraise(QUOTE), timedelta(seconds=1)
    begins, ends = NOW - SKEW, NOW + timedelta(minutes=5) + SKEW

    for now in (begins, ends - second):
        assert appraiser.measured(token, now) == MEASURED
    with pytest.raises(Forbidden, match="not valid yet"):
        appraiser.measured(token, begins - second)
    with pytest.raises(Forbidden, match="expired"):
        appraiser.measured(token, ends)


@pytest.mark.parametrize("exp", [None, "1", True, [], float("nan"), -(10**400)])
def test_a_token_whose_expiry_is_not_a_time_is_refused(
    appraiser: TrustAuthority, authority: LocalTrustAuthority, exp: object
) -> None:
    with pytest.raises(Forbidden):
        appraiser.measured(authority.appraise(QUOTE, exp=exp), NOW)


def test_a_token_signed_by_another_is_refused(appraiser: TrustAuthority, authority: LocalTrustAuthority) -> None:
    mallory = LocalTrustAuthority(lambda: NOW, API_KEY)
    mallory.rotate()
    mallory.pose_as(authority)

    with pytest.raises(Forbidden, match="Signature"):
        appraiser.measured(mallory.appraise(QUOTE), NOW)


@pytest.mark.parametrize("algorithm", ["PS256", "PS512", "RS384", "RS512"])
def test_no_other_algorithm_is_taken(appraiser: TrustAuthority, authority: LocalTrustAuthority, algorithm: str) -> None:
    with pytest.raises(Forbidden, match="PS384 or RS256"):
        appraiser.measured(authority.appraise(QUOTE, algorithm), NOW)


def test_a_token_without_a_signature_or_signed_with_the_public_key_as_a_secret_is_refused(
    appraiser: TrustAuthority, authority: LocalTrustAuthority
) -> None:
    public = any_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, payload, _ = authority.appraise(QUOTE).split(".")

    for algorithm in ("none", "HS256"):
        header = base64url({"alg": algorithm, "kid": authority.certs["keys"][0]["kid"]})
        signature = hmac.digest(public, f"{header}.{payload}".encode(), hashlib.sha256) if algorithm != "none" else b""
        token = f"{header}.{payload}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        with pytest.raises(Forbidden, match="PS384 or RS256"):
            appraiser.measured(token, NOW)


def base64url(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("payload", ["[]", "7", "nonsense", "\x00"])
def test_a_signed_payload_that_is_not_an_object_is_refused(
    appraiser: TrustAuthority, authority: LocalTrustAuthority, payload: str
) -> None:
    with pytest.raises(Forbidden):
        appraiser.measured(authority.sign(payload), NOW)


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "e30.e30.e30", "ключ", "." * 100, "x" * 100_000])
def test_an_invalid_token_is_refused_without_fetching_keys(
    appraiser: TrustAuthority, authority: LocalTrustAuthority, token: str
) -> None:
    with pytest.raises((Malformed, Forbidden)):
        appraiser.measured(token, NOW)
    assert authority.asked == []


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({"tdx_mrtd": "AA" * 48}, {"mrtd": "aa" * 48}),
        ({"tdx_mrtd": None}, {"mrtd": ""}),
        ({"tdx_mrtd": "xyz"}, {"mrtd": ""}),
        ({"tdx_mrtd": 7}, {"mrtd": ""}),
        ({"attester_tcb_status": ["UpToDate"]}, {"tcb_status": ""}),
        ({"tdx_is_debuggable": True}, {"debuggable": True}),
        ({"tdx_is_debuggable": None}, {"debuggable": True}),
        ({"tdx_is_debuggable": 0}, {"debuggable": True}),
        ({"tdx_rtmr0": None, "tdx_rtmr1": "?", "tdx_rtmr2": [], "tdx_rtmr3": "00"}, {"rtmrs": {3: "00"}}),
    ],
)
def test_a_claim_of_another_form_is_taken_as_not_made(
    appraiser: TrustAuthority, authority: LocalTrustAuthority, claims: dict[str, Any], found: dict[str, object]
) -> None:
    measured = appraiser.measured(authority.appraise(QUOTE, "PS384", False, **claims), NOW)

    assert {name: getattr(measured, name) for name in found} == found


# --- its keys ---------------------------------------------------------------------------------------------------------


def test_a_token_that_is_valid_for_more_than_a_day_is_refused(
    appraiser: TrustAuthority, authority: LocalTrustAuthority
) -> None:
    day = int((NOW + timedelta(days=1)).timestamp())

    assert appraiser.measured(authority.appraise(QUOTE, exp=day), NOW).expires_at == NOW + timedelta(days=1) + SKEW
    for exp in (day + 1, float("inf"), 10**400):
        with pytest.raises(Forbidden, match="more than a day"):
            appraiser.measured(authority.appraise(QUOTE, exp=exp), NOW)


def test_keys_are_fetched_once_an_hour(appraiser: TrustAuthority, authority: LocalTrustAuthority, timer: Timer) -> None:
    token = authority.appraise(QUOTE)
    for _ in range(3):
        appraiser.measured(token, NOW)
        timer.seconds += KEY_TTL / 3 - 1
    assert authority.asked == ["/certs"]

    timer.seconds += 3
    appraiser.measured(token, NOW)
    assert authority.asked == ["/certs"] * 2


def test_a_new_key_is_found_when_a_token_names_it(
    appraiser: TrustAuthority, authority: LocalTrustAuthority, timer: Timer
) -> None:
    appraiser.measured(authority.appraise(QUOTE), NOW)
    authority.rotate()
    timer.seconds += FETCH_INTERVAL

    assert appraiser.measured(authority.appraise(QUOTE), NOW) == MEASURED
    assert authority.asked == ["/certs"] * 2


def test_unknown_names_are_fetched_every_30_seconds_at_most(
    appraiser: TrustAuthority, authority: LocalTrustAuthority, timer: Timer
) -> None:
    stranger = LocalTrustAuthority(lambda: NOW, API_KEY)
    for _ in range(20):
        with pytest.raises(Forbidden, match="does not publish"):
            appraiser.measured(stranger.appraise(QUOTE), NOW)
        timer.seconds += FETCH_INTERVAL / 10

    assert authority.asked == ["/certs"] * 2


def test_many_that_need_the_keys_at_once_fetch_them_once(
    appraiser: TrustAuthority, authority: LocalTrustAuthority
) -> None:
    token = authority.appraise(QUOTE)

    assert at_once([partial(appraiser.measured, token, NOW)] * 8) == [MEASURED] * 8
    assert authority.asked == ["/certs"]


def test_without_its_keys_no_token_is_accepted_or_refused(
    appraiser: TrustAuthority, authority: LocalTrustAuthority, timer: Timer
) -> None:
    token, authority.away = authority.appraise(QUOTE), True
    for _ in range(5):
        with pytest.raises(Unavailable):
            appraiser.measured(token, NOW)
    assert authority.asked == ["/certs"]

    authority.away = False
    timer.seconds += RETRY_DELAY
    assert appraiser.measured(token, NOW) == MEASURED


@pytest.mark.parametrize(
    "document",
    [
        "",
        "nonsense",
        "[]",
        "7",
        "{}",
        '{"keys": {}}',
        '{"keys": []}',
        '{"keys": [7, {"kty": "x"}, {"kid": [], "kty": "RSA"}]}',
    ],
)
def test_an_invalid_list_of_keys_counts_as_no_answer(http: httpx.Client, document: str) -> None:
    with serving(Request.application(lambda _: Response(document))) as address:
        keys = PublishedKeys(http, address)
        with pytest.raises(Unavailable):
            keys.find("a key")


def test_keys_that_cannot_be_used_are_passed_over(http: httpx.Client, authority: LocalTrustAuthority) -> None:
    (good,) = authority.certs["keys"]
    listed = [7, {"kty": "x"}, {**good, "kid": ["x"]}, {**good, "kid": "broken", "n": ""}, good]
    with serving(Request.application(lambda _: Response(json.dumps({"keys": listed})))) as address:
        keys = PublishedKeys(http, address)

        assert keys.find(good["kid"]) is not None
        assert keys.find("broken") is None


# --- appraisal --------------------------------------------------------------------------------------------------------


def test_without_a_key_no_quote_is_appraised(address: str, http: httpx.Client, authority: LocalTrustAuthority) -> None:
    appraiser = TrustAuthority(http, PublishedKeys(http, f"{address}/certs"), address)

    with pytest.raises(Malformed, match="intel_ta_token is missing"):
        appraiser.appraise(SENT)
    assert authority.asked == []


def test_an_invalid_quote_is_refused(appraiser: TrustAuthority) -> None:
    for quote in ("", "AAAA", base64.b64encode(b"\x04\x00" + QUOTE.pack()[2:40]).decode()):
        with pytest.raises(Forbidden):
            appraiser.appraise(quote)


def test_a_refused_api_key_is_not_reported_as_a_refused_quote(address: str, http: httpx.Client) -> None:
    appraiser = TrustAuthority(http, PublishedKeys(http, f"{address}/certs"), address, "another key")

    with pytest.raises(Unavailable, match="401"):
        appraiser.appraise(SENT)


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"token": 7}'])
def test_an_answer_without_a_token_counts_as_no_answer(http: httpx.Client, document: str) -> None:
    with serving(Request.application(lambda _: Response(document))) as address:
        appraiser = TrustAuthority(http, PublishedKeys(http, address), address, API_KEY)
        with pytest.raises(Unavailable, match="without a token"):
            appraiser.appraise(SENT)


def test_if_nothing_answers_the_caller_may_try_again(http: httpx.Client, authority: LocalTrustAuthority) -> None:
    nowhere = f"http://{LOOPBACK}:{free_port()}"
    appraiser = TrustAuthority(http, PublishedKeys(http, f"{nowhere}/certs"), nowhere, API_KEY)

    with pytest.raises(Unavailable):
        appraiser.appraise(SENT)
    with pytest.raises(Unavailable):
        appraiser.measured(authority.appraise(QUOTE), NOW)
