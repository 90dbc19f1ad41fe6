"""Each request has one log line, which an operator can search for, and which contains no secret."""

import json
from typing import Any

import pytest

from functions.ports.outputs import PresignedUpload
from shared.log_events import LogEvent
from tests.factories import EXPORT
from tests.functions.test_callback import BODY, OUTPUT
from tests.functions.world import CLIENT, KEYS, LAUNCHER, SECRET, World
from tests.meanwhile import Meanwhile

TRACE = "0af7651916cd43dd8448eb211c80319c"


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_a_request_has_one_log_line_with_route_account_and_duration(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    placed = world.place()
    world.get(f"/v1/orders/{placed['id']}")

    created, read = lines(capsys)
    assert created["message"] == "POST /v1/orders 201"
    assert created["order_id"] == read["order_id"] == placed["id"]
    assert read["severity"] == "INFO"
    assert (read["method"], read["route"], read["status"]) == ("GET", "/v1/orders/{order_id}", 200)
    assert read["account"] == "acme"
    assert read["duration_ms"] >= 0


def test_a_line_has_an_event_of_the_closed_list_and_a_sentence(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.bells.broken = True
    world.place()

    assert [LogEvent(line["event"]) for line in lines(capsys)] == [LogEvent.BELL_NOT_RECORDED, LogEvent.REQUEST_SERVED]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Cloud-Trace-Context": f"{TRACE}/123;o=1"},
        {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    ],
)
def test_a_line_names_the_requests_trace(
    world: World, capsys: pytest.CaptureFixture[str], headers: dict[str, str]
) -> None:
    world.http.get("/v1/health", headers=headers)

    assert lines(capsys)[0]["logging.googleapis.com/trace"] == f"projects/a-project/traces/{TRACE}"


def test_a_trace_header_is_never_logged_itself_even_beside_one_that_names_the_trace(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.http.get("/v1/health", headers={"X-Cloud-Trace-Context": f"{TRACE}/1", "traceparent": "anything-at-all"})

    assert "anything-at-all" not in capsys.readouterr().out


@pytest.mark.parametrize("header", ["", "nonsense", "../../x", TRACE[:-1] + "/1", TRACE + "\u00e9"])
def test_an_invalid_trace_is_left_out(world: World, capsys: pytest.CaptureFixture[str], header: str) -> None:
    world.http.get("/v1/health", headers={"X-Cloud-Trace-Context": header, "traceparent": header})

    assert "logging.googleapis.com/trace" not in lines(capsys)[0]


def test_a_request_says_nothing_of_the_one_before(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.place()
    world.http.get("/nowhere?token=secret")

    last = lines(capsys)[-1]
    assert (last["route"], last["status"]) == ("(none)", 404)
    assert "account" not in last
    assert "order_id" not in last


def test_an_unexpected_error_is_logged_with_its_stack(
    world: World, capsys: pytest.CaptureFixture[str], meanwhile: Meanwhile
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("the inner workings")

    meanwhile(world.ports.store, "read", broken)
    world.get("/v1/orders/x")

    line = lines(capsys)[0]
    assert line["severity"] == "ERROR"
    assert "in broken" in line["exception"]
    assert "ZeroDivisionError: the inner workings" in line["exception"]


def test_a_broken_doorbell_is_a_warning_that_names_the_order(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.bells.broken = True
    placed = world.place()

    warning, request = lines(capsys)
    assert (warning["severity"], warning["order_id"]) == ("WARNING", placed["id"])
    assert (request["severity"], request["status"]) == ("INFO", 201)


def test_no_key_token_url_query_or_body_is_ever_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    order_id = world.place(EXPORT, idempotency_key="an-idempotency-key")["id"]
    claimed = world.claim(order_id)
    assert claimed is not None
    world.call_back(order_id, "started")
    grant = world.call_back(order_id, "upload", **OUTPUT).get_json()["upload"]
    world.bucket.put(PresignedUpload(**grant), BODY)
    world.call_back(order_id, "completed", **OUTPUT)
    location = world.get(f"/v1/orders/{order_id}/output").headers["Location"]
    world.get("/v1/orders?after=a-page-mark")
    world.get("/v1/orders", key="ly_a-key-that-nobody-holds")
    world.post("/v1/claims", {"callback_token": "sent-by-mistake"}, LAUNCHER)

    logged = capsys.readouterr().out
    secrets = [
        CLIENT,
        LAUNCHER,
        SECRET,
        "ly_",
        claimed["callback_token"],
        grant["url"],
        location,
        "memory://",
        "a-page-mark",
        "an-idempotency-key",
        "sent-by-mistake",
        *[key.digest for key in KEYS],
    ]
    assert len(logged.splitlines()) == 9
    assert [secret for secret in secrets if secret in logged] == []


def test_a_request_is_answered_although_its_line_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)

        assert world.get("/v1/health").status_code == 200
