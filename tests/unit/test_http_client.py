"""Proxies and certificate authorities of the environment, as every client of ours heeds them."""

import ssl
from pathlib import Path
from typing import Final

import certifi
import httpx
import pytest
from werkzeug import Request, Response

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from shared import trust
from shared.client import ControlPlane
from shared.client_errors import NoAnswer
from shared.http_client import open_client, proxy_of
from shared.settings import SettingsWrong
from tests.certificates import an_authority, serving_tls

CANARY: Final = "ly_canary"
PROXY: Final = "http://proxy.example:3128"
VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("no_proxy", "url", "asked"),
    [
        ("", "http://control-plane.example", True),
        ("*", "http://control-plane.example", False),
        ("control-plane.example", "http://control-plane.example", False),
        ("example", "http://control-plane.example", False),
        (".example", "http://control-plane.example", False),
        ("plane.example", "http://control-plane.example", True),
        ("CONTROL-plane.example", "http://control-plane.example", False),
        ("control-plane.example:8080", "http://control-plane.example:8080", False),
        ("control-plane.example:8080", "http://control-plane.example", True),
        ("control-plane.example:80", "http://control-plane.example", False),
        ("other.example, 10.0.0.0/8", "http://10.1.2.3", False),
        ("10.0.0.0/8", "http://11.1.2.3", True),
        ("fd00::/8", "http://[fd00::1]", False),
        ("fd00::/8", "http://control-plane.example", True),
        ("[fd00::1]", "http://[fd00::1]", False),
        ("[::1]", "http://control-plane.example", True),
        ("::::, /, [, %, a b", "http://control-plane.example", True),
        ("", "http://127.0.0.1:8080", False),
        ("", "http://127.1.2.3", False),
        ("", "http://localhost:8080", False),
        ("", "http://[::1]:8080", False),
    ],
)
def test_a_proxy_is_used_except_for_no_proxy_and_this_host(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, asked: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    open_client(url).close()

    assert (proxy_of(httpx.URL(url)) is not None) == asked


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", f"ftp://{CANARY}@x"),
        ("ALL_PROXY", f"socks5://user:{CANARY}@127.0.0.1:1080"),
        ("all_proxy", "socks5h://127.0.0.1:1080"),
        ("HTTPS_PROXY", f"http://{CANARY}@[::1"),
        ("HTTPS_PROXY", f"http://{CANARY}@a..b"),
        ("https_proxy", "http://proxy.example:99999"),
        ("HTTPS_PROXY", "http://"),
        ("HTTPS_PROXY", f"{CANARY} {CANARY}"),
    ],
)
def test_an_unusable_proxy_is_reported_by_its_variable_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsWrong) as wrong:
        ControlPlane("https://control-plane.example", "key")

    assert str(wrong.value).startswith(f"{variable.upper()}: ")
    assert "NO_PROXY" in str(wrong.value)
    assert CANARY not in str(wrong.value)
    monkeypatch.setenv("NO_PROXY", "control-plane.example")
    ControlPlane("https://control-plane.example", "key").close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    port = free_port()
    monkeypatch.setenv(f"{scheme}_proxy", f"http://user:{CANARY}@{LOOPBACK}:{port}")

    with ControlPlane(f"{scheme}://control-plane.invalid", "key") as api, pytest.raises(NoAnswer) as raised:
        api.get_order("order")

    assert f"the proxy http://{LOOPBACK}:{port} ({scheme.upper()}_PROXY) cannot be reached" in str(raised.value)
    assert CANARY not in str(raised.value)


def test_a_proxy_that_refuses_is_named_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: Request) -> Response:
        return Response(status=407)

    with serving_tls(None, refuse) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"{LOOPBACK}:{port}")
        with ControlPlane("https://control-plane.invalid", "key") as api, pytest.raises(NoAnswer) as raised:
            api.get_order("order")

    assert f"the proxy http://{LOOPBACK}:{port} (HTTPS_PROXY) refused with 407" in str(raised.value)


def test_a_request_goes_through_the_proxy_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_tls(None, lambda request: Response(f"for {request.host}")) as port:
        monkeypatch.setenv("http_proxy", f"http://{LOOPBACK}:{port}")
        with open_client("http://control-plane.invalid") as http:
            assert http.get("/").text == "for control-plane.invalid"


@pytest.mark.parametrize("kind", ["absent", "empty", "broken", "folder"])
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_authorities_that_cannot_be_read_are_reported_by_their_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, kind: str
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").write_text("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv(variable, str(tmp_path / kind))

    with pytest.raises(SettingsWrong, match=f"^{variable}: "):
        ControlPlane("https://control-plane.example", "key")
    with pytest.raises(SettingsWrong, match=f"^{variable}: "):
        trust.private_authorities()


def test_a_private_authority_is_trusted_and_handed_on_without_the_public_ones_and_without_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = an_authority()
    context = authority.server_context(tmp_path, LOOPBACK)  # whose file holds a private key
    file = tmp_path / "all.pem"
    file.write_text(Path(certifi.where()).read_text() + authority.pem + (tmp_path / "server.pem").read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    handed = trust.private_authorities() or ""

    assert handed.startswith(authority.pem.strip())
    assert handed.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in handed
    with (
        serving_tls(context, lambda request: Response("fine")) as port,
        open_client(f"https://{LOOPBACK}:{port}") as http,
    ):
        assert http.get("/").text == "fine"


def test_a_folder_of_authorities_is_read_as_openssl_reads_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority, other = an_authority(), an_authority()
    (tmp_path / "0123abcd.0").write_text(authority.pem)
    (tmp_path / "notes.pem").write_text(other.pem)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    assert trust.private_authorities() == authority.pem.strip()
    assert isinstance(trust.context(), ssl.SSLContext)


def test_without_the_variables_the_public_authorities_are_trusted_and_none_is_handed_on() -> None:
    assert trust.private_authorities() is None
    assert len(trust.context().get_ca_certs()) > 50
