"""The function `sweep` believes a token that IAM has verified, if it has the right name. No other function does."""

import base64
import json
from collections.abc import Iterator
from typing import Final

import pytest
from werkzeug.test import TestResponse

from functions.apis import SERVICES, SWEEP
from functions.apis.v1.settings import SweepSettings
from shared.settings import read_or_exit
from tests.functions.conftest import served
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World

SCHEDULER: Final = "ly-scheduler@a-project.iam.gserviceaccount.com"
ANOTHER: Final = "ly-claim@a-project.iam.gserviceaccount.com"


def segment(claims: bytes) -> str:
    return base64.urlsafe_b64encode(claims).rstrip(b"=").decode()


def token(**claims: object) -> str:
    """Return a token as Cloud Run passes it on: without its signature."""
    head = segment(b'{"alg": "RS256", "typ": "JWT"}')
    return f"{head}.{segment(json.dumps(claims).encode())}.SIGNATURE_REMOVED_BY_GOOGLE"


def sweep(world: World, key: str) -> TestResponse:
    return world.post("/v1/sweeps", {}, key)


@pytest.fixture(params=[SWEEP])
def target(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch, target: str) -> Iterator[World]:
    """The function, as the deployment sets it up for its scheduler."""
    monkeypatch.setenv("LAUNCHYARD_SWEEP_CALLER", SCHEDULER)
    with served(monkeypatch, target) as world:
        yield world


def test_the_scheduler_may_sweep(scheduled: World) -> None:
    assert sweep(scheduled, token(email=SCHEDULER, email_verified=True, aud="anything")).status_code == 200


def test_operators_may_sweep_as_before_and_nobody_else(scheduled: World) -> None:
    answers = [sweep(scheduled, key).status_code for key in (ADMIN, CLIENT, LAUNCHER, "")]

    assert answers == [200, 403, 403, 401]


@pytest.mark.parametrize(
    "wrong",
    [
        token(email=ANOTHER),
        token(email=SCHEDULER.upper()),
        token(email=f"{SCHEDULER} "),
        token(email=[SCHEDULER]),
        token(email=None),
        token(sub=SCHEDULER),
        token(),
        SCHEDULER,
        f"a.{segment(SCHEDULER.encode())}.b",
        f"a.{segment(json.dumps([{'email': SCHEDULER}]).encode())}.b",
        f"a.{segment(b'[' * 5000)}.b",
        f"a.{segment(bytes([0xFF, 0xFE]))}.b",
        "a.%%%.b",
        "..",
        ".",
        token(email=SCHEDULER).rpartition(".")[0],
        f"{token(email=SCHEDULER)}.more",
    ],
    ids=lambda wrong: wrong[-12:],
)
def test_any_other_token_is_an_unknown_key(scheduled: World, wrong: str) -> None:
    assert sweep(scheduled, wrong).status_code == 401


def test_without_the_setting_no_token_names_a_caller(world: World) -> None:
    assert SweepSettings().caller is None
    assert [sweep(world, token(email=email)).status_code for email in (SCHEDULER, "", None)] == [401] * 3


@pytest.mark.parametrize("target", ["everything", *(name for name in SERVICES if name != SWEEP)], indirect=True)
def test_every_other_function_ends_at_its_start_if_it_has_the_setting(
    monkeypatch: pytest.MonkeyPatch, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAUNCHYARD_SWEEP_CALLER", SCHEDULER)

    with pytest.raises(SystemExit) as ended, served(monkeypatch, target):
        pass

    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"of the function {target} are wrong" in said
    assert "  LAUNCHYARD_SWEEP_CALLER: Only for the function sweep" in said


@pytest.mark.parametrize("target", ["everything"], indirect=True)
def test_the_function_of_all_routes_believes_no_token(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    world.settings = {**world.settings, SweepSettings: SweepSettings.model_construct(caller=SCHEDULER)}

    assert sweep(world, token(email=SCHEDULER)).status_code == 401


def test_a_caller_that_is_no_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAUNCHYARD_SWEEP_CALLER", "the scheduler")

    with pytest.raises(SystemExit):
        read_or_exit(SweepSettings)

    assert "LAUNCHYARD_SWEEP_CALLER" in capsys.readouterr().err
