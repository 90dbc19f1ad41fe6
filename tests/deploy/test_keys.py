"""`launchyard deploy key`, `keys` and `remove-key`, over the Firestore emulator."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from uuid import uuid4

import pytest
from google.api_core.exceptions import Forbidden, InvalidArgument, NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from google.cloud.firestore import Client
from typer.testing import CliRunner, Result

from deploy.commands import app
from deploy.google import DISABLED, LoggedOut
from deploy.keys import KeyRefused, add, new_key
from functions.adapters.firestore_keys import API_KEYS, FirestoreKeyStore
from functions.domain.access import KEY_PREFIX, Role, digest
from functions.domain.accounts import DEFAULT_SCOPE

Command = Callable[..., Result]


@pytest.fixture
def command(firestore_client: Client) -> Command:
    """Runs a command against an empty database."""

    def run(*words: str) -> Result:
        where = ("--project", firestore_client.project, "--database", "(default)")
        return CliRunner().invoke(app, [*words, *where], env={"COLUMNS": "200"})

    return run


@pytest.mark.emulator
@pytest.mark.parametrize("role", ["admin", "client", "launcher"])
def test_a_new_key_is_all_that_standard_output_has_and_only_its_digest_is_stored(
    command: Command, firestore_client: Client, role: str
) -> None:
    done = command("key", "--role", role, "--account", "operator")

    key = done.stdout.removesuffix("\n")
    assert done.exit_code == 0
    assert key.startswith(KEY_PREFIX)
    assert key.split() == [key]
    stored = FirestoreKeyStore(firestore_client).find(digest(key))
    assert stored is not None
    assert (stored.role, stored.account, stored.revocable) == (role, "operator", True)
    assert key not in done.stderr
    assert key not in str([document.to_dict() for document in firestore_client.collection(API_KEYS).stream()])


@pytest.mark.emulator
def test_the_environment_may_name_the_database_and_a_key_says_where_it_is(firestore_client: Client) -> None:
    where = {"GOOGLE_CLOUD_PROJECT": firestore_client.project, "LAUNCHYARD_DATABASE": "(default)"}

    done = CliRunner().invoke(app, ["key", "--role", "client", "--account", "acme"], env=where)

    assert done.exit_code == 0
    assert "in the database (default)" in done.stderr
    assert FirestoreKeyStore(firestore_client).find(digest(done.stdout.strip())) is not None


@pytest.mark.emulator
def test_keys_are_listed_by_digest_and_a_removed_one_is_gone(command: Command, firestore_client: Client) -> None:
    old, new = (command("key", "--role", "admin", "--account", "operator").stdout.strip() for _ in range(2))

    listed = json.loads(command("keys", "--json").stdout)["keys"]
    done = command("remove-key", digest(old)[:12])

    assert {one["digest"] for one in listed} == {digest(old), digest(new)}
    assert all(one["made"] for one in listed)
    assert done.exit_code == 0
    assert FirestoreKeyStore(firestore_client).find(digest(old)) is None
    assert FirestoreKeyStore(firestore_client).find(digest(new)) is not None


@pytest.mark.emulator
def test_a_table_of_keys_names_no_key(command: Command) -> None:
    key = command("key", "--role", "launcher", "--account", "rack-7", "--scope", "any").stdout.strip()

    shown = command("keys").stdout

    assert digest(key)[:12] in shown
    assert "rack-7" in shown
    assert key not in shown


@pytest.mark.emulator
def test_more_keys_than_one_page_are_all_listed(
    command: Command, firestore_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.keys.PAGE", 2)
    made = [command("key", "--role", "client", "--account", f"client-{number}").stdout.strip() for number in range(4)]

    listed = json.loads(command("keys", "--json").stdout)["keys"]

    assert {one["digest"] for one in listed} == {digest(key) for key in made}


@pytest.mark.emulator
def test_a_key_that_another_version_wrote_is_listed_and_can_be_removed(
    command: Command, firestore_client: Client
) -> None:
    other = digest("another version's")
    firestore_client.collection(API_KEYS).document(other).set({"role": "a role to come"})

    listed = json.loads(command("keys", "--json").stdout)["keys"]

    assert [(one["digest"], one["role"]) for one in listed] == [(other, "of another version")]
    assert command("remove-key", other[:8]).exit_code == 0


@pytest.mark.emulator
@pytest.mark.parametrize("prefix", ["0" * 12, "short", "NOT-HEX-AT-ALL"])
def test_a_digest_of_no_key_is_refused(command: Command, prefix: str) -> None:
    done = command("remove-key", prefix)

    assert (done.exit_code, done.stdout) == (1, "")
    assert "launchyard deploy keys" in done.stderr


@pytest.mark.emulator
def test_a_prefix_of_two_keys_removes_neither(command: Command, firestore_client: Client) -> None:
    for end in ("0", "1"):
        document = {"digest": "", "role": "client", "account": "a"}
        firestore_client.collection(API_KEYS).document("ab" * 31 + f"0{end}").set(document)

    done = command("remove-key", "ab" * 10)

    assert done.exit_code == 1
    assert "2 keys have" in done.stderr
    assert len(list(firestore_client.collection(API_KEYS).stream())) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidArgument("no such id"), "--database"),  # type: ignore[no-untyped-call]
        (NotFound("no database"), "--database"),  # type: ignore[no-untyped-call]
        (Forbidden("denied"), "roles/datastore.user"),  # type: ignore[no-untyped-call]
        (Forbidden("off", error_info=SimpleNamespace(reason=DISABLED)), "terraform apply"),  # type: ignore[no-untyped-call]
        (RefreshError("expired"), "gcloud auth application-default login"),  # type: ignore[no-untyped-call]
    ],
)
def test_what_firestore_refuses_is_told_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(FirestoreKeyStore, "add", refuse)
    _, key = new_key(Role.CLIENT, "acme", (), lambda _: uuid4().hex)
    client = Client(project="a-project", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]

    with pytest.raises((KeyRefused, LoggedOut), match=expected):
        add(client, key)


def test_a_launchers_key_excludes_what_needs_secrets_unless_its_scope_names_them() -> None:
    _, usual = new_key(Role.LAUNCHER, "rack-7", (), lambda _: uuid4().hex)
    _, trusted = new_key(Role.LAUNCHER, "rack-7", ("Any", "secrets", "any"), lambda _: uuid4().hex)
    _, client = new_key(Role.CLIENT, "rack-7", (), lambda _: uuid4().hex)

    assert usual.datacenters == DEFAULT_SCOPE
    assert trusted.datacenters == ("any", "secrets")
    assert client.datacenters == ()


@pytest.mark.parametrize(
    ("role", "account", "scope", "field"),
    [
        (Role.CLIENT, "", (), "--account"),
        (Role.CLIENT, "-", (), "--account"),
        (Role.CLIENT, "a/b", (), "--account"),
        (Role.CLIENT, "a" * 201, (), "--account"),
        (Role.CLIENT, "a", ("any",), "--scope"),
        (Role.LAUNCHER, "a", ("rack 7:",), "--scope"),
    ],
)
def test_a_key_that_would_be_of_no_use_is_refused_by_field(
    role: Role, account: str, scope: tuple[str, ...], field: str
) -> None:
    with pytest.raises(KeyRefused, match=field):
        new_key(role, account, scope, lambda _: uuid4().hex)
