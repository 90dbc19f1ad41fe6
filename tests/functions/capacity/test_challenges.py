"""Challenges and nonces, section 9: a nonce proves that evidence is fresh, and is used once."""

import base64
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from werkzeug.test import TestResponse

from functions.engine.trust import Nonces
from tests.functions.capacity.agents import (
    CHALLENGE,
    HEX,
    REGISTER,
    evidence,
    nonce,
    refused,
    register,
    registered,
    registration,
    trusting,
    with_nonce,
)
from tests.functions.world import World
from tests.threads import at_once


def test_a_challenge_is_32_hex_digits_for_300_seconds_and_needs_no_key(world: World) -> None:
    answer = world.get(f"{CHALLENGE}?vm_name=vm-1", "")

    assert answer.status_code == 200
    body = answer.get_json()
    assert body.keys() == {"nonce", "ttl_seconds", "issued_at"}
    assert len(body["nonce"]) == 32
    assert set(body["nonce"]) <= set(HEX)
    assert (body["ttl_seconds"], body["issued_at"]) == (300, "2026-11-22T12:00:00Z")


def test_a_challenge_without_a_name_is_422_and_with_an_empty_one_400(world: World) -> None:
    missing = world.get(CHALLENGE, "")

    assert missing.status_code == 422
    assert [(one["type"], one["loc"]) for one in missing.get_json()["detail"]] == [("missing", ["query", "vm_name"])]
    for name in ("", "%20", "x" * 256, "a%00b", "a%0Ab"):
        assert "vm_name" in refused(world.get(f"{CHALLENGE}?vm_name={name}", ""), 400)


def test_a_new_challenge_leaves_those_before_it_valid(world: World) -> None:
    first, second = nonce(world), nonce(world)

    assert first != second
    agent_id = registered(world, attestation=with_nonce(world, first))
    assert registered(world, attestation=with_nonce(world, second)) == agent_id


def test_many_that_ask_for_a_challenge_at_once_all_get_one_of_their_own(world: World) -> None:
    nonces = at_once([partial(nonce, world)] * 8)

    assert len(set(nonces)) == 8


@pytest.fixture(params=Nonces)
def mode(request: pytest.FixtureRequest, world: World) -> Nonces:
    trusting(world, nonces=request.param)
    mode: Nonces = request.param
    return mode


def test_the_nonce_of_the_challenge_is_valid_in_every_mode(world: World, mode: Nonces) -> None:
    registered(world, attestation=with_nonce(world, nonce(world)))


def test_a_nonce_is_compared_without_case(world: World) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    report_data = nonce(world).hex().upper().ljust(128, "0")

    registered(world, attestation=evidence(world, tdx_report_data=report_data))


@pytest.mark.parametrize("claims", [{"attester_held_data": "x"}, {"attester_held_data": None}])
def test_the_nonce_is_read_from_the_report_data_alone(world: World, claims: dict[str, Any]) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    given_nonce = nonce(world)
    held: dict[str, Any] = {name: value and base64.b64encode(given_nonce).decode() for name, value in claims.items()}

    refused(register(world, attestation=evidence(world, **held)), 400)
    registered(world, attestation=with_nonce(world, given_nonce, **held))


def test_without_a_challenge_a_nonce_is_missed_only_if_it_is_required(world: World, mode: Nonces) -> None:
    answer = register(world)

    if mode is Nonces.REQUIRED:
        assert "nonce is required" in refused(answer, 400)
    else:
        assert answer.status_code == 200


def test_a_wrong_nonce_is_refused_unless_nonces_are_disabled(world: World, mode: Nonces) -> None:
    nonce(world)

    answer = register(world, attestation=with_nonce(world, b"\x05" * 16))

    assert answer.status_code == (200 if mode is Nonces.DISABLED else 403)


def test_an_expired_challenge_is_not_valid(world: World, mode: Nonces) -> None:
    expired = nonce(world)
    world.clock.now += timedelta(seconds=300)
    answer = register(world, attestation=with_nonce(world, expired))

    assert answer.status_code == (403 if mode is Nonces.REQUIRED else 200)


def test_a_nonce_is_valid_once(world: World, mode: Nonces) -> None:
    used = nonce(world)
    registered(world, attestation=with_nonce(world, used))
    again = register(world, attestation=with_nonce(world, used))

    assert again.status_code == (200 if mode is Nonces.DISABLED else 403)


def test_the_same_registration_sent_twice_is_answered_twice(world: World, mode: Nonces) -> None:
    body = registration(world, attestation=with_nonce(world, nonce(world)))
    first, second = world.post(REGISTER, body, ""), world.post(REGISTER, body, "")

    assert first.get_json() == second.get_json()
    assert (first.status_code, second.status_code) == (200, 200)


def test_of_two_machines_with_one_nonce_one_registers(world: World) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    shared = nonce(world)
    bodies = [registration(world, attestation=with_nonce(world, shared)) for _ in range(4)]

    answers = at_once([partial(world.post, REGISTER, body, "") for body in bodies])

    statuses = sorted(answer.status_code for answer in answers if isinstance(answer, TestResponse))
    assert statuses == [200, 403, 403, 403]


def test_a_nonce_is_bound_to_its_machines_name(world: World) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    nonce(world, "vm-2")

    refused(register(world, vm_name="vm-2", attestation=with_nonce(world, nonce(world, "vm-1"))), 403)


def test_a_used_challenge_lets_a_machine_register_again_if_nonces_are_optional(world: World) -> None:
    agent_id = registered(world, attestation=with_nonce(world, nonce(world)))

    assert registered(world) == agent_id
