"""The certificate authorities to trust: those of SSL_CERT_FILE, or else of SSL_CERT_DIR, or else the public ones.

It reads these variables as httpx and OpenSSL do, but an error names the variable.
"""

import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import certifi

from shared.settings import SettingsWrong

FILE: Final = "SSL_CERT_FILE"
FOLDER: Final = "SSL_CERT_DIR"
CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""The file names that OpenSSL reads in such a folder: openssl-rehash(1)."""


def context() -> ssl.SSLContext:
    """Return a context that trusts the environment's authorities, in the same way on every Python.

    From 3.13 on Python refuses chains whose authorities lack what RFC 5280 demands, such as a key identifier. Many
    private authorities lack it, so an update of Python would disconnect a launcher. Raises SettingsWrong.
    """
    trusted = _trusting()
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return trusted


def _trusting() -> ssl.SSLContext:
    named = _named()
    if named is None:
        return ssl.create_default_context(cafile=certifi.where())
    variable, path = named
    try:
        return ssl.create_default_context(cadata="\n".join(_certificates(variable, path)))
    except (ssl.SSLError, ValueError):
        raise SettingsWrong(f"{variable}: {path} holds a certificate that cannot be read") from None


def trust_none() -> ssl.SSLContext:
    """Return a context without authorities, for servers that are never called over TLS: reading them takes time."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def private_authorities() -> str | None:
    """Return the authorities that the environment adds to the public ones, as PEM, or None.

    Raises SettingsWrong.
    """
    named = _named()
    if named is None:
        return None
    context()
    public = {ssl.PEM_cert_to_DER_cert(one) for one in CERTIFICATE.findall(Path(certifi.where()).read_text("ascii"))}
    private = [one for one in _certificates(*named) if ssl.PEM_cert_to_DER_cert(one) not in public]
    return "\n".join(private) or None


def _named() -> tuple[str, Path] | None:
    """Return the variable that is set, and the path that it names."""
    for variable in (FILE, FOLDER):
        if path := os.environ.get(variable, "").strip():
            return variable, Path(path)
    return None


def _certificates(variable: str, path: Path) -> list[str]:
    """Return each certificate in the files once. Raises SettingsWrong."""
    try:
        found = [one for file in _files(variable, path) for one in CERTIFICATE.findall(file.read_text("latin-1"))]
    except OSError as error:
        raise SettingsWrong(f"{variable}: {path} cannot be read: {error.strerror}") from None
    if not found:
        raise SettingsWrong(f"{variable}: {path} holds no certificate (PEM); correct it, or unset it")
    return list(dict.fromkeys(found))


def _files(variable: str, path: Path) -> Iterator[Path]:
    if variable == FILE:
        yield path
        return
    yield from sorted(file for file in path.iterdir() if HASHED.fullmatch(file.name))
