"""A launcher's credential reaches no further than the operator who gave it has said."""

from dataclasses import replace
from typing import Any, Final

import pytest
from pydantic import TypeAdapter

from functions.domain.access import ApiKey, Role, digest
from functions.domain.accounts import DEFAULT_SCOPE, Enrolment
from launcher.daemon.bell import BEYOND_SCOPE
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, SecretName, SessionSpec, TaskSpec
from tests.factories import CAPACITY, EXPORT, NOW, SESSION, TASK
from tests.functions.capacity.accounts import ENROLMENTS, answered, configure, create, enrol, wrong_fields
from tests.functions.capacity.orders import GCP, RACK, claim, place
from tests.functions.jobs import client as jobs
from tests.functions.tasks.calls import allow_secret
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World, by_id, next_of

IMAGES: Final[list[AnySpec]] = [
    ExportSpec(pi="0" * 26, image="registry.example/export:1"),
    TaskSpec(image="registry.example/task:1"),
]
WITH_SECRET: Final = TaskSpec(command=("true",), secrets=(SecretName.ANTHROPIC_API_KEY,))
LANES: Final = [
    *("any/export", "any/task", "any/session", "any/session/image"),
    *("any/export/image", "any/task/image", "any/task/secrets"),
    *("gcp:*/capacity/tiny", "local:dev/capacity/tiny"),
]
CLAIMS: Final = "/v1/claims"


def claimed(world: World, key: str) -> set[str]:
    """Claim in every lane until there is nothing left, and return the ids."""
    ids = set[str]()
    while True:
        answer = world.post(CLAIMS, next_of(lanes=LANES), key)
        if answer.status_code == 403 or answer.get_json()["claimed"] is None:
            return ids
        ids.add(answer.get_json()["claimed"]["order_id"])


def everything(world: World) -> dict[str, str]:
    """Place an order of each kind, and return their ids by what they need."""
    allow_secret(world, "acme")
    specs: dict[str, AnySpec] = {
        "capacity here": CAPACITY,
        "capacity there": CapacitySpec(datacenter="gcp:us-central1-a", node_size=NodeSize.TINY),
        "a task": TASK,
        "an export": EXPORT,
        "a session": SESSION,
        "a session of the label image": SessionSpec(session_name="s", prompt="", labels=("image",)),
        "an export's image": IMAGES[0],
        "a task's image": IMAGES[1],
        "a task with a secret": WITH_SECRET,
    }
    return {name: world.place(spec)["id"] for name, spec in specs.items()}


OF_ANY: Final = {"a task", "an export", "a session", "a session of the label image"}
OF_SECRETS: Final = {"an export's image", "a task's image", "a task with a secret"}
OF_CAPACITY: Final = {"capacity here", "capacity there"}


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        ([], OF_CAPACITY | OF_ANY),
        (["*", "any", "secrets"], OF_CAPACITY | OF_ANY | OF_SECRETS),
        (["any"], OF_ANY),
        (["secrets"], OF_SECRETS),
        (["*"], OF_CAPACITY),
        (["local:dev"], {"capacity here"}),
        (["gcp", "any"], {"capacity there"} | OF_ANY),
        (["baremetal:rack-7"], set()),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("way", ["an operator", "an enrolment", "an enrolment of which it asks for a part"])
def test_a_launcher_gets_orders_of_its_scope_only(world: World, scope: list[str], reached: set[str], way: str) -> None:
    if way == "an operator":
        key = create(world, "rack", datacenters=scope)["api_key"]
    elif way == "an enrolment":
        key = create(world, "rack", key=enrol(world, datacenters=scope))["api_key"]
    else:
        token = enrol(world, datacenters=["*", "any", "secrets"])
        key = create(world, "rack", key=token, datacenters=scope or ["*", "any"])["api_key"]
    ids = everything(world)

    assert claimed(world, key) == {ids[name] for name in reached}


def test_the_holder_of_an_enrolment_gets_no_more_than_its_scope_whatever_it_asks_for(world: World) -> None:
    token = enrol(world, datacenters=["baremetal:rack-7"])
    for asked in (["gcp"], ["baremetal"], ["*"], ["any"], ["secrets"], ["baremetal:rack-7", "gcp:us-central1-a"]):
        refused = create(world, "rack", key=token, datacenters=asked, status=403)
        assert asked[-1] in refused["detail"]

    key = create(world, "rack", key=token)["api_key"]

    place(world, GCP)
    rack = place(world, RACK)
    assert claim(world, key)["order"]["order_id"] == rack
    assert claim(world, key)["claimed"] is False


