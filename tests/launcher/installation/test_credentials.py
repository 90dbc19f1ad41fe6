"""What an installation writes lets Google's library make the host one of the pool's service account.

The clouds are stand-ins: they show that the library takes the document, sends the host's token, and passes the result
on. That Google itself trusts the host's identity provider, only a real project shows.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import google.auth
import pytest
from google.auth.transport.requests import Request

from launcher.composition.launcher import _listener
from launcher.daemon.state_directory import CannotRunNow
from launcher.installation.environment import EnvironmentFile
from launcher.installation.files import CREDENTIALS, ENVIRONMENT, write
from launcher.installation.plan import GOOGLE_PROJECT, prepare
from shared.wire.bell import Bell, to_attributes
from tests.launcher.installation.google import ACCESS, IMPERSONATE, Google, a_google, a_pubsub
from tests.launcher.installation.hosts import SUBSCRIPTION, TOKEN, HostRoot, a_host, a_pool

LISTEN: Final = """
import sys
from google.cloud.pubsub_v1 import SubscriberClient
from launcher.daemon.pubsub import PubSubListener
listener = PubSubListener(SubscriberClient(client_options={"api_endpoint": sys.argv[1]}), sys.argv[2])
print(*(heard.bell.order_id for heard in listener.pull(1)))
"""
"""The listener of a launcher, whose Pub/Sub is at another address."""


@pytest.fixture
def google_cloud() -> Iterator[Google]:
    with a_google("a token") as google:
        yield google


@pytest.fixture
def installed(tmp_path: Path, google_cloud: Google, monkeypatch: pytest.MonkeyPatch) -> HostRoot:
    """A host with an installed launcher, whose environment this process has, but for the root of its paths."""
    host = a_host(tmp_path / "root")
    write(host.root, prepare(host.request(a_pool(google_cloud.document(Path(TOKEN)))), lambda _: None).files)
    document = host.credentials | {"credential_source": {"file": str(host.at(Path(TOKEN)))}}
    host.at(CREDENTIALS).write_text(json.dumps(document))
    for name, value in EnvironmentFile(host.settings).variables.items():
        if name.startswith("GOOGLE_"):
            monkeypatch.setenv(name, str(host.at(CREDENTIALS)) if value == str(CREDENTIALS) else value)
    return host


def test_the_library_takes_the_document_without_asking_anybody_and_gets_the_accounts_token_when_needed(
    installed: HostRoot, google_cloud: Google
) -> None:
    credentials: Any
    credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/pubsub"])

    assert project == SUBSCRIPTION.split("/")[1]
    assert google_cloud.asked == []

    credentials.refresh(Request())
    assert credentials.token == ACCESS
    assert google_cloud.asked == ["/v1/token", IMPERSONATE]


def test_without_the_projects_name_the_library_would_ask_google_for_it_at_each_start(
    installed: HostRoot, google_cloud: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(GOOGLE_PROJECT)
    google_cloud.subject = "another token"

    with pytest.raises(google.auth.exceptions.GoogleAuthError):
        google.auth.default(scopes=["https://www.googleapis.com/auth/pubsub"])
    assert google_cloud.asked != []


def test_the_launchers_listener_pulls_bells_as_the_pools_account(
    installed: HostRoot, google_cloud: Google, tmp_path: Path
) -> None:
    bell = Bell(order_id="11111111-2222-4333-8444-555555555555", lane="any/task")
    with a_pubsub(tmp_path, to_attributes(bell)) as address:
        heard = subprocess.run(
            (sys.executable, "-c", LISTEN, address, SUBSCRIPTION),
            env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "authority.pem")},
            capture_output=True,
            text=True,
            check=False,
        )

    assert (heard.stdout, heard.stderr) == (f"{bell.order_id}\n", "")
    assert google_cloud.asked == ["/v1/token", IMPERSONATE]


def test_a_renewed_token_of_the_host_is_read_anew(installed: HostRoot, google_cloud: Google) -> None:
    google_cloud.lifetime = timedelta(0)
    credentials: Any = google.auth.default(scopes=["https://www.googleapis.com/auth/pubsub"])[0]
    credentials.refresh(Request())
    google_cloud.subject = "a renewed token"
    with pytest.raises(google.auth.exceptions.GoogleAuthError):
        credentials.refresh(Request())

    installed.at(Path(TOKEN)).write_text("a renewed token")
    credentials.refresh(Request())

    assert credentials.token == ACCESS


def test_a_launcher_whose_credentials_cannot_be_used_ends_in_words_and_may_try_again(
    installed: HostRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(installed.at(ENVIRONMENT)))

    with pytest.raises(CannotRunNow, match="look at GOOGLE_APPLICATION_CREDENTIALS"):
        _listener(SUBSCRIPTION)
