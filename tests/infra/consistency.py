"""Compares an applied deployment with what the code says of itself. Each check returns what is wrong, in words.

services.json is made from the code.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.infra.rehearsal import FILES, Rehearsal, Resource

THREADS: Final = "THREADS"
"""The one setting that the framework reads, and not the code."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was applied, and how it was asked for."""

    resources: list[Resource]
    gateway: bool
    kind: str
    """Of the outputs' bucket: gcs or s3."""
    outputs: str
    """The bucket's name."""
    pools: Mapping[str, Mapping[str, Any]]
    name: str
    project: str
    number: str
    region: str
    table: Mapping[str, Any]
    """services.json."""

    def of_type(self, type_: str) -> list[Mapping[str, Any]]:
        """Return the values of each resource of a type."""
        return [resource["values"] for resource in self.resources if resource["type"] == type_]

    @property
    def services(self) -> Mapping[str, Mapping[str, Any]]:
        """The services that this shape has, from the code's table."""
        wanted = self.table["services"].keys() - {"everything"} if self.gateway else {"everything", "sweep"}
        return {name: self.table["services"][name] for name in sorted(wanted)}

    @property
    def listening(self) -> Mapping[str, Mapping[str, Any]]:
        """The pools whose launchers can prove who they are: the others poll."""
        return {name: pool for name, pool in self.pools.items() if pool.get("subject") or pool.get("public_key")}

    @property
    def functions(self) -> Mapping[str, Mapping[str, Any]]:
        """The deployed functions by entry point."""
        functions = self.of_type("google_cloudfunctions2_function")
        return {function["build_config"][0]["entry_point"]: function for function in functions}


def deployed_by(rehearsal: Rehearsal) -> Deployed:
    """Return what a rehearsal applied."""
    given = {name: variable.get("value") for name, variable in rehearsal.plan["variables"].items()}
    return Deployed(
        resources=rehearsal.resources,
        gateway=given["gateway"] is not None,
        kind=given["outputs"]["kind"],
        outputs=given["outputs"]["bucket"],
        pools=given["pools"],
        name=given["name"],
        project=given["project_id"],
        number=given["project_number"],
        region=given["region"],
        table=json.loads((FILES / "services.json").read_text(encoding="utf-8")),
    )


def wrong_entry_points(deployed: Deployed) -> list[str]:
    """The functions are those of the code's table, under their names, each with its own account."""
    named = {entry: f"{function['name']} as {_account(function)}" for entry, function in deployed.functions.items()}
    expected = {entry: f"{deployed.name}-{entry} as ly-{entry}" for entry in deployed.services}
    return difference("function", named.items(), expected.items())


def wrong_settings(deployed: Deployed) -> list[str]:
    """A function's environment has exactly the settings that the code reads there, its secrets by version."""
    problems: list[str] = []
    never = {"gcs": {"LAUNCHYARD_S3_ENDPOINT", "LAUNCHYARD_S3_REGION"}, "s3": {"LAUNCHYARD_SIGN_AS"}}[deployed.kind]
    for entry, function in deployed.functions.items():
        service = deployed.services.get(entry, {"settings": [], "secrets": []})
        config = function["service_config"][0]
        plain = set(config["environment_variables"] or {})
        secret = {one["key"]: one["version"] for one in config["secret_environment_variables"]}
        problems += difference(f"{entry}: setting", plain, {*service["settings"], THREADS} - never)
        problems += difference(f"{entry}: secret", secret, service["secrets"])
        problems += [f"{entry}: {name} has no version" for name, version in secret.items() if not version.isdecimal()]
    return problems


def wrong_threads(deployed: Deployed) -> list[str]:
    """Each function has as many threads as it gets requests at once."""
    return [
        f"{entry}: THREADS is {threads}, and its concurrency {config['max_instance_request_concurrency']}"
        for entry, function in deployed.functions.items()
        for config in function["service_config"]
        if (threads := config["environment_variables"].get(THREADS)) != str(config["max_instance_request_concurrency"])
    ]


def wrong_indexes(deployed: Deployed, file: Path) -> list[str]:
    """The composite indexes, and the fields' own, are those of firestore.indexes.json."""
    wanted = json.loads(file.read_text(encoding="utf-8"))
    indexes = {
        f"{i['collectionGroup']} {i['queryScope']}: {_fields(i['fields'], 'fieldPath', 'arrayConfig')}"
        for i in wanted["indexes"]
    }
    applied = {
        f"{i['collection']} {i['query_scope']}: {_fields(i['fields'], 'field_path', 'array_config')}"
        for i in deployed.of_type("google_firestore_index")
    }
    overrides = {
        f"{f['collectionGroup']}.{f['fieldPath']}: {len(f['indexes'])} of its own" for f in wanted["fieldOverrides"]
    }
    fields = {
        f"{f['collection']}.{f['field']}: {sum(len(config['indexes']) for config in f['index_config'])} of its own"
        for f in deployed.of_type("google_firestore_field")
        if f["index_config"]
    }
    return difference("index", applied, indexes) + difference("field's indexes", fields, overrides)


def wrong_routes(deployed: Deployed) -> list[str]:
    """The gateway sends each path of the code's table to the service that serves it."""
    if not deployed.gateway:
        return []
    routes = {
        (f"{match['prefix_match']}*" if match["prefix_match"] else match["full_path_match"], rule["service"])
        for url_map in deployed.of_type("google_compute_url_map")
        for matcher in url_map["path_matcher"]
        for rule in matcher["route_rules"]
        for match in rule["match_rules"]
        if match["prefix_match"] or match["full_path_match"]
    }
    named = {(path, service.rsplit("/", 1)[-1].removeprefix(f"{deployed.name}-")) for path, service in routes}
    wanted = {(path, entry) for entry, service in deployed.services.items() for path in service["paths"]}
    return difference("route", named, wanted)


def difference(what: str, found: Iterable[Any], wanted: Iterable[Any]) -> list[str]:
    """Return a sentence for each that is on one side only."""
    has, needs = set(found), set(wanted)
    return [
        *(f"{what} {missing} is missing" for missing in sorted(needs - has)),
        *(f"{what} {extra} is not needed" for extra in sorted(has - needs)),
    ]


def _account(function: Mapping[str, Any]) -> str:
    email: str = function["service_config"][0]["service_account_email"]
    return email.partition("@")[0]


def _fields(fields: Iterable[Mapping[str, Any]], path: str, array: str) -> str:
    return ", ".join(f"{field[path]} {field.get('order') or field.get(array)}" for field in fields)
