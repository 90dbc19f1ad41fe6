"""The OpenAPI document of every API, made from its routes."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from werkzeug.http import HTTP_STATUS_CODES

from functions.domain.access import Role
from functions.http.api import Api
from functions.http.authentication import IDENTITY, Open
from functions.http.endpoint import READING
from functions.http.parsing import KEY_HEADER, MAX_KEY_LENGTH
from functions.http.routing import PATH_NAME, Download, Route
from shared.wire.launchers import IDENTITY_HEADER

Json = dict[str, Any]
Schemas = Mapping[tuple[str, JsonSchemaMode], Json]

ERROR: Final = "error"
KEY_PATTERN: Final = "^[!-+.-~-]([ -+.-~-]*[!-+.-~-])?$"
"""Printable ASCII without a comma; HTTP removes spaces around it."""


def document(apis: Sequence[Api], of_every_service: Sequence[Route]) -> Json:
    """Return the OpenAPI 3.1 document, with one tag for each API. The routes `of_every_service` belong to the first
    API.
    """
    paths: dict[str, Json] = {}
    components: Json = {}
    for api in apis:
        routes = [*api.routes, *(of_every_service if api is apis[0] else ())]
        schemas, definitions = TypeAdapter.json_schemas(
            [(_name(route), mode, model) for route in routes for mode, model in _models(route)]
            + [(ERROR, "serialization", api.dialect.error)],
            ref_template=f"#/components/schemas/{api.name}.{{model}}",
        )
        components |= {f"{api.name}.{model}": schema for model, schema in definitions.get("$defs", {}).items()}
        for route in routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(api, route, schemas)
    _require_tags(paths, components)
    _require_tags(components, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Launchyard", "version": "v1", "license": {"name": "Apache-2.0"}},
        "tags": [{"name": api.name} for api in apis],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or an operator's session token",
                },
                "callback": {"type": "http", "scheme": "bearer", "description": "The token of one order at one epoch"},
            },
        },
    }


def render(apis: Sequence[Api], of_every_service: Sequence[Route]) -> str:
    return json.dumps(document(apis, of_every_service), indent=2, ensure_ascii=False) + "\n"


def _require_tags(part: Any, components: Json) -> None:
    """Require the field that tells the kinds of a union apart. Pydantic leaves it out because it has a default."""
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _require_tags(inner, components)
    if isinstance(part, dict) and isinstance(tag := part.get("discriminator"), dict):
        for reference in tag["mapping"].values():
            kind = components[reference.rpartition("/")[2]]
            kind["required"] = sorted({*kind.get("required", ()), tag["propertyName"]})


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


def _models(route: Route) -> list[tuple[JsonSchemaMode, TypeAdapter[Any]]]:
    models: list[tuple[JsonSchemaMode, TypeAdapter[Any]]] = []
    if route.signature.body is not None:
        models.append(("validation", route.signature.body))
    if route.answer is not None:
        models.append(("serialization", TypeAdapter(route.answer)))
    return models


def _operation(api: Api, route: Route, schemas: Schemas) -> Json:
    operation: Json = {
        "tags": [api.name],
        "summary": route.summary,
        "operationId": f"{api.name}.{route.handler.__module__.rsplit('.', 1)[-1]}.{route.handler.__name__}",
        "security": _security(route),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_headers(api, route)],
        "responses": _responses(api, route, schemas),
    }
    if route.signature.body is not None:
        content = {"application/json": {"schema": schemas[_name(route), "validation"]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(route: Route) -> list[Json]:
    match route.access:
        case Open.ANYONE:
            return []
        case Open.EITHER:
            return [{}, {"key": []}]
        case Open.WORKER:
            return [{"callback": []}]
        case roles:
            return [{"key": [str(role) for role in sorted(roles)]}]


def _path_parameters(route: Route) -> list[Json]:
    names = PATH_NAME.findall(route.path)
    return [{"name": name, "in": "path", "required": True, "schema": route.ids.json_schema()} for name in names]


def _query_parameters(route: Route) -> list[Json]:
    if route.signature.query is None:
        return []
    schema = TypeAdapter(route.signature.query).json_schema()
    inlined = json.loads(
        json.dumps(schema["properties"]), object_hook=lambda part: _inline(part, schema.get("$defs", {}))
    )
    needed = schema.get("required", [])
    return [{"name": name, "in": "query", "required": name in needed, "schema": part} for name, part in inlined.items()]


def _inline(part: Json, definitions: Json) -> Json:
    """Return the schema that `part` refers to, without null: a query cannot send it."""
    if "$ref" in part:
        return dict(definitions[part["$ref"].rsplit("/", 1)[-1]])
    if {"type": "null"} in part.get("anyOf", ()):
        return next(dict(choice) for choice in part["anyOf"] if choice != {"type": "null"})
    return part


def _headers(api: Api, route: Route) -> list[Json]:
    headers: list[Json] = []
    if route.signature.keyed:
        schema = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": KEY_PATTERN}
        required = route.signature.key_required
        headers.append({"name": KEY_HEADER, "in": "header", "required": required, "schema": schema})
    launchers = not isinstance(route.access, Open) and Role.LAUNCHER in route.access
    if launchers and api.dialect.identifies_launchers:
        rest = {"description": "Tells launchers of one name apart", "schema": IDENTITY.json_schema()}
        headers.append({"name": IDENTITY_HEADER, "in": "header", "required": False, **rest})
    return headers


def _responses(api: Api, route: Route, schemas: Schemas) -> Json:
    error = {"content": {api.dialect.internal.media_type: {"schema": schemas[ERROR, "serialization"]}}}
    # werkzeug's phrases, because its version is locked; those of HTTPStatus differ between Python versions
    statuses = sorted(_refusals(route) | api.dialect.statuses)
    refused = {str(status.value): {"description": HTTP_STATUS_CODES[status], **error} for status in statuses}
    if route.status is HTTPStatus.NO_CONTENT:
        return {str(route.status.value): {"description": route.summary}, **refused}
    if route.answer is None:
        moved = {str(route.redirect_status.value): {"description": "The URL of the download, valid for 5 minutes"}}
        return {**moved, **(_parts() if route.signature.answer is Download else {}), **refused}
    content = {"application/json": {"schema": schemas[_name(route), "serialization"]}}
    empty = {"204": {"description": "Nothing"}} if route.may_be_empty else {}
    return {str(route.status.value): {"description": route.summary, "content": content}, **empty, **refused}


def _parts() -> Json:
    """Return the answers that send a file, or a part of it."""
    file = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
    return {
        "200": {"description": "The file", **file},
        "206": {"description": "The part that the header Range asks for", **file},
        "416": {"description": "The file ends before the part that the header Range asks for"},
    }


def _refusals(route: Route) -> set[HTTPStatus]:
    """Return the statuses of the refusals that the route's parameters make possible."""
    statuses = {
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
    if route.access is not Open.ANYONE:
        statuses |= {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}
    if not isinstance(route.access, Open):
        statuses |= {HTTPStatus.FORBIDDEN}
    if PATH_NAME.search(route.path) or route.conflicts:
        statuses |= {HTTPStatus.NOT_FOUND}
    if route.method not in READING:
        statuses |= {HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
    if route.signature.body is not None:
        statuses |= {HTTPStatus.REQUEST_TIMEOUT}
    if route.signature.body is not None or route.signature.query is not None:
        statuses |= {HTTPStatus.UNPROCESSABLE_ENTITY}
    if route.conflicts:
        statuses |= {HTTPStatus.CONFLICT, HTTPStatus.GONE}
    return statuses
