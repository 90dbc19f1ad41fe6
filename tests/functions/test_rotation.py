"""The callback secret is rotated, and nothing that was issued before, or at another instance, is refused meanwhile."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import pytest

from functions.adapters.memory_records import MemoryRecords
from functions.domain.accounts import AccountType
from functions.engine.trust import Nonces
from functions.settings import CallbackSettings, LoginSettings
from functions.wiring import accounts
from shared.domain.order import State
from tests.functions.capacity.accounts import PATH
from tests.functions.capacity.agents import bootstrap, claimed, nonce, register, trusting, with_nonce
from tests.functions.tasks.calls import BODIES, address, held, send
from tests.functions.world import PASSWORD, World

OLD: Final = "the old callback secret, of 32 characters or more"
NEW: Final = "the new callback secret, of 32 characters or more"


class Deployments:
    """Replaces the control plane's credentials by those of a deployment with these secrets."""

    def __init__(self, world: World, settings: pytest.MonkeyPatch) -> None:
        self._world, self._settings = world, settings

    def deploy(self, secret: str, previous: str = "") -> None:
        self._settings.setenv("LAUNCHYARD_CALLBACK_SECRET", secret)
        self._settings.setenv("LAUNCHYARD_CALLBACK_SECRET_PREVIOUS", previous)
        self._settings.setenv("LAUNCHYARD_ADMIN_PASSWORD", PASSWORD)
        callback, ports = CallbackSettings(), self._world.ports
        self._world.ports = replace(
            ports,
            tokens=accounts.callback_tokens(callback),
            nonces=accounts.challenge_nonces(callback),
            sessions=accounts.sessions(callback, LoginSettings(), MemoryRecords(), ports.clock),
        )


@pytest.fixture
def deployments(world: World, monkeypatch: pytest.MonkeyPatch) -> Deployments:
    return Deployments(world, monkeypatch)


def workers_token(world: World) -> Callable[[], bool]:
    order_id = world.place()["id"]
    claim = world.claim(order_id)
    assert claim is not None
    path, body = f"/v1/callbacks/{order_id}", {"event": "started", "epoch": 1}
    return lambda: world.post(path, body, claim["callback_token"]).status_code == 200


def images_address(world: World) -> Callable[[], bool]:
    task = held(world)
    called = address(world, task, "started")

    def use() -> bool:
        send(world, called, {"task_id": task, **BODIES["started"]})
        return world.order(task).state is State.RUNNING

    return use


def bootstrap_token(world: World) -> Callable[[], bool]:
    _, worker = world.admit(AccountType.LAUNCHER)
    order_id, token = claimed(world, worker)
    return lambda: register(world, **bootstrap(order_id, token)).status_code == 200


def challenge(world: World) -> Callable[[], bool]:
    trusting(world, nonces=Nonces.REQUIRED)
    issued = nonce(world)
    return lambda: register(world, attestation=with_nonce(world, issued)).status_code == 200


def operators_session(world: World) -> Callable[[], bool]:
    token = world.post("/admin/login", {"password": PASSWORD}, "").get_json()["token"]
    return lambda: world.get(PATH, token).status_code == 200


Issue = Callable[[World], Callable[[], bool]]
ISSUED: Final[Mapping[str, Issue]] = {
    "a worker's token": workers_token,
    "the address that an image calls back": images_address,
    "an agent's bootstrap token": bootstrap_token,
    "the nonce of a challenge": challenge,
    "an operator's session": operators_session,
}
"""Everything that is derived from the secret: each is issued, and returns whether a use of it is accepted then."""

pytestmark = pytest.mark.parametrize("issue", ISSUED.values(), ids=ISSUED)


def test_what_was_issued_before_the_rotation_is_accepted_after_it(
    world: World, deployments: Deployments, issue: Issue
) -> None:
    deployments.deploy(OLD)
    accepted = issue(world)

    deployments.deploy(NEW, previous=OLD)

    assert accepted()


def test_without_the_previous_secret_it_is_refused(world: World, deployments: Deployments, issue: Issue) -> None:
    deployments.deploy(OLD)
    accepted = issue(world)

    deployments.deploy(NEW)

    assert not accepted()


def test_what_is_issued_during_the_rotation_outlasts_it(world: World, deployments: Deployments, issue: Issue) -> None:
    """The previous secret issues nothing."""
    deployments.deploy(NEW, previous=OLD)
    accepted = issue(world)

    deployments.deploy(NEW)

    assert accepted()


def test_an_instance_that_still_issues_with_the_old_secret_accepts_the_next_one_too(
    world: World, deployments: Deployments, issue: Issue
) -> None:
    """Instances of two revisions serve at once, so the next secret is announced to all before any issues with it."""
    deployments.deploy(NEW, previous=OLD)
    accepted = issue(world)

    deployments.deploy(OLD, previous=NEW)

    assert accepted()
