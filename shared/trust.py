"""Which certificate authorities are trusted: those of SSL_CERT_FILE, or of SSL_CERT_DIR, else the public ones.

As httpx and OpenSSL read these variables; but what is wrong with them is told by their names.
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
"""The names in such a folder that OpenSSL looks at: openssl-rehash(1)."""


def context() -> ssl.SSLContext:
    """Return a context that trusts whom the environment says, on every Python alike. Raises SettingsWrong.

    From 3.13 on Python refuses chains that lack what RFC 5280 demands of authorities and many private ones leave out,
    such as a key identifier: an update of Python would cut a launcher off.
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


def nobody() -> ssl.SSLContext:
    """Return a context that trusts nobody, for what is never asked over TLS: reading authorities takes a while."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def private_authorities() -> str | None:
    """Return what the environment has trusted beyond the public authorities, as PEM; None: nothing.

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
    """Return the variable that is set, and what it names."""
    for variable in (FILE, FOLDER):
        if path := os.environ.get(variable, "").strip():
            return variable, Path(path)
    return None


def _certificates(variable: str, path: Path) -> list[str]:
    """Return each certificate once, and nothing else that the files hold. Raises SettingsWrong."""
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
