"""Accounts of the contract in one line each."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from werkzeug.test import TestResponse

from functions.apis.capacity.accounts import KEY_PREFIX
from functions.apis.capacity.settings import CapacitySettings
from functions.domain.access import digest
from tests.functions.world import ADMIN, World

PATH = "/api/v1/accounts"
ENROLMENTS = "/api/v1/admin/enrolments"


def create(
    world: World, name: str, account_type: str = "launcher", key: str = ADMIN, status: int = 200, **fields: object
) -> dict[str, Any]:
    body = {"name": name, "account_type": account_type, **fields}
    return answered(world.post(PATH, body, key), status)


def enrol(world: World, account_type: str = "launcher", **fields: object) -> str:
    """Return the token."""
    token: str = answered(world.post(ENROLMENTS, {"account_type": account_type, **fields}, ADMIN))["token"]
    return token


def answered(response: TestResponse, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.content_type == "application/json"
    answer: dict[str, Any] = response.get_json()
    return answer


def detail(response: TestResponse, status: int) -> str:
    """Return the text of an error, which must be the only field of its answer."""
    answer = answered(response, status)
    assert list(answer) == ["detail"]
    assert isinstance(answer["detail"], str)
    return answer["detail"]


def wrong_fields(response: TestResponse) -> list[list[str]]:
    """Return the location of each wrong field of a 422."""
    answer = answered(response, 422)
    assert all({"type", "loc", "msg"} <= set(error) for error in answer["detail"])
    return [error["loc"] for error in answer["detail"]]


def reshape(world: World, **ports: Any) -> None:
    """Give the control plane other ports."""
    world.ports = replace(world.ports, **ports)


def configure(world: World, **settings: Any) -> None:
    """Give the contract other settings."""
    changed = world.settings[CapacitySettings].model_copy(update=settings)
    world.settings = {**world.settings, CapacitySettings: changed}


def note_keys(world: World) -> list[str]:
    """Return a list to which every key that is made from now on is added, even if no caller receives it."""
    keys, make = list[str](), world.ports.new_secret

    def noted(size: int) -> str:
        secret = make(size)
        keys.append(f"{KEY_PREFIX}{secret}")
        return secret

    world.ports = replace(world.ports, new_secret=noted)
    return keys


def alive(world: World, keys: Iterable[str]) -> list[str]:
    return [key for key in keys if world.ports.keys.find(digest(key)) is not None]


def stored(world: World, account_id: str) -> Mapping[str, Any]:
    """Return the stored fields of an account."""
    (account,) = world.ports.accounts.find("id", account_id, 2)
    return {name: getattr(account, name) for name in account.__dataclass_fields__}
