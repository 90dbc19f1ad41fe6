"""Pages of other origins may call, and a client may send its key in the address, where no log shows it."""

import json
from typing import Final

import pytest
from werkzeug.test import TestResponse

from shared.log_events import LogEvent
from tests.functions.exports.client import PI, Machine, start
from tests.functions.world import CLIENT, STRANGER, World

ORIGIN: Final = "https://arke.institute"
SECRET_KEY: Final = "ly_a-key-that-nobody-knows"


@pytest.mark.parametrize(
    "path", ["/export/mods", "/status/x", "/download/x", "/health", "/export/none", "/k/a/export/x"]
)
def test_a_browser_may_ask_what_it_may_send(world: World, path: str) -> None:
    answer = world.http.options(path, headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})

    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert "Content-Type" in answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert answer.headers["Access-Control-Max-Age"] == "86400"


def test_every_answer_may_be_read_by_the_page_that_asked(world: World, machine: Machine) -> None:
    machine.finish()
    paths = ["/health", f"/status/{machine.task_id}", f"/download/{machine.task_id}", "/status/none", "/export/none"]

    def get(path: str, **headers: str) -> TestResponse:
        return world.http.get(path, headers={"Authorization": f"Bearer {CLIENT}", **headers})

    assert [get(path, Origin=ORIGIN).headers["Access-Control-Allow-Origin"] for path in paths] == [ORIGIN] * 5
    assert [get(path).headers["Access-Control-Allow-Origin"] for path in paths] == ["*"] * 5
    assert get("/health").headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", ["/v1/health", "/api/v1/agents/challenge"])
def test_no_other_api_may_be_called_by_pages(world: World, path: str) -> None:
    assert "Access-Control-Allow-Origin" not in world.http.get(path, headers={"Origin": ORIGIN}).headers
    assert world.http.options(path).status_code == 405


def test_a_key_in_the_address_counts_as_the_callers(world: World) -> None:
    task_id = world.post(f"/k/{STRANGER}/export/mods", {"pi": PI}, key="").get_json()["task_id"]

    assert world.order(task_id).account == "globex"
    assert world.get(f"/k/{STRANGER}/status/{task_id}", key="").status_code == 200
    assert world.get(f"/k/{CLIENT}/status/{task_id}", key="").status_code == 404
    assert world.get(f"/k/{SECRET_KEY}/status/{task_id}", key="").status_code == 401
    assert world.get(f"/k/{SECRET_KEY}/health", key="").status_code == 200


def test_two_keys_that_differ_are_refused(world: World) -> None:
    task_id = start(world)

    assert world.get(f"/k/{CLIENT}/status/{task_id}", key=CLIENT).status_code == 200
    assert world.get(f"/k/{STRANGER}/status/{task_id}", key=CLIENT).status_code == 400


@pytest.mark.parametrize("path", ["/v1/orders", "/api/v1/me", "/nowhere", "/v1/health", "/"])
def test_a_key_in_front_of_another_apis_path_is_not_found(world: World, path: str) -> None:
    assert world.get(f"/k/{CLIENT}{path}", key="").status_code == 404


@pytest.mark.parametrize(
    "rest",
    [
        "status/none",
        "export/none",
        "export/mods",
        "download/x?stream=true",
        "v1/orders",
        "",
        "status/a%0Ab",
        "/status/x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
def test_a_key_in_the_address_is_never_answered_or_logged(
    world: World, rest: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = world.http.open(f"/k/{SECRET_KEY}/{rest}", method=method, data=b"{", headers={"Origin": ORIGIN})

    assert SECRET_KEY not in f"{answer.headers}{answer.text}"
    assert SECRET_KEY not in "".join(capsys.readouterr())


def test_the_secret_of_a_callback_is_never_logged(
    world: World, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = machine.path.rsplit("/", 1)[-1]
    for body in (machine.success(), "text", machine.error(), machine.error()):
        assert secret not in machine.call_back(body).text

    out = capsys.readouterr().out
    assert secret not in out
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["task_id"] for line in lines if line["event"] == LogEvent.CALLBACK_IGNORED} == {machine.task_id}
