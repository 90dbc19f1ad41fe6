"""The table of services that Terraform reads is what the code says, and its paths lead each request to its function."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from functions.apis import EVERYTHING, SERVICES, SWEEP
from functions.apis.v1 import HEALTH
from functions.apis.v1.health import Health, get_health
from functions.http.authentication import Open
from functions.http.routing import Route
from tests.infra.front import service_at
from tools.deployment import deployment, paths_of

TABLE: Final = Path(__file__).parents[2] / "infra" / "terraform" / "services.json"
PAGES: Final = Path(__file__).parents[2] / "docs"
TEXT: Final = "0b6f2c1e-5d0a-4a57-9d0e-0d6a3a0e4b11"

pytestmark = pytest.mark.infra


def routes() -> Iterator[tuple[str, Route]]:
    """Yield every route that is one service's own, with that service."""
    for name, of_service in SERVICES.items():
        yield from ((name, route) for route in of_service if route not in HEALTH)


def concrete(route: Route) -> str:
    return "/".join(TEXT if part.startswith("{") else part for part in route.path.split("/"))


def about(text: str) -> Health:
    return Health()


def answering(path: str) -> Route:
    return Route("GET", path, Open.ANYONE, about if "{" in path else get_health, "Ask a service of a test")


def test_the_table_is_what_the_code_says() -> None:
    assert json.loads(TABLE.read_text()) == deployment(), "Run `make docs`."


def test_every_route_leads_to_its_service_and_those_of_the_sweep_to_none() -> None:
    paths = {name: service["paths"] for name, service in deployment()["services"].items() if name != "everything"}

    led = {route: service_at(concrete(route), paths) for _, route in routes()}

    assert led == {route: None if name == SWEEP else name for name, route in routes()}
    assert {service_at(route.path, paths) for route in HEALTH} == {None}
    assert not [rule for rules in paths.values() for rule in rules if rule == "/*"]


def test_no_rule_is_idle() -> None:
    """Without any one of them, some route would lead elsewhere."""
    paths = {name: service["paths"] for name, service in deployment()["services"].items() if name != "everything"}

    for name, rules in paths.items():
        for rule in rules:
            fewer = {**paths, name: [other for other in rules if other != rule]}
            assert any(service_at(concrete(route), fewer) != name for owner, route in routes() if owner == name), rule


def test_a_path_below_another_services_path_has_the_longer_rule() -> None:
    services = {
        "one": [answering("/a/b/c"), answering("/a/b/{text}/d")],
        "two": [answering("/a/x")],
        "three": [answering("/b")],
    }

    assert paths_of(services) == {"one": ["/a/b/*"], "two": ["/a/x"], "three": ["/b"]}


def test_paths_that_a_url_map_cannot_tell_apart_are_refused() -> None:
    services = {"one": [answering("/a/{text}/b")], "two": [answering("/a/{text}/c")]}

    with pytest.raises(ValueError, match=r"/a/… leads to several services"):
        paths_of(services)


def test_a_function_uses_and_knows_only_what_its_routes_need() -> None:
    """These are what Terraform grants: a new entry is a new permission, and a reason to look twice."""
    services = deployment()["services"]

    def of(field: str, *without: str) -> dict[str, list[str]]:
        return {name: [one for one in service[field] if one not in without] for name, service in services.items()}

    assert of("uses", "firestore") == {
        "callback": ["doorbell", "bucket", "bucket_credentials"],
        "capacity": ["doorbell", "bucket", "trust_authority"],
        "claim": [],
        "everything": ["doorbell", "bucket", "bucket_credentials", "trust_authority"],
        "exports": ["doorbell", "bucket"],
        "jobs": ["doorbell"],
        "orders": ["doorbell", "bucket"],
        "sweep": ["doorbell", "bucket"],
        "tasks": [],
        "update": ["doorbell", "bucket", "bucket_credentials"],
    }
    bucket, callback = "LAUNCHYARD_S3_SECRET_ACCESS_KEY", "LAUNCHYARD_CALLBACK_SECRET"
    operator, trust = ["LAUNCHYARD_ADMIN_PASSWORD"], ["LAUNCHYARD_ITA_API_KEY"]
    previous = f"{callback}_PREVIOUS"
    assert of("secrets", bucket, previous) == {
        "callback": ["ANTHROPIC_API_KEY", callback],
        "capacity": [*operator, callback, *trust],
        "claim": [callback],
        "everything": ["ANTHROPIC_API_KEY", *operator, callback, *trust],
        "exports": [callback],
        "jobs": [],
        "orders": ["ANTHROPIC_API_KEY"],
        "sweep": [],
        "tasks": [callback],
        "update": ["ANTHROPIC_API_KEY", callback],
    }
    assert {name for name, service in services.items() if bucket in service["secrets"]} == {
        name for name, service in services.items() if "bucket" in service["uses"]
    }
    assert all((callback in service["secrets"]) == (previous in service["secrets"]) for service in services.values())


def test_every_setting_of_a_function_is_explained_on_a_page() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))

    assert [name for name in deployment()["settings"] if not re.search(rf"`{name}\b", pages)] == []


def test_every_setting_of_a_function_is_in_the_list_with_its_kind() -> None:
    table: dict[str, Any] = deployment()

    for service in table["services"].values():
        assert {table["settings"][name]["secret"] for name in service["secrets"]} <= {True}
        assert {table["settings"][name]["secret"] for name in service["settings"]} == {False}
    assert {"LAUNCHYARD_KEYS", "FUNCTION_TARGET", "THREADS"}.isdisjoint(table["settings"])
    assert [name for name, one in table["services"].items() if "LAUNCHYARD_SWEEP_CALLER" in one["settings"]] == [SWEEP]
    assert len(EVERYTHING) == len({route for _, route in routes()}) + len(HEALTH)
