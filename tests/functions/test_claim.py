"""Launchers claim orders."""

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from pydantic import TypeAdapter

from functions.adapters.firestore import FirestoreOrderStore
from functions.apis.v1.claims import claim
from functions.domain.access import ApiKey, Role, digest
from functions.domain.events import Claim
from functions.domain.order import Order
from functions.domain.refusals import Unavailable
from functions.domain.timing import backoff
from functions.engine.candidates import Candidates
from functions.engine.claims import Claims
from functions.engine.credentials import CallbackTokens
from functions.http.authentication import Principal
from functions.http.parsing import parse_body
from functions.ports.orders import OrderStore, Snapshot
from shared.domain.order import LEASE, State
from shared.domain.spec import CapacitySpec, NodeSize
from shared.wire.launchers import ClaimRequest
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.factories import CAPACITY, EXPORT, NOW
from tests.functions.world import LAUNCHER, OTHER_LAUNCHER, SECRET, FirstFitting, World, by_id, next_of
from tests.meanwhile import Failing
from tests.threads import at_once


def test_a_claim_by_id_answers_all_that_a_machine_needs(world: World) -> None:
    order_id = world.place(EXPORT)["id"]

    claimed = world.claim(order_id)

    assert claimed == {
        "order_id": order_id,
        "epoch": 1,
        "lease_until": (NOW + LEASE).isoformat().replace("+00:00", "Z"),
        "lease_seconds": LEASE.total_seconds(),
        "spec": EXPORT.model_dump(mode="json"),
        "callback_token": world.ports.tokens.issue(order_id, 1),
    }
    assert SECRET not in str(claimed)
    lease = world.order(order_id).lease
    assert lease is not None
    assert lease.launcher == "rack/alpha"


def test_an_order_that_another_holds_is_not_to_be_had(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)

    assert world.claim(order_id, launcher="beta") is None
    assert world.claim(order_id, OTHER_LAUNCHER) is None
    assert world.order(order_id).epoch == 1


def test_an_unknown_order_is_not_found_rather_than_taken(world: World) -> None:
    assert world.post("/v1/claims", by_id("no-such-order"), LAUNCHER).status_code == 404


def test_an_order_of_a_lane_not_asked_for_is_a_conflict(world: World) -> None:
    order_id = world.place(CAPACITY)["id"]

    response = world.post("/v1/claims", by_id(order_id, lanes=["any/task"]), LAUNCHER)

    assert response.status_code == 409
    assert "in none of the lanes" in response.get_json()["detail"]
    assert world.order(order_id).state is State.QUEUED


def test_a_repeated_claim_by_id_answers_the_same_claim(world: World) -> None:
    body = by_id(world.place()["id"])

    answers = [world.post("/v1/claims", body, LAUNCHER).get_data() for _ in range(2)]

    assert answers[0] == answers[1]
    assert b"callback_token" in answers[0]


def test_a_repeated_claim_reports_the_rest_of_the_lease(world: World) -> None:
    body = by_id(world.place()["id"])
    world.post("/v1/claims", body, LAUNCHER)
    world.clock.now += timedelta(seconds=20)

    claimed = world.post("/v1/claims", body, LAUNCHER).get_json()["claimed"]

    assert claimed["lease_seconds"] == LEASE.total_seconds() - 20


def test_a_repeated_claim_after_the_lease_was_lost_hands_out_nothing(world: World) -> None:
    body = by_id(world.place()["id"])
    world.post("/v1/claims", body, LAUNCHER)
    world.lapse(body["order_id"])
    world.claim(body["order_id"], OTHER_LAUNCHER)

    assert world.post("/v1/claims", body, LAUNCHER).get_json() == {"claimed": None}


def test_two_launchers_that_chose_the_same_request_id_do_not_repeat_each_other(world: World) -> None:
    body = by_id(world.place()["id"], request_id="request-1")
    world.post("/v1/claims", body, LAUNCHER)
    world.lapse(body["order_id"])

    answer = world.post("/v1/claims", body, OTHER_LAUNCHER).get_json()

    assert answer["claimed"]["epoch"] == 2


def test_the_next_order_of_the_lanes_is_claimed(world: World) -> None:
    world.place(EXPORT)
    capacity = world.place(CAPACITY)["id"]

    claimed = world.claim_next(lanes=["local:dev/capacity/tiny"])

    assert claimed is not None
    assert claimed["order_id"] == capacity


