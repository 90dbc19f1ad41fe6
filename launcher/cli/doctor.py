"""`launchyard launcher doctor`: shows what this host has, what it lacks, and what to do about it."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launcher.host.checks.host import Case, Host
from launcher.host.checks.registry import CheckResult, Verdict, examine, missing
from launcher.host.hypervisor import QemuMode
from launcher.host.probe import TDX_PARAMETER, QemuChoice, TrialImpossible, choose, has_tdx
from launcher.orders.session_settings import SessionSettings
from launcher.providers.qemu.provider import takes
from launcher.providers.qemu.settings import HostSettings
from launcher.settings import ProviderName, twins
from shared.address import ControlPlaneUrl
from shared.domain.spec import NodeSize
from shared.exit_codes import FAILED, USAGE
from shared.settings import Location, SettingsWrong, read
from shared.wire.base import Sha256

READY: Final = 0
STYLES: Final = {Verdict.OK: "green", Verdict.MISSING: "red", Verdict.UNNEEDED: "dim"}


class DoctorSettings(HostSettings, SessionSettings):
    """The launcher's settings that describe a host. Each may be missing."""

    url: ControlPlaneUrl | None = Field(None, validation_alias=twins("URL", "CP_URL"))
    state_dir: Location = Path("/var/lib/launchyard")
    image: Location | None = None
    image_digest: Sha256 | None = None
    provider: ProviderName = ProviderName.QEMU

    @property
    def reached_urls(self) -> tuple[str, ...]:
        return () if self.url is None else (self.url,)


def doctor(
    mode: Annotated[
        QemuChoice, typer.Option(help="The mode to check; auto: the best that this host can run.")
    ] = QemuChoice.TDX,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this host. Exit 0 if it can run machines in this mode, 1 if something is missing.

    It reads the launcher's settings, all of which may be missing.
    """
    try:
        case = case_of(read(DoctorSettings), mode)
    except SettingsWrong as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    results = examine(case)
    if as_json:
        typer.echo(json.dumps(document(case.mode, results), indent=2))
    else:
        show(case.mode, results)
    raise typer.Exit(FAILED if missing(results) else READY)


def case_of(settings: DoctorSettings, asked: QemuChoice) -> Case:
    host = Host(settings.hypervisor)
    mode = _mode(host, asked)
    here = settings.provider is ProviderName.PROCESS  # in a machine, the executor and the directories are the guest's
    sizes = {size.value: takes(settings.sizes.of_node(size), mode, settings.machine_disk_mib) for size in NodeSize}
    return Case(
        host=host,
        mode=mode,
        in_machines=not here,
        gpus=settings.llm_gpus,
        sizes=sizes,
        memory_mib=settings.memory_mib,
        vcpus=settings.vcpus,
        state=settings.state_dir,
        image=settings.image,
        image_digest=settings.image_digest,
        url=settings.url,
        executor=settings.executor if here else (),
        project_dirs=settings.allowed_dirs if here and settings.executor else (),
    )


def document(mode: QemuMode, results: tuple[CheckResult, ...]) -> dict[str, object]:
    checks = [
        {
            "name": result.check.name,
            "verdict": result.verdict,
            "found": result.finding.found,
            "needed": result.finding.needed,
            "to_do": result.finding.to_do,
        }
        for result in results
    ]
    return {"mode": mode, "ready": not missing(results), "checks": checks}


def show(mode: QemuMode, results: tuple[CheckResult, ...]) -> None:
    out = Console(highlight=False)
    table = Table("check", "", "found", box=None)
    for result in results:
        style = STYLES[result.verdict]
        table.add_row(result.check.name, f"[{style}]{result.verdict}[/]", escape(result.finding.found))
    out.print(table)
    lacking = missing(results)
    for result in lacking:
        finding = result.finding
        out.print(f"\n{result.check.name}: {finding.found}", style="red", markup=False, soft_wrap=True)
        out.print(f"  needed: {finding.needed}\n  to do: {finding.to_do}", markup=False, soft_wrap=True)
    out.print(f"\nMode {mode}: {f'{len(lacking)} missing' if lacking else 'ready'}.")


def _mode(host: Host, asked: QemuChoice) -> QemuMode:
    if asked is not QemuChoice.AUTO:
        return QemuMode(asked)
    try:
        kvm = host.boots(QemuMode.KVM, host.hypervisor)
    except TrialImpossible:  # the row of the remaining mode shows that
        kvm = False
    return choose(asked, kvm, has_tdx(host.path(TDX_PARAMETER)))
