"""The operator's own credentials, as Google's libraries find them on this machine."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from deploy.google import SCOPE, LoggedOut

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

LOGIN_ADVICE: Final = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a file with credentials"
)


@dataclass(frozen=True, slots=True)
class OperatorCredentials:
    """Asks for a new token when the last one is about to end."""

    credentials: "Credentials"
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the headers that authorise a request. Raises LoggedOut."""
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        headers: dict[str, str] = {}
        with self._lock:
            try:
                self.credentials.before_request(Request(), "GET", url, headers)  # type: ignore[no-untyped-call]
            except GoogleAuthError as error:
                raise LoggedOut(f"Google issued no token ({type(error).__name__}): {LOGIN_ADVICE}") from None
        return headers


def find(project: str) -> OperatorCredentials:
    """Return this machine's credentials. A user's requests are counted on `project`. Raises LoggedOut."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2.credentials import Credentials as UserCredentials

    try:
        credentials, _ = google.auth.default(scopes=[SCOPE], quota_project_id=None)
    except GoogleAuthError:
        raise LoggedOut(f"there are no credentials for Google Cloud: {LOGIN_ADVICE}") from None
    if isinstance(credentials, UserCredentials) and credentials.quota_project_id is None:
        credentials = credentials.with_quota_project(project)
    return OperatorCredentials(credentials)