def test_a_claim_that_does_not_wait_looks_once(world: World) -> None:
    assert world.claim_next() is None
    assert world.clock.waits == []


def test_a_waiting_claim_gives_up_after_its_seconds(world: World) -> None:
    assert world.claim_next(wait_seconds=3) is None
    assert sum(world.clock.waits) == 3


def test_a_waiting_claim_takes_an_order_that_is_placed_meanwhile(world: World) -> None:
    world.clock.while_waiting = lambda: world.place(idempotency_key="one")

    claimed = world.claim_next(wait_seconds=30)

    assert claimed is not None
    assert len(world.clock.waits) == 1


def test_a_lease_begins_when_the_order_is_claimed_not_when_the_wait_began(world: World) -> None:
    world.clock.while_waiting = lambda: world.place(idempotency_key="one")

    claimed = world.claim_next(wait_seconds=30)

    assert claimed is not None
    lease = world.order(claimed["order_id"]).lease
    assert lease is not None
    assert lease.until == world.clock.now + LEASE


def test_a_repeated_claim_of_the_next_takes_no_second_order(world: World) -> None:
    for _ in range(2):
        world.place()
    body = next_of()

    answers = [world.post("/v1/claims", body, LAUNCHER).get_data() for _ in range(2)]

    assert answers[0] == answers[1]
    assert world.sweep()["looked_at"] == 0
    states = [order["state"] for order in world.get("/v1/orders").get_json()["orders"]]
    assert sorted(states) == ["claimed", "queued"]


def test_a_repeated_claim_of_the_next_is_answered_though_no_order_waits_any_more(world: World) -> None:
    placed = world.place()
    body = next_of()

    answers = [world.post("/v1/claims", body, LAUNCHER).get_json() for _ in range(2)]

    assert [answer["claimed"]["order_id"] for answer in answers] == [placed["id"]] * 2


def test_a_repeat_that_waits_beside_its_first_shares_the_one_order(world: World) -> None:
    """The connection was lost, not the request: it waits on at one instance while the repeat waits at another."""
    body = next_of(wait_seconds=5)
    answers = []

    def first_goes_on() -> None:
        world.clock.while_waiting = lambda: None
        for _ in range(2):
            world.place()
        answers.append(world.post("/v1/claims", body, LAUNCHER).get_json())

    world.clock.while_waiting = first_goes_on
    answers.append(world.post("/v1/claims", body, LAUNCHER).get_json())

    assert answers[0] == answers[1]
    assert answers[0]["claimed"] is not None


def test_a_repeat_after_its_order_was_lost_takes_another(world: World) -> None:
    body = next_of()
    lost = world.place()["id"]
    world.post("/v1/claims", body, LAUNCHER)
    world.lapse(lost)
    world.claim(lost, OTHER_LAUNCHER)
    other = world.place()["id"]

    answer = world.post("/v1/claims", body, LAUNCHER).get_json()

    assert answer["claimed"]["order_id"] == other


