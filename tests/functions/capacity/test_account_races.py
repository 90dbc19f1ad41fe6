"""Many concurrent requests for accounts have the same result as some sequence of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from google.cloud.firestore import Client
from werkzeug.test import TestResponse

from functions.adapters.firestore_keys import FirestoreKeyStore
from functions.adapters.records import FirestoreRecords
from functions.domain.accounts import Account, Enrolment
from functions.domain.pools import Pool
from functions.http.authentication import CachedKeys
from tests.functions.capacity.accounts import PATH, alive, answered, create, enrol, note_keys, reshape
from tests.functions.world import ADMIN, KEYS, World
from tests.threads import at_once

MANY = 8


@pytest.fixture(params=["memory", pytest.param("firestore", marks=pytest.mark.emulator)], autouse=True)
def stores(request: pytest.FixtureRequest, world: World) -> None:
    """Over each of the stores."""
    if request.param == "firestore":
        _move_to(request.getfixturevalue("firestore_client"), world)


def _move_to(client: Client, world: World) -> None:
    keys = FirestoreKeyStore(client)
    for key in KEYS:
        keys.add(key)
    world.ports = replace(world.ports, keys=CachedKeys(keys))
    reshape(
        world,
        accounts=FirestoreRecords(client, "accounts", Account),
        enrolments=FirestoreRecords(client, "enrolments", Enrolment),
        pools=FirestoreRecords(client, "pools", Pool),
    )


def send(world: World, method: str, path: str, key: str, body: object = None) -> Callable[[], TestResponse]:
    """Return a request that may be sent beside others."""
    headers = {"Authorization": f"Bearer {key}"}
    return lambda: world.http.application.test_client().open(path, method=method, json=body, headers=headers)


def sign_up(world: World, name: str, key: str) -> Callable[[], TestResponse]:
    return send(world, "POST", PATH, key, {"name": name, "account_type": "launcher"})


def answers(calls: Sequence[Callable[[], TestResponse]]) -> list[TestResponse]:
    return [answer for answer in at_once(calls) if isinstance(answer, TestResponse)]


def statuses(responses: Sequence[TestResponse]) -> dict[int, int]:
    return dict(Counter(response.status_code for response in responses))


def test_of_many_that_want_one_name_one_gets_it(world: World) -> None:
    keys = note_keys(world)

    responses = answers([sign_up(world, "rack-7", ADMIN)] * MANY)

    assert statuses(responses) == {200: 1, 409: MANY - 1}
    bodies = [response.get_json() for response in responses]
    assert {answer["detail"] for answer in bodies if "detail" in answer} == {"Account 'rack-7' already exists"}
    assert alive(world, keys) == [answer["api_key"] for answer in bodies if "api_key" in answer]
    assert answered(world.get(PATH, ADMIN))["total"] == 1


def test_one_enrolment_token_used_by_many_at_once_makes_one_account(world: World) -> None:
    token = enrol(world)
    keys = note_keys(world)

    responses = answers([sign_up(world, f"rack-{number}", token) for number in range(MANY)])

    assert statuses(responses) == {200: 1, 403: MANY - 1}
    assert answered(world.get(PATH, ADMIN))["total"] == 1
    assert len(alive(world, keys)) == 1


def test_one_request_sent_many_times_at_once_with_its_token_makes_one_account(world: World) -> None:
    token = enrol(world)

    responses = answers([sign_up(world, "rack-7", token)] * MANY)

    counted = statuses(responses)
    assert counted.pop(200) == 1
    assert set(counted) <= {403, 409}
    assert answered(world.get(PATH, ADMIN))["total"] == 1
    create(world, "rack-8", key=token, status=403)


def test_of_many_tokens_for_one_name_one_is_used_up_and_the_others_are_as_good_as_before(world: World) -> None:
    tokens = [enrol(world) for _ in range(MANY)]

    responses = answers([sign_up(world, "rack", token) for token in tokens])

    assert statuses(responses) == {200: 1, 409: MANY - 1}
    unused = [token for token, response in zip(tokens, responses, strict=True) if response.status_code == 409]
    for number, token in enumerate(unused):
        create(world, f"rack-{number}", key=token)


def test_of_many_rotations_at_once_one_key_is_left(world: World) -> None:
    keys = note_keys(world)
    created = create(world, "rack-7")
    path = f"{PATH}/{created['account_id']}"

    responses = answers([send(world, "POST", f"{path}/api-key/rotate", created["api_key"])] * MANY)

    assert set(statuses(responses)) <= {200, 401}  # 401: another had rotated it already
    (left,) = alive(world, keys)
    assert left != created["api_key"]
    assert left in [response.get_json().get("api_key") for response in responses]
    assert world.get(path, left).status_code == 200


def test_rotations_and_deletions_at_once_leave_no_key_without_an_account(world: World) -> None:
    keys = note_keys(world)
    created = create(world, "rack-7")
    path = f"{PATH}/{created['account_id']}"
    rotation = send(world, "POST", f"{path}/api-key/rotate", ADMIN)

    responses = answers([rotation, send(world, "DELETE", path, ADMIN)] * (MANY // 2))

    assert set(statuses(responses)) <= {200, 404}
    assert world.get(path, ADMIN).status_code == 404
    assert alive(world, keys) == []
    create(world, "rack-7")


def test_an_account_is_read_as_it_was_written(world: World) -> None:
    created = create(world, "rack-7", datacenters=["google", "onprem:a"], description="ключ")
    read = answered(world.get(f"{PATH}/{created['account_id']}", created["api_key"]))
    assert {name: read[name] for name in set(created) & set(read)} == {
        name: value for name, value in created.items() if name not in ("api_key", "warning")
    }
    assert read["datacenters"] == ["gcp", "baremetal:a"]
