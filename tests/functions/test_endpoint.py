"""Bad input gets the right status and a helpful problem document. No caller can cause a 500."""

import io
import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from functions.adapters.memory_keys import MemoryKeyStore
from functions.apis.v1.orders import MAX_BYTES
from functions.domain.access import ApiKey, Role
from functions.http.authentication import CachedKeys
from functions.http.parsing import MAX_FIELDS
from shared.wire.problems import Problem
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World, by_id
from tests.meanwhile import Failing

TASK_BODY = b'{"order": {"kind": "task", "command": ["true"]}}'


def create(world: World, body: bytes, **headers: str) -> TestResponse:
    sent = {"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "one", **headers}
    return world.http.post("/v1/orders", data=body, headers=sent)


def problem(response: TestResponse, status: int) -> Problem:
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    document = Problem.model_validate_json(response.get_data())
    assert document.status == status
    assert document.type.startswith("urn:launchyard:problem:")
    return document


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"order": {"kind": "task", "command": ["true"]}} trailing',
        b'{"order": {"kind": "task", "command": ["\xff"]}}',
        '{"order": {"kind": "task", "command": ["true"]}}'.encode("utf-16"),
        b"\xef\xbb\xbf" + TASK_BODY,
        b'{"order": {"kind": "export", "kind": "task", "command": ["true"]}}',
        b'{"order": {"kind": "task", "command": ["true"]}, "n": NaN}',
        b'{"order": {"kind": "task", "command": ["true"]}, "n": -Infinity}',
        b'{"order": {"kind": "task", "command": ["true"]}, "n": 1e999}',
        b'{"order": {"kind": "task", "command": ["true"]}, "n": 9223372036854775808}',
        b'{"order": {"kind": "task", "command": ["true"]}, "n": ' + b"9" * 5000 + b"}",
        b'{"order": {"kind": "task", "command": ["\\ud800"]}}',
        b"[" * 60_000,
        b'{"order":' * 5000 + b"1" + b"}" * 5000,
        b'{"order": {"kind": "task", "command": ["a\nb"]}}',
    ],
)
def test_a_body_that_cannot_be_read_is_malformed(world: World, body: bytes) -> None:
    assert problem(create(world, body), 400).detail


def test_a_compressed_body_is_malformed(world: World) -> None:
    assert "Content-Encoding" in problem(create(world, TASK_BODY, **{"Content-Encoding": "gzip"}), 400).detail


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("[]", ["(body)"]),
        ("null", ["(body)"]),
        ("7", ["(body)"]),
        ("{}", ["order"]),
        ('{"order": null}', ["order"]),
        ('{"order": []}', ["order"]),
        ('{"order": {}}', ["order.kind"]),
        ('{"order": {"kind": "cake"}}', ["order.kind"]),
        ('{"order": {"kind": 7}}', ["order.kind"]),
        ('{"order": {"kind": "export"}}', ["order.pi"]),
        ('{"order": {"kind": "export", "pi": 7}}', ["order.pi"]),
        ('{"order": {"kind": "export", "pi": "01K9MHPYR07M6YMZ1QGR8DZB8U"}}', ["order.pi"]),
        ('{"order": {"kind": "export", "pi": "\\u0000"}, "more": 1}', ["order.pi", "more"]),
        (
            '{"order": {"kind": "export", "pi": "01K9MHPYR07M6YMZ1QGR8DZB8S", "options": {"include_ocr": "yes"}}}',
            ["order.options.include_ocr"],
        ),
        ('{"order": {"kind": "task", "command": ["true", 7, null]}}', ["order.command.1", "order.command.2"]),
        ('{"order": {"kind": "task", "command": []}}', ["order.command"]),
        ('{"order": {"kind": "task", "command": "true"}}', ["order.command"]),
        (
            '{"order": {"kind": "capacity", "datacenter": "Local", "node_size": "huge", "x.y": 1}}',
            ["order.datacenter", "order.node_size", "order.x.y"],
        ),
    ],
)
def test_each_wrong_field_is_named_as_it_was_sent(world: World, body: str, fields: list[str]) -> None:
    found = problem(create(world, body.encode()), 422)

    assert sorted(error.field for error in found.errors) == sorted(fields)
    assert all(error.message for error in found.errors)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"by": "whim"}, "by"),
        ({"order_id": "../../etc"}, "order_id"),
        ({"order_id": "__reserved__"}, "order_id"),
        ({"order_id": "a\u0000b"}, "order_id"),
        ({"order_id": "x" * 129}, "order_id"),
        ({"request_id": "short"}, "request_id"),
        ({"request_id": "started@1"}, "request_id"),
        ({"launcher": "rack/alpha"}, "launcher"),
        ({"lanes": ["any/task"] * 129}, "lanes"),
        ({"lanes": ["any/task", "no lane"]}, "lanes.1"),
        ({"wait_seconds": 1}, "wait_seconds"),
    ],
)
def test_each_wrong_field_of_a_claim_is_named(world: World, changes: dict[str, Any], field: str) -> None:
    found = problem(world.post("/v1/claims", by_id("an-order") | changes, LAUNCHER), 422)

    assert [error.field for error in found.errors] == [field]


