"""The reasons why a server did not answer: in our words, with a remedy, and without parts of the request."""

import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest
from werkzeug import Request, Response

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from functions.apis.v1.views import order_view
from functions.domain.order import Output
from shared.client import ControlPlane
from shared.client_errors import NoAnswer, RequestWrong, Unreachable
from shared.domain.order import State
from shared.settings import SettingsWrong
from shared.trouble import explain
from tests.certificates import Authority, an_authority, serving_tls
from tests.factories import TASK, an_order

CANARY: Final = "ly_canary"


def kinds(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


@pytest.mark.parametrize("kind", [*kinds(httpx.HTTPError), httpx.InvalidURL], ids=lambda kind: kind.__name__)
def test_no_exception_of_the_http_library_is_repeated(kind: type[Exception]) -> None:
    error = Exception.__new__(kind, f"Illegal header value b'Bearer {CANARY}'")
    Exception.__init__(error, f"Illegal header value b'Bearer {CANARY}'")
    error.__cause__ = ValueError(f"Invalid header value b'{CANARY}'")

    assert CANARY not in explain(error)


def error_of(url: str) -> str:
    with ControlPlane(url, CANARY) as api, pytest.raises(Unreachable) as error:
        api.get_order("order")
    assert CANARY not in str(error.value)
    assert error.value.__cause__ is None
    assert "\n" not in str(error.value)
    return str(error.value)


def fine(request: Request) -> Response:
    return Response("fine")


@pytest.fixture
def authority() -> Authority:
    return an_authority()


def test_a_port_at_which_nothing_listens_is_explained() -> None:
    assert "nothing listens there: check the address and the port" in error_of(f"http://{LOOPBACK}:{free_port()}")


def test_an_unknown_name_is_explained() -> None:
    assert "its name " in error_of("http://no-such-host.invalid")


def test_an_untrusted_certificate_is_explained_with_the_variable_to_set(authority: Authority, tmp_path: Path) -> None:
    with serving_tls(authority.server_context(tmp_path, LOOPBACK), fine) as port:
        message = error_of(f"https://{LOOPBACK}:{port}")

    assert "unable to get local issuer certificate" in message
    assert "SSL_CERT_FILE" in message


@pytest.mark.parametrize(
    ("address", "ends", "message"),
    [(LOOPBACK, timedelta(days=-1), "expired"), ("192.0.2.1", timedelta(days=1), "a name that it is made out to")],
)
def test_a_certificate_of_another_time_or_name_is_explained(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, ends: timedelta, message: str
) -> None:
    (tmp_path / "ca.pem").write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with serving_tls(authority.server_context(tmp_path, address, ends=ends), fine) as port:
        assert message in error_of(f"https://{LOOPBACK}:{port}")


def test_https_to_a_server_without_tls_is_explained() -> None:
    with serving_tls(None, fine) as port:
        assert "whether it is http://" in error_of(f"https://{LOOPBACK}:{port}")


def test_http_to_a_server_of_tls_is_explained(authority: Authority, tmp_path: Path) -> None:
    with serving_tls(authority.server_context(tmp_path, LOOPBACK), fine) as port:
        assert "http:// or https://" in error_of(f"http://{LOOPBACK}:{port}")


def test_a_server_that_closes_the_connection_is_explained() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        with ControlPlane(f"http://{LOOPBACK}:{port}", CANARY) as api:
            listener.close()
            with pytest.raises(NoAnswer, match="check"):
                api.get_order("order")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_explained_with_its_target(status: int) -> None:
    def elsewhere(request: Request) -> Response:
        return Response(status=status, headers={"Location": f"https://real.example{request.path}?token={CANARY}"})

    with serving_tls(None, elsewhere) as port:
        message = error_of(f"http://{LOOPBACK}:{port}")

    assert message.startswith(f"http://{LOOPBACK}:{port} redirects to https://real.example ({status})")


def test_an_address_that_redirects_is_not_taken_for_an_outputs_bucket(tmp_path: Path) -> None:
    def elsewhere(request: Request) -> Response:
        return Response(status=307, headers={"Location": f"https://real.example{request.path}"})

    output = Output(key="k", file_name="f", content_type="text/plain", size=1, sha256="0" * 64)
    order = order_view(an_order(state=State.SUCCEEDED, output=output))
    with (
        serving_tls(None, elsewhere) as port,
        ControlPlane(f"http://{LOOPBACK}:{port}", CANARY) as api,
        pytest.raises(Unreachable, match=r"redirects to https://real\.example \(307\)"),
    ):
        api.download_output(order, tmp_path / "f")


def test_a_redirect_to_the_same_server_is_explained_as_another_service() -> None:
    with serving_tls(None, lambda request: Response(status=302, headers={"Location": "/v1/orders/order"})) as port:
        assert "something else answers there" in error_of(f"http://{LOOPBACK}:{port}")


@pytest.mark.parametrize("text", [f"{CANARY}\n{CANARY}", f"“{CANARY}”", f"{CANARY}\x00", f"{CANARY} ", "ключ"])
def test_a_key_that_no_header_carries_keeps_a_client_from_being_made(text: str) -> None:
    with pytest.raises(SettingsWrong) as wrong:
        ControlPlane("http://127.0.0.1:9", text)
    assert CANARY not in str(wrong.value)

    with ControlPlane("http://127.0.0.1:9", "key") as api, pytest.raises(RequestWrong) as refused:
        api.create_order(TASK, text)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("order_id", ["", ".", "..", "../accounts", "a/b", "a?b", "id\r", "заказ", "x" * 129])
def test_an_invalid_order_id_is_never_put_into_a_path(order_id: str) -> None:
    with ControlPlane(f"http://{LOOPBACK}:9", "key") as api:
        for call in (api.get_order, api.cancel_order, api.requeue_order, api.purge_order):
            with pytest.raises(RequestWrong):
                call(order_id)


def test_an_error_without_an_explanation_is_named_by_its_class() -> None:
    assert explain(ssl.SSLError(1, CANARY)) == "the TLS handshake failed (SSLError)"
    assert explain(RuntimeError(CANARY)) == "RuntimeError"
