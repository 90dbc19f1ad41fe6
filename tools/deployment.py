"""Writes what the deployment must know of each function: what it uses, its secrets, its settings and its paths.

    python -m tools.deployment infra/terraform/services.json

All of it is read from the routes and from the wiring, so Terraform grants and sets what the code needs, and no more.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic_settings import BaseSettings

from functions.apis import EVERYTHING, SERVICES, SWEEP, apis_of
from functions.apis.v1 import HEALTH
from functions.http.endpoint import dialect_of
from functions.http.routing import Route
from functions.ports.attestation import Appraiser
from functions.ports.doorbell import Doorbell
from functions.ports.outputs import OutputBucket
from functions.ports.worker_credentials import CredentialIssuer
from functions.settings import WHOLE
from functions.wiring.makers import plan_for
from functions.wiring.store import Database
from shared.settings import is_secret

USES: Final[Mapping[Any, str]] = {
    Database: "firestore",
    Doorbell: "doorbell",
    OutputBucket: "bucket",
    CredentialIssuer: "bucket_credentials",
    Appraiser: "trust_authority",
}
NOT_DEPLOYED: Final = frozenset({"LAUNCHYARD_KEYS", "THREADS"})
"""The first is for the memory backend; the second follows from a function's concurrency."""


def deployment() -> dict[str, Any]:
    paths = paths_of({name: routes for name, routes in SERVICES.items() if name != SWEEP}) | {WHOLE: ["/*"]}
    functions = {**SERVICES, WHOLE: EVERYTHING}
    services = {name: _service(name, routes) | {"paths": paths.get(name, [])} for name, routes in functions.items()}
    secrets = {name for service in services.values() for name in service["secrets"]}
    settings = {name for service in services.values() for name in service["settings"]}
    return {"services": services, "settings": {name: {"secret": name in secrets} for name in settings | secrets}}


def paths_of(services: Mapping[str, Sequence[Route]]) -> dict[str, list[str]]:
    """Return each service's rules of a URL map: the fewest that lead to its routes, and to no other's.

    A rule is a path, or a path with `/*` for all below it; the longest one that fits counts. The routes that every
    service has need no rule. Paths with a key in front of them (`key_in_path`) have none: all begin alike.
    """
    owned = ((name, route) for name, routes in services.items() for route in routes if route not in HEALTH)
    owners = {tuple(route.path.removeprefix("/").split("/")): name for name, route in owned}
    found: dict[str, list[str]] = {name: [] for name in services}
    for path, name in _rules((), owners):
        found[name].append(path)
    return {name: sorted(paths) for name, paths in found.items()}


def _rules(prefix: tuple[str, ...], owners: Mapping[tuple[str, ...], str]) -> Iterator[tuple[str, str]]:
    """Yield the rules, with the service of each, for the paths that begin with the prefix."""
    below = {path: name for path, name in owners.items() if path[: len(prefix)] == prefix and path != prefix}
    if prefix in owners:
        yield "/" + "/".join(prefix), owners[prefix]
    if prefix and len({*below.values()}) == 1:
        yield "/" + "/".join((*prefix, "*")), next(iter(below.values()))
        return
    for segment in dict.fromkeys(path[len(prefix)] for path in below):
        if segment.startswith("{"):
            raise ValueError(f"/{'/'.join(prefix)}/… leads to several services, and a URL map cannot tell them apart.")
        yield from _rules((*prefix, segment), below)


def _service(name: str, routes: Sequence[Route]) -> dict[str, Any]:
    apis = apis_of(name)
    plan = plan_for(apis, routes)
    names = {str(field.validation_alias): is_secret(field.annotation) for field in _fields(plan.settings)}
    deployed = sorted(names.keys() - NOT_DEPLOYED)
    return {
        "uses": [use for kind, use in USES.items() if kind in plan.needed],
        "secrets": [name for name in deployed if names[name]],
        "settings": [name for name in deployed if not names[name]],
        "key_in_path": any(dialect_of(apis, route.path).key_in_path for route in routes),
    }


def _fields(kinds: Iterable[type[BaseSettings]]) -> Iterator[Any]:
    for kind in kinds:
        yield from kind.model_fields.values()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(deployment(), indent=2, sort_keys=True) + "\n")
