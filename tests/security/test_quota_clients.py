"""Programs that are refused for a quota say so, and do not ask again by themselves without a pause."""

import sys
from collections.abc import Iterator

import pytest
from werkzeug import Request, Response

from cli import main
from emulators.serving import serving
from shared.client import ControlPlane
from shared.client_errors import MAX_RETRY_SECONDS, QuotaExceeded
from shared.wire.problems import Problem
from tests.factories import TASK
from tests.functions.world import CLIENT

TEXT = "2 orders of this account have not ended, and 2 is the most. (quota: open_orders)"
PROBLEM = Problem(type="urn:launchyard:problem:quota_exceeded", title="A quota is used up", status=429, detail=TEXT)


class Refusing:
    """A control plane that refuses every request for a quota."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.retry_after: str | None = "7"
        self.body = PROBLEM.model_dump_json()

    def serve(self, request: Request) -> Response:
        self.asked.append(f"{request.method} {request.path}")
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        return Response(self.body, 429, headers, content_type="application/problem+json")


@pytest.fixture
def refusing() -> Refusing:
    return Refusing()


@pytest.fixture
def url(refusing: Refusing) -> Iterator[str]:
    with serving(Request.application(refusing.serve)) as url:
        yield url


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [("7", 7), ("0", 0), (None, 1), ("86400", MAX_RETRY_SECONDS), ("Sun, 29 Nov 2026 12:00:00 GMT", MAX_RETRY_SECONDS)],
)
def test_the_client_says_what_is_used_up_and_when_to_ask_again(
    refusing: Refusing, url: str, sent: str | None, seconds: float
) -> None:
    refusing.retry_after = sent

    with ControlPlane(url, "key") as api, pytest.raises(QuotaExceeded) as refused:
        api.create_order(TASK, "one")

    assert (str(refused.value), refused.value.retry_seconds) == (TEXT, seconds)
    assert refusing.asked == ["POST /v1/orders"]


def test_a_front_end_that_limits_requests_is_understood_too(refusing: Refusing, url: str) -> None:
    refusing.body = "<h1>Too Many Requests</h1>"

    with ControlPlane(url, "key") as api, pytest.raises(QuotaExceeded, match="The control plane answered 429"):
        api.create_order(TASK, "one")


@pytest.mark.parametrize(
    "words", [["order", "create", "task", "--", "true"], ["job", "start", "nightly", "--prompt", "Tidy up."]]
)
def test_the_command_line_prints_why_and_asks_once(
    refusing: Refusing,
    url: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["launchyard", *words])
    monkeypatch.setattr(main, "exit_on_signals", lambda: None)  # pytest's own handlers stay
    monkeypatch.setenv("LAUNCHYARD_URL", url)
    monkeypatch.setenv("LAUNCHYARD_CLIENT_KEY", CLIENT)

    with pytest.raises(SystemExit) as ended:
        main.run()

    printed = capfd.readouterr()
    assert (ended.value.code, printed.out) == (1, "")
    assert " ".join(printed.err.split()) == TEXT
    assert refusing.asked == ["POST /v1/orders"]
