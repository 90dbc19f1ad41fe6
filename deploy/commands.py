"""`launchyard deploy`: checks a live project, and makes, lists and removes the keys of its control plane."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.settings import DATABASE, NAME, DeploySettings
from shared.exit_codes import FAILED, USAGE
from shared.settings import SettingsWrong, read

if TYPE_CHECKING:
    from google.cloud.firestore import Client

app = typer.Typer(help="Check a deployment in Google Cloud, and manage its API keys.", no_args_is_help=True)

Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="The project's id.")]
Database = Annotated[str, typer.Option(envvar="LAUNCHYARD_DATABASE", help="The id of the Firestore database.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class KeyRole(StrEnum):
    """The roles of keys without an account of the capacity contract."""

    ADMIN = "admin"
    CLIENT = "client"
    LAUNCHER = "launcher"


@app.command()
def check(
    project: Project,
    region: Annotated[str, typer.Option(help="The region of the functions.")],
    name: Annotated[str, typer.Option(help="The first part of the resources' names (Terraform's `name`).")] = NAME,
    outputs: Annotated[
        Path | None,
        typer.Option(help="What `terraform output -json` wrote. Without it, what exists shows what else must."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name all that a live project lacks, or has too much of.

    It changes nothing, and reads no secret. Exit 0 if all is there, 1 if something is not, 2 if it cannot check. With
    the roles roles/viewer and roles/iam.securityReviewer it sees everything.
    """
    from rich.console import Console

    from deploy import report
    from deploy.check import check as look_at
    from deploy.credentials import find
    from deploy.data import read_data, read_outputs
    from deploy.deployment import DeploymentTarget
    from deploy.google import Endpoints, Google

    with _explained():
        settings = read(DeploySettings)
        data, given = read_data(), None if outputs is None else read_outputs(outputs)
        emulators = {"pubsub": f"http://{settings.pubsub_emulator}"} if settings.pubsub_emulator else {}
        google = Google(find(project), Endpoints(settings.google_endpoint, emulators))
        try:
            rows = look_at(google, DeploymentTarget(project, region, name), data, given)
        finally:
            google.close()
    if as_json:
        typer.echo(json.dumps(report.document(rows), indent=2))
    else:
        report.show(rows, Console(highlight=False))
    raise typer.Exit(report.exit_code(rows))


@app.command()
def key(
    project: Project,
    role: Annotated[KeyRole, typer.Option(help="What the key may do.")],
    account: Annotated[str, typer.Option(help="Whose key it is: whose orders, or whose launchers.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a launcher's key, more than once: a cloud, a datacenter, `*`, `any` or `secrets`. "
            "Default: `*` and `any`."
        ),
    ] = None,
    database: Database = DATABASE,
) -> None:
    """Make an API key, and print it once: only its digest is stored.

    It writes the database directly, with your own credentials, which need roles/datastore.user.
    """
    from deploy import keys
    from functions.domain.access import Role

    with _explained():
        made, stored = keys.new_key(Role(role), account, scope or (), secrets.token_urlsafe)
        with _firestore(project, database) as client:
            keys.add(client, stored)
    shown = f"digest {stored.digest[: keys.SHOWN]}, in the database {database}"
    typer.echo(f"A key of the role {role} for {account}, {shown}:", err=True)
    typer.echo(made)


@app.command(name="keys")
def list_keys(project: Project, database: Database = DATABASE, as_json: AsJson = False) -> None:
    """List the API keys: their digests, roles, accounts and scopes. No key can be read back."""
    from rich.console import Console
    from rich.table import Table

    from deploy import keys

    with _explained(), _firestore(project, database) as client:
        found = keys.stored(client)
    documents = [keys.document(one) for one in found]
    if as_json:
        typer.echo(json.dumps({"keys": documents}, indent=2))
        return
    table = Table("digest", "role", "account", "scope", "made", box=None)
    for one in documents:
        table.add_row(one["digest"][: keys.SHOWN], one["role"], one["account"], ", ".join(one["scope"]), one["made"])
    Console(highlight=False, markup=False).print(table)


@app.command()
def remove_key(
    project: Project,
    digest: Annotated[str, typer.Argument(help="The first 8 or more characters of the key's digest.")],
    database: Database = DATABASE,
) -> None:
    """Remove an API key. It is refused from then on."""
    from deploy import keys

    with _explained(), _firestore(project, database) as client:
        gone = keys.document(keys.remove(client, digest))
    what = f"the key {gone['digest'][: keys.SHOWN]} of the role {gone['role']} for {gone['account']}"
    typer.echo(f"Removed {what} from the database {database}.")


@contextmanager
def _firestore(project: str, database: str) -> "Iterator[Client]":
    """Yield a client with the operator's credentials, or of the emulator."""
    from google.cloud.firestore import Client

    from deploy.credentials import find

    emulated = read(DeploySettings).firestore_emulator is not None
    client = Client(project=project, database=database, credentials=None if emulated else find(project).credentials)
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]


@contextmanager
def _explained() -> Iterator[None]:
    """Print what went wrong, and exit: with 2 if there are no credentials or a setting is wrong, else with 1.

    Repeated requests are not logged: standard output is for the key, or for JSON.
    """
    from stamina.instrumentation import set_on_retry_hooks

    from deploy.google import LoggedOut
    from deploy.keys import KeyRefused

    set_on_retry_hooks(())
    try:
        yield
    except (LoggedOut, SettingsWrong) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    except KeyRefused as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from None
