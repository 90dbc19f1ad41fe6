"""The port of the service that appraises quotes."""

from datetime import datetime
from typing import Protocol

from functions.domain.agents import Measured


class Appraiser(Protocol):
    """An external service that appraises quotes: the control plane itself has no collateral."""

    def appraise(self, quote: str) -> str:
        """Return the token for a quote (base64).

        Raises Forbidden if the quote is refused, Malformed if there is no key for the service, Unavailable.
        """

    def measured(self, token: str, now: datetime) -> Measured:
        """Return the token's statements. Raises Malformed if it is not a token, Forbidden, Unavailable."""
