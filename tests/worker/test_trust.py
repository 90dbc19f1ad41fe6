"""Over TLS: a machine trusts the authorities that it was given, under the names that its URLs have."""

from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest
from werkzeug import Request, Response

from tests.certificates import Authority, an_authority, serving_tls
from worker.network import NoHttpAnswer, client, once

LOOPBACK: Final = "127.0.0.1"
GATEWAY: Final = "127.0.0.2"


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    return an_authority()


def fine(request: Request) -> Response:
    return Response("fine")


def test_an_authority_that_was_given_is_trusted(authority: Authority, tmp_path: Path) -> None:
    context = authority.server_context(tmp_path, LOOPBACK)
    with serving_tls(context, fine) as port, client(None, authority.pem) as http:
        assert http.get(f"https://{LOOPBACK}:{port}/").text == "fine"


def test_another_authority_is_not_trusted_and_the_error_explains_why(authority: Authority, tmp_path: Path) -> None:
    context = authority.server_context(tmp_path, LOOPBACK)
    for given in (None, an_authority().pem):
        with serving_tls(context, fine) as port, client(None, given) as http:
            url = f"https://{LOOPBACK}:{port}/"
            with pytest.raises(NoHttpAnswer, match="its certificate is not trusted"):
                once(partial(http.get, url))


def test_at_the_gateway_a_certificate_is_that_of_the_urls_own_name(authority: Authority, tmp_path: Path) -> None:
    context = authority.server_context(tmp_path, LOOPBACK)
    with serving_tls(context, fine, GATEWAY) as port, client(GATEWAY, authority.pem) as http:
        assert http.get(f"https://{LOOPBACK}:{port}/").text == "fine"


def test_at_the_gateway_a_certificate_of_another_name_is_refused(authority: Authority, tmp_path: Path) -> None:
    context = authority.server_context(tmp_path, GATEWAY)
    with (
        serving_tls(context, fine, GATEWAY) as port,
        client(GATEWAY, authority.pem) as http,
        pytest.raises(httpx.ConnectError),
    ):
        http.get(f"https://{LOOPBACK}:{port}/")