def test_an_order_waiting_for_its_next_attempt_is_not_to_be_had_yet(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    world.update(order_id, "failed", reason="launch_failed", message="no", failure="retryable")

    assert world.claim(order_id) is None
    world.clock.now += backoff(1, spread=1)
    again = world.claim(order_id)

    assert again is not None
    assert again["epoch"] == 2
    assert again["callback_token"] != world.ports.tokens.issue(order_id, 1)


def test_a_claim_that_the_store_cannot_answer_is_not_taken_for_a_lost_one(world: World, failing: Failing) -> None:
    order_id = world.place()["id"]
    failing(world.ports.store, "claim", Unavailable("Firestore does not answer."))

    assert world.post("/v1/claims", by_id(order_id), LAUNCHER).status_code == 503


def test_an_orders_request_ids_name_their_sender(world: World) -> None:
    order_id = world.place()["id"]
    request_id = str(uuid4())

    world.claim(order_id, request_id=request_id)

    assert world.order(order_id).recent == (f"rack/alpha@{request_id}",)


def test_a_key_limited_to_some_datacenters_claims_no_orders_of_others(world: World) -> None:
    world.ports.keys.add(ApiKey(digest("ly_kept"), Role.LAUNCHER, "kept", datacenters=("gcp:us-central1-a",)))
    here, there = (CapacitySpec(datacenter=f"gcp:us-central1-{zone}", node_size=NodeSize.TINY) for zone in "ab")
    world.place(there)
    order_id = world.place(here)["id"]
    lanes = ["gcp:*/capacity/tiny", "baremetal:*/capacity/tiny"]

    claimed = world.claim_next("ly_kept", lanes=lanes)
    assert claimed is not None
    assert claimed["order_id"] == order_id
    assert world.claim_next("ly_kept", lanes=lanes) is None
    refused = world.post("/v1/claims", next_of(lanes=["baremetal:*/capacity/tiny"]), "ly_kept")
    assert (refused.status_code, refused.get_json()["type"]) == (403, "urn:launchyard:problem:forbidden")


AT_ONCE = 10


def test_one_request_made_many_times_at_once_takes_one_order(world: World, at_instances: Callable[[], World]) -> None:
    """Repeated by proxies, or by a launcher whose connection breaks: each time at another instance, without a wait."""
    instances = [at_instances() for _ in range(AT_ONCE)]
    ids = {world.place()["id"] for _ in range(2 * AT_ONCE)}
    body = next_of()

    answers = at_once([partial(_claimed_by, instance, body) for instance in instances])

    (held,) = {str(answer) for answer in answers}
    states = [world.order(order_id) for order_id in ids]
    assert [order.id for order in states if order.state is State.CLAIMED] == [held]


def test_one_request_made_again_after_its_order_lapsed_takes_one_other(
    world: World, at_instances: Callable[[], World]
) -> None:
    instances = [at_instances() for _ in range(AT_ONCE)]
    lost = world.place()["id"]
    body = next_of()
    assert _claimed_by(instances[0], body) == lost
    world.lapse(lost)
    for instance in instances:
        instance.clock.now = world.clock.now
    assert world.claim(lost, OTHER_LAUNCHER) is not None
    others = {world.place()["id"] for _ in range(2 * AT_ONCE)}

    answers = at_once([partial(_claimed_by, instance, body) for instance in instances])

    (held,) = {str(answer) for answer in answers}
    claimed = {order_id for order_id in others if world.order(order_id).state is State.CLAIMED}
    assert claimed == {held}


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def at_instances(request: pytest.FixtureRequest, world: World) -> Callable[[], World]:
    """Make instances of the control plane, each with candidates of its own, over one store."""
    if request.param == "firestore":
        world.ports = replace(world.ports, store=FirestoreOrderStore(request.getfixturevalue("firestore_client")))

    def another() -> World:
        instance = World()
        instance.http = world.http.application.test_client()
        candidates = Candidates(world.ports.store, pause=timedelta())
        instance.ports = replace(world.ports, any_order=candidates, clock=instance.clock)
        return instance

    return another


def _claimed_by(world: World, body: dict[str, Any]) -> str:
    """Return the id of the order that this instance's claim is answered with."""
    launcher = Principal(Role.LAUNCHER, "rack")
    claims, tokens = world.services[Claims], world.services[CallbackTokens]
    assert isinstance(claims, Claims)
    assert isinstance(tokens, CallbackTokens)
    asked = parse_body(json.dumps(body).encode(), TypeAdapter(ClaimRequest))
    answer = claim(asked, launcher, claims, tokens, world.clock, lambda: True)
    assert answer.claimed is not None
    return answer.claimed.order_id


class StaleCandidate(FirstFitting):
    """A search that offers an order as it was read some time ago."""

    def __init__(self, store: OrderStore, seen: Snapshot) -> None:
        super().__init__(store)
        self._seen = seen

    def next(self, lanes: Collection[str], claim: Claim, now: datetime) -> Order | None:
        return self._store.claim(self._seen, claim, now)


def test_a_repeat_that_meets_a_stale_candidate_gets_no_order_that_another_holds_by_now(world: World) -> None:
    order_id, request_id = world.place()["id"], str(uuid4())
    world.ports = replace(world.ports, any_order=StaleCandidate(world.ports.store, world.ports.store.read(order_id)))
    assert world.claim_next(request_id=request_id) is not None
    assert world.update(order_id, "returned", message="no room after all").status_code == 200
    assert world.claim(order_id, key=OTHER_LAUNCHER) is not None

    assert world.claim_next(request_id=request_id) is None
