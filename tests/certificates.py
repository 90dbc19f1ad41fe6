"""A private certificate authority, and a TLS server with a certificate of its.

They have no key identifiers, as many private ones.
"""

import ipaddress
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from werkzeug import Request, Response
from werkzeug.serving import make_server

LIFE: Final = timedelta(days=30)
NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of a test's own")])


@dataclass(frozen=True)
class Authority:
    """`pem` is its certificate."""

    key: ec.EllipticCurvePrivateKey
    pem: str

    def server_context(self, folder: Path, *addresses: str, ends: timedelta = LIFE) -> ssl.SSLContext:
        """Return the context of a server whose certificate is made out to these IP addresses, until `ends` from now."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(one)) for one in addresses])
        made = (
            x509.CertificateBuilder(NAME, x509.Name([]), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - 2 * LIFE)
            .not_valid_after(now + ends)
            .add_extension(names, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        file = folder / "server.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(private + made.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def an_authority() -> Authority:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(NAME, NAME, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 3 * LIFE)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, made.public_bytes(Encoding.PEM).decode())


@contextmanager
def serving_tls(
    context: ssl.SSLContext | None, answer: Callable[[Request], Response], host: str = "127.0.0.1"
) -> Iterator[int]:
    """A server with this context, without TLS if there is none; yield its port."""
    server = make_server(host, 0, Request.application(answer), threaded=True, ssl_context=context)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
