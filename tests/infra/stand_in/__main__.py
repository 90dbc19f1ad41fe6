"""Runs one stand-in as a plugin of Terraform: `python -m tests.infra.stand_in google SCHEMA_FILE`.

Terraform starts it, reads one line with the socket and the certificate, and connects. It ends when Terraform says so,
or is gone.
"""

import base64
import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from tests.infra.stand_in.aws import AWS
from tests.infra.stand_in.google import GOOGLE
from tests.infra.stand_in.schema import parse
from tests.infra.stand_in.server import Provider

RULES: Final = {"aws": AWS, "google": GOOGLE}
CORE_PROTOCOL: Final = 1
PLUGIN_PROTOCOL: Final = 6


def main() -> None:
    """Serve until Terraform stops the plugin."""
    name, schema = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Terraform handles Ctrl-C, and then stops its plugins
    terraform = os.getppid()
    provider = Provider(parse(Path(schema).read_text(encoding="utf-8")), RULES[name])
    key, certificate = _identity()
    with tempfile.TemporaryDirectory() as folder:  # a socket's path has at most 107 bytes
        server = grpc.server(ThreadPoolExecutor(4), handlers=[provider])
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        server.add_secure_port(f"unix:{folder}/s", grpc.ssl_server_credentials([(key, pem)]))
        server.start()
        der = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode().rstrip("=")
        sys.stdout.write(f"{CORE_PROTOCOL}|{PLUGIN_PROTOCOL}|unix|{folder}/s|grpc|{der}\n")
        sys.stdout.flush()
        while not provider.stopped.wait(1) and os.getppid() == terraform:
            pass
        server.stop(0.1).wait()


def _identity() -> tuple[bytes, x509.Certificate]:
    """Return a key (PEM) and the certificate that Terraform trusts for this one run."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate


if __name__ == "__main__":
    main()