@pytest.mark.parametrize(
    ("spec", "field", "expected"),
    [
        ({"kind": "task", "command": ["a\0b"]}, "order.command.0", "should match"),
        ({"kind": "task", "command": ["x" * 1025]}, "order.command.0", "at most 1024"),
        ({"kind": "task", "command": [7]}, "order.command.0", "valid string"),
        ({"kind": "task", "command": []}, "order.command", "Give a command or an image"),
        ({"kind": "task", "command": ["true"], "image": "busybox"}, "order.command", "Give a command or an image"),
        ({"kind": "task", "command": ["true"] * 65}, "order.command", "at most 64"),
    ],
)
def test_one_mistake_is_reported_once(world: World, spec: dict[str, Any], field: str, expected: str) -> None:
    (error,) = problem(create(world, json.dumps({"order": spec}).encode()), 422).errors

    assert error.field == field
    assert expected in error.message


def test_a_wrong_lane_does_not_make_the_lanes_too_few(world: World) -> None:
    (error,) = problem(world.post("/v1/claims", by_id("an-order", lanes=["no lane"]), LAUNCHER), 422).errors

    assert error.field == "lanes.0"


def test_a_field_of_two_types_is_reported_with_the_errors_of_both(world: World) -> None:
    output: dict[str, Any] = {"file_name": "a", "content_type": "a/b", "size": 1, "sha256": "0" * 64}

    (error,) = problem(world.call_back(world.place()["id"], "completed", **output, metrics={"a": "many"}), 422).errors

    assert "valid integer" in error.message
    assert "valid number" in error.message


def test_a_metric_is_named_as_it_was_sent(world: World) -> None:
    order_id = world.place()["id"]
    output: dict[str, Any] = {"file_name": "a", "content_type": "a/b", "size": 1, "sha256": "0" * 64}

    response = world.call_back(order_id, "completed", **output, metrics={"a": "many", "b c": 1})

    assert sorted(error.field for error in problem(response, 422).errors) == ["metrics.a", "metrics.b c"]


def test_thousands_of_wrong_fields_do_not_make_a_large_answer(world: World) -> None:
    body = json.dumps({"order": {"kind": "task", "command": ["true"]}, **{f"{'x' * 300}{n}": 1 for n in range(150)}})

    response = create(world, body.encode())

    assert len(problem(response, 422).errors) <= MAX_FIELDS
    assert len(response.get_data()) < 32 * 1024


def test_a_body_over_the_limit_is_too_large_and_one_at_the_limit_is_not(world: World) -> None:
    fitting = TASK_BODY.ljust(MAX_BYTES)

    assert create(world, fitting).status_code == 201
    assert "1024 KiB" in problem(create(world, fitting + b" "), 413).detail


