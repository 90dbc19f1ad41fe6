"""`launchyard launcher install` and `uninstall`: makes this host one of a pool's, and takes it out again."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from launcher.cli import doctor
from launcher.host.checks.registry import examine, missing
from launcher.installation import files
from launcher.installation.environment import EnvironmentUnclear
from launcher.installation.plan import KEY, CannotInstall, InstallationPlan, InstallRequest, installed, prepare
from launcher.installation.service import MachinesRun, NotActive, Service, ServiceFailed, missing_for_a_service
from launcher.installation.variables import read_from
from launcher.settings import Cloud, LauncherSettings, ProviderName
from shared.client import ControlPlane
from shared.client_errors import ControlPlaneError
from shared.exit_codes import FAILED, USAGE
from shared.settings import SettingsWrong

HERE: Final = Path("/")
PROGRAM: Final = "launchyard"

Root = Annotated[Path | None, typer.Option(help="Another root directory, such as an image's; nothing is started then.")]


def install(
    config: Annotated[Path, typer.Argument(help="What `terraform output -json launcher_config` wrote.")],
    pool: Annotated[str, typer.Option(help="The pool of the file that this host joins.")],
    name: Annotated[str, typer.Option(help="This launcher's name, which no other launcher of the account has.")],
    image: Annotated[Path | None, typer.Option(help="The guest image's directory, an absolute path.")] = None,
    image_digest: Annotated[str | None, typer.Option(help="Its digest: 64 hexadecimal digits.")] = None,
    private_key: Annotated[
        Path | None,
        typer.Option("--private-key-file", help="The file of the host's private key, if the pool has a public_key."),
    ] = None,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the launcher's key from standard input.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the control plane about the key.")] = False,
    root: Root = None,
) -> None:
    """Install the launcher as a service of this host, start it, and check the host. As root; run it again to update.

    The launcher's key is never an argument: it is read from LAUNCHYARD_LAUNCHER_KEY, or standard input, or is the
    installed one, or is asked for.

    Exit 0 if all is done, 1 if something is left to do, 2 if something is wrong and nothing was written.
    """
    lacking = tuple(missing_for_a_service()) if root is None else ()
    host = (root or HERE).absolute()
    request = InstallRequest(
        config,
        pool,
        name,
        _key(key_stdin, host),
        program(),
        Path(sys.executable),
        image,
        image_digest,
        private_key,
        host,
        running=root is None,
    )
    try:
        plan = prepare(request, lambda settings: None if offline else refusal(settings))
    except CannotInstall as refused:
        _refuse((*lacking, *refused.problems))
    if lacking:
        _refuse(lacking)
    try:
        done = carry_out(plan, host, None if root is not None else Service())
    except (NotActive, ServiceFailed) as failed:
        typer.echo(f"The launcher is installed, and does not run. {failed}", err=True)
        raise typer.Exit(FAILED) from None
    if root is None and plan.can_start:
        done = host_is_ready(plan) and done
    raise typer.Exit(0 if done else FAILED)


def uninstall(root: Root = None) -> None:
    """Stop the launcher once it has drained, and remove what `install` wrote. Its state directory stays.

    Exit 0 if that is done, 1 if machines still run: the files stay then, as one of them keeps machines from this host.
    """
    if lacking := tuple(missing_for_a_service()) if root is None else ():
        _refuse(lacking)
    try:
        removed = take_out((root or HERE).absolute(), Service() if root is None else None)
    except (MachinesRun, ServiceFailed) as failed:
        typer.echo(str(failed), err=True)
        raise typer.Exit(FAILED) from None
    for path in removed:
        typer.echo(f"removed {path}")
    typer.echo("The state directory stays." if removed else "Nothing was installed.")


def carry_out(plan: InstallationPlan, root: Path, service: Service | None) -> bool:
    """Write the plan's files, and start the service if there is one. Return whether nothing is left to do.

    Raises ServiceFailed, NotActive, OSError.
    """
    outdated = [file for file in plan.files if not file.is_at(root)]
    obsolete = [path for path in plan.obsolete if files.inside(root, path).exists()]
    changes = bool(outdated or obsolete)
    if changes and service is not None:
        files.begin(root)
    files.write(root, outdated)
    for file in outdated:
        typer.echo(f"wrote {file.path} ({file.mode:04o})")
    for path in files.unlink(root, obsolete):
        typer.echo(f"removed {path}")
    for verb, names in (("added", plan.added), ("changed", plan.changed), ("removed", plan.removed)):
        if names:
            typer.echo(f"{verb}: {', '.join(names)}")
    if not changes:
        typer.echo("Nothing has changed.")
    if service is not None:
        service.reload()  # always: an installation before this one may have been interrupted here
    if service is not None and plan.can_start:
        service.start(anew=files.is_unfinished(root))
        files.finish(root)
        typer.echo(f"{files.UNIT} is active.")
    for note in plan.notes:
        typer.echo(note)
    return plan.can_start


def take_out(root: Path, service: Service | None) -> tuple[Path, ...]:
    """Stop the service if there is one, remove the files, and return them. Raises ServiceFailed, MachinesRun."""
    if service is not None and files.inside(root, files.UNITS / files.UNIT).exists():
        service.stop()
    removed = files.remove(root)
    if service is not None:
        service.reload()
    return removed


def refusal(settings: LauncherSettings) -> str | None:
    """Return why the control plane accepts no requests of this launcher; None if it does."""
    try:
        with ControlPlane(settings.url, settings.launcher_key.get_secret_value()) as control_plane:
            control_plane.holds(settings.launcher_name)
    except SettingsWrong as wrong:
        return str(wrong)
    except ControlPlaneError as error:
        return f"{settings.url} does not accept this launcher: {error} (--offline leaves this check out)"
    return None


def host_is_ready(plan: InstallationPlan) -> bool:
    """Show what the doctor says of this host if it is to run machines. Return whether nothing is missing."""
    if Cloud.BAREMETAL not in plan.settings.providers or plan.settings.provider is not ProviderName.QEMU:
        return True
    case = doctor.case_of(read_from(doctor.DoctorSettings, plan.variables), plan.settings.qemu_mode)
    results = examine(case)
    doctor.show(case.mode, results)
    return not missing(results)


def program() -> Path:
    """Return the path of the program that runs this command: what the unit is to start."""
    started = Path(sys.argv[0])
    if started.name == PROGRAM and os.access(started, os.X_OK):
        return started.absolute()
    return Path(sys.executable).with_name(PROGRAM)


def _key(from_stdin: bool, root: Path) -> str | None:
    """Return the launcher's key; None if the installed one stays."""
    if from_stdin:
        return sys.stdin.readline().strip()
    if given := os.environ.get(KEY, "").strip():
        return given
    try:
        kept = installed(root)
    except EnvironmentUnclear:  # which is reported with all else that is wrong
        return None
    if kept is not None and kept.variables.get(KEY):
        return None
    return typer.prompt("The launcher's key", hide_input=True).strip() if sys.stdin.isatty() else None


def _refuse(problems: tuple[str, ...]) -> NoReturn:
    typer.echo("Nothing was written:", err=True)
    for problem in problems:
        typer.echo(f"  - {problem}", err=True)
    raise typer.Exit(USAGE)
