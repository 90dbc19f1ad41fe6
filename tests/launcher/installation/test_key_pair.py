"""A host with a key pair: its private key comes from a file of the host, and is in no output and no message."""

from pathlib import Path
from typing import Any, Final

import google.auth
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from emulators.fakes.trust_authority import any_key
from launcher.installation.files import CREDENTIALS, write
from launcher.installation.plan import CannotInstall, InstallationPlan, InstallRequest, prepare
from tests.launcher.installation.hosts import KEY_PAIR_DOCUMENT, SUBSCRIPTION, HostRoot, a_host, a_pool
from tests.launcher.tdx_host import write as write_text

OPEN: Final = NoEncryption()


@pytest.fixture
def host(tmp_path: Path) -> HostRoot:
    return a_host(tmp_path / "root")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_text(tmp_path / "key.pem", pem())


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None, how: KeySerializationEncryption = OPEN
) -> str:
    return (key or any_key()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


def asked(host: HostRoot, private_key: Path | None = None, **changes: str) -> InstallRequest:
    return host.request(a_pool({**KEY_PAIR_DOCUMENT, **changes}), private_key=private_key)


def planned(request: InstallRequest) -> InstallationPlan:
    return prepare(request, lambda _: None)


def problem(request: InstallRequest) -> str:
    with pytest.raises(CannotInstall) as caught:
        planned(request)
    (found,) = caught.value.problems
    return found


def test_the_private_key_completes_the_pools_credentials_in_a_file_that_only_root_may_read(
    host: HostRoot, key: Path
) -> None:
    plan = planned(asked(host, key))
    write(host.root, plan.files)

    assert host.credentials == {**KEY_PAIR_DOCUMENT, "private_key": pem()}
    assert host.at(CREDENTIALS).stat().st_mode & 0o777 == 0o600
    assert pem() not in host.settings


def test_googles_library_takes_the_installed_credentials_without_asking_anybody(
    host: HostRoot, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(host.root, planned(asked(host, key)).files)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(host.at(CREDENTIALS)))
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

    credentials: Any
    credentials, project = google.auth.default()

    assert (credentials.service_account_email, project) == (
        KEY_PAIR_DOCUMENT["client_email"],
        SUBSCRIPTION.split("/")[1],
    )


def test_a_first_installation_without_the_key_is_told_of_the_option(host: HostRoot) -> None:
    assert problem(asked(host)).startswith("--private-key-file is missing: ")


def test_a_later_installation_keeps_the_key_unless_the_pool_has_another_pair(host: HostRoot, key: Path) -> None:
    write(host.root, planned(asked(host, key)).files)
    key.unlink()

    again = planned(asked(host))
    assert all(file.is_at(host.root) for file in again.files)
    moved = planned(asked(host, token_uri="https://oauth2.example/token"))
    assert pem().splitlines()[1].encode() in moved.files[0].content
    assert "--private-key-file is missing" in problem(asked(host, private_key_id="fedcba9876543210"))


@pytest.mark.parametrize("credentials", ["CREDENTIALS", "nothing"])
def test_a_key_that_the_pool_has_no_use_for_is_refused(host: HostRoot, key: Path, credentials: str) -> None:
    pool = a_pool() if credentials == "CREDENTIALS" else a_pool(None)

    assert problem(host.request(pool, private_key=key)).startswith("--private-key-file is not needed: ")


@pytest.mark.parametrize(
    "text",
    [
        "a-secret-value",
        pem().replace("PRIVATE KEY", "CERTIFICATE"),
        pem()[: len(pem()) // 2],
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(how=BestAvailableEncryption(b"a password")),
    ],
    ids=["text", "certificate", "cut off", "elliptic curve", "encrypted"],
)
def test_a_file_that_is_no_usable_private_key_is_refused_by_its_name_alone(
    host: HostRoot, tmp_path: Path, text: str
) -> None:
    file = write_text(tmp_path / "key.pem", text)

    found = problem(asked(host, file))

    assert found.startswith(f"--private-key-file: {file} is not the private key of an RSA pair")
    assert not any(line in found for line in text.splitlines())


def test_a_file_that_cannot_be_read_is_refused_by_its_name(host: HostRoot, tmp_path: Path) -> None:
    binary = tmp_path / "key.der"
    binary.write_bytes(b"\x82\xff")

    assert "cannot be read (No such file or directory)" in problem(asked(host, tmp_path / "nothing"))
    assert "cannot be read (it is not PEM)" in problem(asked(host, binary))
