"""Behind the gateway, each request reaches the function that has its route.

Terraform applies the files with the stand-in providers, and these tests read the URL map as a load balancer does:
https://docs.cloud.google.com/load-balancing/docs/url-map-concepts
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from functions.apis import APIS, SERVICES
from functions.apis.v1 import HEALTH
from tests.infra.rehearsal import PROD, rehearsed
from tests.infra.tools import Tools

pytestmark = [pytest.mark.infra, pytest.mark.terraform, pytest.mark.slow]

PATH_NAME: Final = re.compile(r"\{\w+\}")
WILDCARDS: Final[Mapping[str, str]] = {"**": ".*", "*": "[^/]+"}


@pytest.fixture(scope="module")
def resources(shared: Path, tools: Tools) -> Mapping[str, Any]:
    """Return what was applied in the shape with a gateway, by address."""
    prod = rehearsed(PROD, shared, tools)
    assert not prod.failed
    return {one["address"]: one["values"] for one in prod.resources}


def matches(rule: Mapping[str, str | None], path: str) -> bool:
    if rule["full_path_match"]:
        return path == rule["full_path_match"]
    if rule["prefix_match"]:
        return path.startswith(rule["prefix_match"])
    parts = re.split(r"(\*\*|\*)", rule["path_template_match"] or "")
    return re.fullmatch("".join(WILDCARDS.get(part, re.escape(part)) for part in parts), path) is not None


def service(resources: Mapping[str, Any], path: str) -> str:
    """Return the service that a request of this path reaches."""
    (matcher,) = resources["google_compute_url_map.gateway[0]"]["path_matcher"]
    backends = {
        values["id"]: address.split('"')[1]
        for address, values in resources.items()
        if address.startswith("google_compute_backend_service.function[")
    }
    for rule in sorted(matcher["route_rules"], key=lambda one: int(one["priority"])):
        if any(matches(one, path) for one in rule["match_rules"]):
            return backends[rule["service"]]
    return backends[matcher["default_service"]]


def paths() -> Iterator[tuple[str, str]]:
    """Yield a path of each route that only one service has, and that service; also with a key in front if it may be."""
    keyed = {name for api in APIS if api.dialect.key_in_path for name in api.services}
    for name, routes in SERVICES.items():
        for path in {PATH_NAME.sub("a1.b~c", route.path) for route in routes if route not in HEALTH}:
            if name != "sweep":
                yield path, name
                if name in keyed:
                    yield f"/k/lyk_a-key{path}", name


def test_each_route_is_reached_at_the_function_that_has_it(resources: Mapping[str, Any]) -> None:
    reached = partial(service, resources)

    assert {path: reached(path) for path, _ in paths()} == dict(paths())


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/health", "/v1/sweeps", "/nowhere", "/jobsx", "/k/key", "/k/key/v1/claims"]
)
def test_any_other_path_is_answered_by_orders(path: str, resources: Mapping[str, Any]) -> None:
    assert service(resources, path) == "orders"


def test_a_longer_path_is_compared_before_a_shorter_one(resources: Mapping[str, Any]) -> None:
    """As in a URL map of path rules, for which the paths of services.json are made."""
    (matcher,) = resources["google_compute_url_map.gateway[0]"]["path_matcher"]
    rules = sorted(matcher["route_rules"], key=lambda rule: int(rule["priority"]))
    lengths = [
        len(rule["match_rules"][0]["prefix_match"] or rule["match_rules"][0]["full_path_match"]) for rule in rules
    ]

    assert len(set(lengths)) > 1
    assert lengths == sorted(lengths, reverse=True)


def test_the_sweep_is_not_behind_the_gateway(resources: Mapping[str, Any]) -> None:
    behind = {address.split('"')[1] for address in resources if "network_endpoint_group" in address}

    assert behind == SERVICES.keys() - {"sweep"}
