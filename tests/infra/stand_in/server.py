"""The provider's side of plugin protocol 6: each method is named like the call that it answers.

Terraform's state is the only memory: to read a resource is to return what the state says.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import grpc

from tests.infra.stand_in import messages, resources
from tests.infra.stand_in.messages import Values, dynamic, error, value_of, values_of
from tests.infra.stand_in.protobuf import Message, decode, encode
from tests.infra.stand_in.rules import Rules
from tests.infra.stand_in.schema import Schema

NOTHING: Final[Message] = {}


class Provider(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Serves one provider. Each walk of Terraform's configures it, and it forgets the one before."""

    def __init__(self, schema: Schema, rules: Rules) -> None:
        self._schema = schema
        self._rules = rules
        self._settings: Values = {}
        self._created: set[tuple[str, str]] = set()

    def service(self, handler_call_details: Any) -> Any:
        name = handler_call_details.method.rsplit("/", 1)[-1]
        answer: Callable[[Message], Message] | None = getattr(self, name, None)
        if answer is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, _: encode(answer(decode(request))))

    @cached_property
    def _described(self) -> Message:
        return messages.provider_schema(self._schema)

    def GetProviderSchema(self, _request: Message) -> Message:
        return self._described

    def ValidateProviderConfig(self, _request: Message) -> Message:
        return NOTHING

    def ValidateDataResourceConfig(self, _request: Message) -> Message:
        return NOTHING

    def StopProvider(self, _request: Message) -> Message:
        return NOTHING

    def ConfigureProvider(self, request: Message) -> Message:
        self._settings = values_of(request[2]) or {}
        self._created.clear()
        return NOTHING

    def ValidateResourceConfig(self, request: Message) -> Message:
        type_, values = request[1].decode(), values_of(request[2]) or {}
        wrong = resources.refusals(self._schema.resources[type_], values)
        found = [error(f"Invalid value of {steps[-1]}", f"{why}.", steps) for steps, why in wrong]
        if why := resources.unset(type_, values, self._rules):
            found.append(error("Invalid combination of arguments", f"{why}."))
        return {1: found}

    def UpgradeResourceState(self, request: Message) -> Message:
        return {1: {2: decode(request[3])[1]}}  # the state's JSON, as it is

    def ReadResource(self, request: Message) -> Message:
        return {1: request[2]}

    def ReadDataSource(self, request: Message) -> Message:
        type_ = request[1].decode()
        block, configured = self._schema.data_sources[type_], values_of(request[2]) or {}
        planned = resources.plan(type_, block, configured, self._settings, self._rules)
        return {1: dynamic(resources.apply(type_, block, planned, self._settings, self._rules))}

    def PlanResourceChange(self, request: Message) -> Message:
        type_, prior, proposed = request[1].decode(), values_of(request[2]), values_of(request[3])
        if proposed is None:  # it is to be destroyed
            return {1: dynamic(None)}
        for name in self._rules.needed:
            if name in proposed and proposed[name] is None and self._settings.get(name) is None:
                return {4: error(f"{name}: required field is not set, in the resource or its provider")}
        planned = resources.plan(type_, self._schema.resources[type_], proposed, self._settings, self._rules)
        changed = resources.replaced(type_, prior, planned, self._rules) if prior else []
        return {1: dynamic(planned), 2: [messages.path((name,)) for name in changed]}

    def ApplyResourceChange(self, request: Message) -> Message:
        type_, planned = request[1].decode(), values_of(request[3])
        if planned is None:
            return {1: dynamic(None)}
        if value_of(request[2]) is None and resources.empty(type_, values_of(request[4]) or {}, self._rules):
            return {1: dynamic(None), 3: error(f"Error 400: {type_}: Field [payload] is required")}
        values = resources.apply(type_, self._schema.resources[type_], planned, self._settings, self._rules)
        identity = (type_, values["id"])
        if value_of(request[2]) is None and (type_ in self._rules.ids or type_.endswith("_iam_member")):
            if identity in self._created:
                return {1: dynamic(None), 3: error(f"Error 409: {type_} {values['id']} already exists")}
            self._created.add(identity)
        return {1: dynamic(values)}
