"""The operator's own secrets that an order may ask for. Each is for the accounts that the operator names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from functions.domain.refusals import Conflict, Invalid
from shared.domain.spec import SecretName, TaskSpec
from shared.secret import Secret


@dataclass(frozen=True, slots=True)
class AllowedSecret:
    value: Secret
    accounts: frozenset[str]


@dataclass(frozen=True, slots=True)
class OperatorSecrets:
    allowed: Mapping[SecretName, AllowedSecret] = field(default_factory=dict)

    def require(self, account: str, spec: TaskSpec) -> None:
        """Raise Invalid if the task asks for a secret that its account may not have."""
        for position, name in enumerate(spec.secrets):
            if not self._may_have(account, name):
                raise Invalid("Some fields of the body are wrong.", {f"order.secrets.{position}": _advice(name)})

    def of(self, account: str, spec: TaskSpec) -> Mapping[str, str]:
        """Return the values of the secrets that the task asks for, by their names.

        Raises Conflict if the operator has withdrawn one since the order was placed.
        """
        for name in spec.secrets:
            if not self._may_have(account, name):
                raise Conflict(_advice(name))
        return {name.value: self.allowed[name].value.get_secret_value() for name in spec.secrets}

    def _may_have(self, account: str, name: SecretName) -> bool:
        return name in self.allowed and account in self.allowed[name].accounts


def _advice(name: SecretName) -> str:
    return f"This account may not use {name}; leave it out, or ask the operator to allow it"