def test_a_body_over_the_limit_without_a_length_is_too_large(world: World) -> None:
    response = world.http.post(
        "/v1/orders",
        input_stream=io.BytesIO(b" " * (MAX_BYTES + 1)),
        headers={"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "one"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    problem(response, 413)


def test_a_body_shorter_than_its_length_is_malformed(world: World) -> None:
    response = world.http.post(
        "/v1/orders",
        input_stream=io.BytesIO(TASK_BODY),
        headers={"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "one"},
        environ_overrides={"CONTENT_LENGTH": "1000"},
    )

    problem(response, 400)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/orders",
        "/v1/orders/",
        "/v1/orders/a/b",
        "/v1/orders/%00",
        "/v1/orders/%ff",
        "/v1/orders/__x__",
        "/v1/orders/" + "x" * 5000,
        "/v1/orders/..",
        "/v1/orders/" + "x" * 129,
    ],
)
def test_an_unknown_path_or_id_is_not_found(world: World, path: str) -> None:
    problem(world.get(path), 404)


@pytest.mark.parametrize("path", ["/v1/orders/a%0Ab", "/v1/orders/%0A", "/robots.txt", "/favicon.ico"])
@pytest.mark.parametrize("method", ["GET", "POST", "BREW"])
def test_a_path_that_the_framework_refuses_is_not_found_like_any_other(world: World, path: str, method: str) -> None:
    response = world.http.open(path, method=method, data=b"x" * 100)

    assert problem(response, 404).detail == problem(world.get("/nothing"), 404).detail


def test_a_contract_path_that_the_framework_refuses_is_answered_in_the_contracts_form(world: World) -> None:
    response = world.get("/api/v1/accounts/a%0Ab")

    assert (response.status_code, response.get_json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("host", [".", "a..b", "x" * 70])
def test_an_invalid_host_header_is_malformed(world: World, host: str) -> None:
    assert "Host" in problem(world.http.get("/v1/health", headers={"Host": host}), 400).detail


@pytest.mark.parametrize("path", ["/v1/orders/%0A", "/v1/orders"])
def test_a_body_that_nobody_may_send_is_not_read(world: World, path: str) -> None:
    body = io.BytesIO(b"x" * MAX_BYTES)

    response = world.http.post(path, input_stream=body, environ_overrides={"wsgi.input_terminated": True})

    assert 400 <= response.status_code < 500
    assert body.tell() == 0


def test_a_request_that_the_framework_refuses_is_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.http.post("/v1/orders/%0A")

    assert json.loads(capsys.readouterr().out)["message"] == "POST (none) 404"


@pytest.mark.parametrize("order_id", ["__reserved__", "a%00b", "a%2Fb", "%F0%9F%9A%9A", "x" * 129])
def test_an_invalid_id_never_reaches_the_store(world: World, failing: Failing, order_id: str) -> None:
    failing(world.ports.store, "read", AssertionError("the store was asked"))

    problem(world.get(f"/v1/orders/{order_id}"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/orders", "GET, HEAD, POST"),
        ("PUT", "/v1/orders/x", "DELETE, GET, HEAD"),
        ("OPTIONS", "/v1/orders", "GET, HEAD, POST"),
        ("GET", "/v1/claims", "POST"),
        ("HEAD", "/v1/claims", "POST"),
        ("TRACE", "/v1/health", "GET, HEAD"),
        ("BREW", "/v1/health", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_answered_with_the_allowed_ones(world: World, method: str, path: str, allowed: str) -> None:
    response = world.http.open(path, method=method)

    assert response.status_code == 405
    assert response.headers["Allow"] == allowed


def test_head_answers_as_get_does_without_a_body(world: World) -> None:
    path = f"/v1/orders/{world.place()['id']}"

    response = world.http.head(path, headers={"Authorization": f"Bearer {CLIENT}"})

    assert (response.status_code, response.get_data()) == (200, b"")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        CLIENT,
        "Bearer nobodys",
        "Bearer caf\u00e9",
        "\u00ff",
    ],
)
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/orders/x", "/v1/orders/x/output"])
def test_no_key_or_a_bad_one_is_unauthenticated(world: World, path: str, authorization: str | None) -> None:
    response = world.http.get(path, headers=None if authorization is None else {"Authorization": authorization})

    problem(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_scheme_of_a_key_is_not_case_sensitive(world: World) -> None:
    assert world.http.get("/v1/orders", headers={"Authorization": f"bEARER  {CLIENT} "}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "keys"),
    [
        ("POST", "/v1/orders", [LAUNCHER]),
        ("GET", "/v1/orders", [LAUNCHER]),
        ("GET", "/v1/orders/x", [LAUNCHER]),
        ("POST", "/v1/orders/x/cancel", [LAUNCHER]),
        ("GET", "/v1/orders/x/output", [LAUNCHER]),
        ("POST", "/v1/claims", [CLIENT, ADMIN]),
        ("POST", "/v1/updates/x", [CLIENT, ADMIN]),
        ("POST", "/v1/heartbeats", [CLIENT, ADMIN]),
        ("POST", "/v1/sweeps", [CLIENT, LAUNCHER]),
    ],
)
def test_a_key_of_the_wrong_role_is_forbidden(world: World, method: str, path: str, keys: list[str]) -> None:
    for key in keys:
        problem(world.http.open(path, method=method, headers={"Authorization": f"Bearer {key}"}), 403)


def test_a_caller_without_the_role_does_not_learn_what_is_wrong_with_its_body(world: World) -> None:
    problem(world.http.post("/v1/claims", data=b"{", headers={"Authorization": f"Bearer {CLIENT}"}), 403)


def test_an_unexpected_error_is_a_500_without_details(world: World, failing: Failing) -> None:
    failing(world.ports.store, "read", ZeroDivisionError("the inner workings"))

    response = world.get("/v1/orders/x")

    problem(response, 500)
    assert "inner workings" not in response.text
    assert "Traceback" not in response.text


class CountedKeys(MemoryKeyStore):
    reads = 0

    def find(self, key_digest: str) -> ApiKey | None:
        self.reads += 1
        return super().find(key_digest)


def test_a_key_is_looked_up_once_in_30_seconds_and_an_unknown_one_every_time() -> None:
    store, now = CountedKeys(), [0.0]
    keys = CachedKeys(store, timer=lambda: now[0])

    assert [keys.find("digest"), keys.find("digest"), store.reads] == [None, None, 2]
    keys.add(ApiKey("digest", Role.CLIENT, "acme"))
    assert keys.find("digest") == keys.find("digest") == ApiKey("digest", Role.CLIENT, "acme")
    assert store.reads == 3
    now[0] = 30.0
    keys.find("digest")
    assert store.reads == 4


def test_a_key_that_can_be_revoked_is_looked_up_every_time() -> None:
    store = CountedKeys()
    keys = CachedKeys(store)
    store.add(ApiKey("digest", Role.CLIENT, "acme", revocable=True))

    assert keys.find("digest") is not None
    store.remove("digest")  # by another instance
    assert keys.find("digest") is None
