"""The providers that the deployment uses, in the versions that the stand-ins stand in for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Published:
    """A version of a provider, and the bindings that carry its schema."""

    version: str
    bindings: str


PROVIDERS: Final[Mapping[str, Published]] = {
    "aws": Published("5.100.0", "cdktf-cdktf-provider-aws"),
    "google": Published("6.50.0", "cdktf-cdktf-provider-google"),
}