def test_an_enrolment_says_which_scope_it_has(world: World) -> None:
    def issued(**fields: Any) -> Any:
        return answered(world.post(ENROLMENTS, {"account_type": "launcher", **fields}, ADMIN)).get("datacenters")

    assert issued(datacenters=["Google", " ANY ", "gcp"]) == ["gcp", "any"]
    assert issued() == ["*", "any"]
    assert issued(account_type="deployer") is None


def test_an_enrolment_that_was_stored_without_a_scope_gives_the_default_one() -> None:
    stored = {"digest": "0" * 64, "account_type": "launcher", "expires_at": NOW}
    assert TypeAdapter(Enrolment).validate_python(stored).datacenters == ("*", "any")


def test_nobody_gets_the_operators_secrets_by_open_signup(world: World) -> None:
    configure(world, open_signup=True)
    create(world, "a", key="", datacenters=["secrets"], status=403)
    create(world, "a", key="nonsense", datacenters=["any", "secrets"], status=403)
    key = create(world, "a", key="")["api_key"]
    ids = everything(world)
    assert claimed(world, key).isdisjoint({ids[name] for name in OF_SECRETS})
    create(world, "b", key=ADMIN, datacenters=["secrets"])


def test_a_key_without_a_scope_of_earlier_accounts_keeps_what_it_reached(world: World) -> None:
    world.ports.keys.add(ApiKey(digest("ly_old"), Role.LAUNCHER, "old"))
    ids = everything(world)
    assert claimed(world, "ly_old") == set(ids.values())


@pytest.mark.parametrize("field", ["datacenter", "scope", "Datacenters", "ttl"])
def test_an_unknown_field_of_an_enrolment_is_refused_by_name(world: World, field: str) -> None:
    body = {"account_type": "launcher", field: ["baremetal:rack-7"]}
    assert wrong_fields(world.post(ENROLMENTS, body, ADMIN)) == [["body", field]]


def test_only_a_launchers_enrolment_has_a_scope(world: World) -> None:
    body = {"account_type": "deployer", "datacenters": ["gcp"]}
    assert wrong_fields(world.post(ENROLMENTS, body, ADMIN)) == [["body", "datacenters"]]


def test_an_agent_launcher_of_a_scope_without_any_gets_no_job(world: World) -> None:
    limited = create(world, "rack", datacenters=["gcp"])["api_key"]
    wide = create(world, "wide", datacenters=["gcp", "any"])["api_key"]
    jobs.create(world)
    refused = world.post("/launcher/register", {}, limited)
    assert (refused.status_code, "`any`" in refused.get_json()["detail"]) == (403, True)
    launcher = jobs.register(world, wide)
    key = world.ports.keys.find(digest(wide))
    assert key is not None

    world.ports.keys.add(replace(key, datacenters=("gcp",)))
    assert launcher.command_or_job() == {}
    world.ports.keys.add(key)
    assert launcher.take()


def test_a_task_that_asks_for_a_secret_is_not_in_the_lane_of_other_tasks(world: World) -> None:
    allow_secret(world, "acme")
    order_id = world.place(WITH_SECRET, CLIENT)["id"]
    assert world.order(order_id).lanes == ("any/task/secrets",)
    assert world.claim_next(lanes=["any/task"]) is None
    refused = world.post(CLAIMS, by_id(order_id, lanes=["any/task"]), LAUNCHER)
    assert refused.status_code == 409


def test_a_bell_beyond_the_scope_of_the_key_is_refused_as_a_launcher_knows_it(world: World) -> None:
    """A launcher gives such a bell back for others, and receives the next: any other refusal would make it wait."""
    allow_secret(world, "acme")
    key = "key-of-the-default-scope"
    world.ports.keys.add(ApiKey(digest(key), Role.LAUNCHER, "rack", True, DEFAULT_SCOPE))
    order_id = world.place(WITH_SECRET)["id"]

    refused = world.post("/v1/claims", by_id(order_id, lanes=["any/task", "any/task/secrets"]), key)

    assert (refused.status_code, refused.get_json()["type"]) == (409, f"urn:launchyard:problem:{BEYOND_SCOPE}")
