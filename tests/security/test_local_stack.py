"""What a page in the developer's browser can do to the control plane of the same machine: nothing."""

import json
from typing import Final

import httpx
import pytest
import werkzeug
import werkzeug.test

from emulators.environment import make_environment
from emulators.serving import OwnMachineOnly, bind
from emulators.settings import BackendChoice, StackSettings
from functions.apis import APIS, EVERYTHING
from functions.http.authentication import Open
from functions.http.endpoint import READING
from functions.http.parsing import FORM_TYPES
from functions.http.routing import PATH_NAME, SECRETS, Route
from shared.address import LOOPBACK_GATEWAY
from tests.functions.conftest import SETTINGS
from tests.functions.tasks.calls import BODIES, address, held
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World
from worker.network import at_gateway

HERE: Final = ("127.0.0.1:8080", "localhost:8080", "localhost", "[::1]:8080", "127.9.9.9")
ELSEWHERE: Final = (
    "attacker.example",
    "attacker.example:8080",
    "127.0.0.1.attacker.example",
    "localhost.attacker.example:8080",
    "10.0.2.3:8080",
    "169.254.169.254",
    "[::2]:8080",
    "0.0.0.0:8080",
    "127.0.0.1@attacker.example",
)
PATHS: Final = (
    "/v1/orders",
    "/api/v1/accounts",
    "/api/agents/callback/started",
    "/export/mods",
    "/callback/x",
    "/jobs",
    "/nothing",
)
"""One of each API, and one of none."""
TASK: Final = b'{"order": {"kind": "task", "command": ["true"]}}'
WITH_EFFECT: Final = [route for route in EVERYTHING if route.method not in READING]
GUESSABLE: Final = [route for route in WITH_EFFECT if SECRETS.isdisjoint(PATH_NAME.findall(route.path))]


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> World:
    """A control plane whose own address is this machine's."""
    monkeypatch.setitem(SETTINGS, "LAUNCHYARD_URL", "http://127.0.0.1:8080")
    world: World = request.getfixturevalue("world")
    return world


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize("path", PATHS)
def test_a_local_control_plane_answers_to_no_other_name(local: World, path: str, host: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = local.http.open(path, method=method, data=b"{}", headers={"Host": host})

        assert answer.status_code == 403, answer.text
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["null", *(f"{scheme}://{host}" for scheme in ("http", "https") for host in ELSEWHERE)]
)
@pytest.mark.parametrize("path", PATHS)
def test_a_local_control_plane_serves_no_page_of_another_origin(local: World, path: str, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = local.http.open(path, method=method, data=b"{}", headers={"Origin": origin})

        assert answer.status_code == 403, answer.text
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("host", HERE)
def test_a_local_control_plane_serves_its_own_machine(local: World, host: str) -> None:
    sent = {"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "one", "Host": host, "Origin": f"http://{host}"}

    assert local.http.post("/v1/orders", data=TASK, headers=sent).status_code == 201


def test_a_local_control_plane_serves_programs_in_its_machines_and_no_page_of_that_address(local: World) -> None:
    """A task's command and a session's program are given this address, and send its name."""
    here = httpx.URL(at_gateway("http://127.0.0.1:8080/callback", LOOPBACK_GATEWAY)).netloc.decode()
    program = {"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "one", "Host": here}

    assert local.http.post("/v1/orders", data=TASK, headers=program).status_code == 201
    assert local.http.get("/v1/orders", headers={**program, "Origin": f"http://{here}"}).status_code == 403


def test_pages_of_the_same_machine_may_call_the_contracts_that_allow_pages(local: World) -> None:
    answer = local.http.options("/jobs", headers={"Origin": "http://localhost:3000"})

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, "http://localhost:3000")


def test_a_control_plane_with_a_name_of_its_own_answers_to_what_its_front_end_calls_it(world: World) -> None:
    answer = world.http.get("/v1/health", headers={"Host": "a-service.run.example", "Origin": "https://page.example"})

    assert answer.status_code == 200


@pytest.mark.parametrize("content_type", sorted(FORM_TYPES))
@pytest.mark.parametrize("route", GUESSABLE, ids=lambda route: f"{route.method} {route.path}")
def test_what_a_page_sends_without_asking_has_no_effect(world: World, route: Route, content_type: str) -> None:
    """It has no credential. One that is let in without any is refused for the form, or plain text, that it sends."""
    path = PATH_NAME.sub("x", route.path)

    answers = [
        world.http.open(path, method=route.method, data=b"{}", content_type=sent)
        for sent in (content_type, f"{content_type.upper()}; charset=utf-8")
    ]

    refused = 415 if route.access in (Open.ANYONE, Open.EITHER) else 401
    assert [answer.status_code for answer in answers] == [refused, refused], answers[0].text


@pytest.mark.parametrize("content_type", sorted(FORM_TYPES))
def test_whoever_sends_a_key_may_leave_the_type_to_its_library(world: World, content_type: str) -> None:
    """Python's urllib and curl say that a body is a form. No page can send a key without asking."""
    sent = {"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "one"}

    answer = world.http.post("/v1/orders", data=TASK, headers=sent, content_type=content_type)

    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("content_type", [None, "application/json", "application/json; charset=utf-8"])
def test_a_program_may_say_that_its_body_is_json_or_leave_it_out(world: World, content_type: str | None) -> None:
    sent = {"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "one"}

    answer = world.http.post("/v1/orders", data=TASK, headers=sent, content_type=content_type)

    assert answer.status_code == 201


@pytest.mark.parametrize("content_type", sorted(FORM_TYPES))
def test_a_report_to_an_address_with_a_secret_is_taken_as_any_type(world: World, content_type: str) -> None:
    """Its sender acts on no refusal, and may be a script that leaves the type to its library."""
    task = held(world)
    body = json.dumps({"task_id": task, **BODIES["started"]})

    answer = world.http.post(address(world, task, "started"), data=body, content_type=content_type)

    assert answer.status_code == 200, answer.text
    assert world.view(task)["state"] == "running"


def test_the_local_stack_opens_no_signup() -> None:
    environment = make_environment(StackSettings(backend=BackendChoice.MEMORY))

    assert "OPEN_SIGNUP" not in environment


@pytest.mark.parametrize("kind", ["deployer", "launcher", "agent"])
def test_nobody_makes_a_privileged_account_without_an_enrolment(local: World, kind: str) -> None:
    answer = local.http.post("/api/v1/accounts", json={"name": "page", "account_type": kind})

    assert answer.status_code in (401, 403), answer.text


@pytest.mark.parametrize("key", ["", "nobodys", ADMIN, CLIENT, LAUNCHER])
@pytest.mark.parametrize("route", EVERYTHING, ids=lambda route: f"{route.method} {route.path}")
def test_no_browser_guesses_the_type_of_an_answer(world: World, route: Route, key: str) -> None:
    path = PATH_NAME.sub("x", route.path)

    answer = world.http.open(path, method=route.method, headers={"Authorization": f"Bearer {key}"})

    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/nothing", "/v1/orders/%0A", "/robots.txt", "/export/nothing"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "BREW"])
def test_no_browser_guesses_the_type_of_a_refusal_without_a_route(world: World, path: str, method: str) -> None:
    assert world.http.open(path, method=method).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [*({"Host": host} for host in ELSEWHERE), {"Origin": "null"}, {"Origin": "https://attacker.example"}],
    ids=str,
)
def test_the_stacks_other_servers_serve_their_own_machine_too(headers: dict[str, str]) -> None:
    """Its Compute Engine starts what it is asked for, and asks for no key."""
    served = werkzeug.test.Client(OwnMachineOnly(werkzeug.Response("here")))

    assert served.get("/", headers={"Host": "127.0.0.1:8700"}).status_code == 200
    assert served.post("/", headers=headers).status_code == 403


def test_each_server_of_the_stack_is_bound_with_that_guard() -> None:
    server = bind(werkzeug.Response("here"), 0)
    server.server_close()

    assert isinstance(server.app, OwnMachineOnly)


def test_every_api_has_a_path_here() -> None:
    assert all(any(path.startswith(api.prefixes) for path in PATHS) for api in APIS)
