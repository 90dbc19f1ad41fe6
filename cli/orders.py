"""`launchyard order …`: create, read, watch and cancel orders, and requeue or purge failed ones."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import typer

from cli import view
from cli.results import Folder, download, follow
from cli.settings import open_control_plane
from shared.domain.order import State
from shared.domain.spec import (
    AnySpec,
    CapacitySpec,
    CheimarrosMode,
    ExportOptions,
    ExportSpec,
    LogLevel,
    NodeSize,
    OrderKind,
    SecretName,
    TaskSpec,
)
from shared.exit_codes import FAILED
from shared.wire.orders import LimitsRequest

app = typer.Typer(help="Create, read, watch and cancel orders, and requeue or purge failed ones.", no_args_is_help=True)
create = typer.Typer(help="Place an order.", no_args_is_help=True)
app.add_typer(create, name="create")

OrderId = Annotated[str, typer.Argument(help="The order's id.", parser=str.strip)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the control plane's answer as JSON.")]
Key = Annotated[
    str | None,
    typer.Option("--key", "--idempotency-key", help="Idempotency key: using it again returns the same order."),
]
BootTimeout = Annotated[float | None, typer.Option(help="Seconds from the claim until the worker must report.")]
RunTimeout = Annotated[float | None, typer.Option(help="Seconds that the worker may run.")]
Ttl = Annotated[float | None, typer.Option(help="Seconds to keep the machine. Default: until you cancel the order.")]
QueueTtl = Annotated[float | None, typer.Option(help="Seconds that the order may wait for a launcher.")]
Retention = Annotated[float | None, typer.Option(help="Seconds to keep the output after the order has ended.")]
NotBefore = Annotated[
    datetime | None,
    typer.Option(help="The earliest time to start the order, in UTC.", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]),
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the order to end.", min=1)]


@create.command("capacity")
def create_capacity(
    datacenter: Annotated[str, typer.Argument(help="The datacenter, such as local:dev or baremetal:rack-7.")],
    node_size: Annotated[NodeSize, typer.Argument(help="The machine's size.")],
    queue_ttl: QueueTtl = None,
    boot_timeout: BootTimeout = None,
    ttl: Ttl = None,
    not_before: NotBefore = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Order a long-lived machine of a node size in a datacenter."""
    limits = LimitsRequest(queue_ttl_seconds=queue_ttl, boot_timeout_seconds=boot_timeout, ttl_seconds=ttl)
    _place(CapacitySpec(datacenter=datacenter, node_size=node_size), limits, not_before, key, as_json)


@create.command("export")
def create_export(
    pi: Annotated[str, typer.Argument(help="The entity's 26-character identifier.")],
    ocr: Annotated[bool, typer.Option(help="Include the pages' OCR text.")] = True,
    cheimarros: Annotated[
        CheimarrosMode, typer.Option(help="How much of the knowledge graph to write.")
    ] = CheimarrosMode.FULL,
    queue_ttl: QueueTtl = None,
    boot_timeout: BootTimeout = None,
    run_timeout: RunTimeout = None,
    retention: Retention = None,
    not_before: NotBefore = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Order the MODS 3.8 record of one entity."""
    spec = ExportSpec(pi=pi, options=ExportOptions(include_ocr=ocr, cheimarros_mode=cheimarros))
    _place(spec, _limits(queue_ttl, boot_timeout, run_timeout, retention), not_before, key, as_json)


@create.command("task")
def create_task(
    command: Annotated[
        list[str] | None, typer.Argument(help="The command and its arguments, after `--`; or name an image.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="The image whose entry point to run.")] = None,
    project: Annotated[str, typer.Option(help="The project's id, which the program finds as PROJECT_ID.")] = "",
    region: Annotated[str | None, typer.Option(help="The region of the image's machine, such as ord.")] = None,
    log_level: Annotated[LogLevel, typer.Option(help="The program's log level.")] = LogLevel.INFO,
    secret: Annotated[list[SecretName] | None, typer.Option(help="A secret of the operator's for the program.")] = None,
    queue_ttl: QueueTtl = None,
    boot_timeout: BootTimeout = None,
    run_timeout: RunTimeout = None,
    retention: Retention = None,
    not_before: NotBefore = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Order a command, whose output is kept, or an image, to run in a machine of its own."""
    if bool(command) is (image is not None):
        raise typer.BadParameter("give a command after `--`, or --image, and not both")
    limits = _limits(queue_ttl, boot_timeout, run_timeout, retention)
    spec = TaskSpec(
        command=tuple(command or ()),
        image=image,
        region=region,
        project_id=project,
        log_level=log_level,
        secrets=tuple(secret or ()),
    )
    _place(spec, limits, not_before, key, as_json)


@app.command()
def get(order_id: OrderId, as_json: AsJson = False) -> None:
    """Print one order."""
    with open_control_plane() as api:
        view.print_order(api.get_order(order_id), as_json)


@app.command("list")
def list_orders(
    state: Annotated[State | None, typer.Option(help="Only orders in this state.")] = None,
    kind: Annotated[OrderKind | None, typer.Option(help="Only orders of this kind.")] = None,
    limit: Annotated[int, typer.Option(help="The number of orders to print.", min=1, max=200)] = 20,
    after: Annotated[str | None, typer.Option(help="Continue after the mark at the end of the previous page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print orders, newest first."""
    with open_control_plane() as api:
        view.print_orders(api.list_orders(state, kind, limit, after), as_json)


@app.command()
def watch(order_id: OrderId, timeout: Timeout = 600) -> None:
    """Follow an order until it ends. Exit 1 unless it succeeded."""
    with open_control_plane() as api:
        order = follow(api, order_id, timeout, on_change=view.print_step)
    raise typer.Exit(0 if order.state is State.SUCCEEDED else FAILED)


@app.command()
def cancel(order_id: OrderId, as_json: AsJson = False) -> None:
    """Cancel an order. If it is a running capacity order, release its machine."""
    with open_control_plane() as api:
        view.print_order(api.cancel_order(order_id), as_json)


@app.command()
def requeue(order_id: OrderId, as_json: AsJson = False) -> None:
    """Place a failed order again, as a new order. Doing so twice returns the same new order."""
    with open_control_plane() as api:
        view.print_order(api.requeue_order(order_id), as_json)


@app.command()
def purge(order_id: OrderId) -> None:
    """Remove an order that has ended, and its output."""
    with open_control_plane() as api:
        api.purge_order(order_id)


@app.command()
def output(order_id: OrderId, to: Folder) -> None:
    """Download the output of an order that succeeded."""
    with open_control_plane() as api:
        view.print_file(download(api, api.get_order(order_id), to))


def _limits(
    queue_ttl: float | None, boot_timeout: float | None, run_timeout: float | None, retention: float | None
) -> LimitsRequest:
    return LimitsRequest(
        queue_ttl_seconds=queue_ttl,
        boot_timeout_seconds=boot_timeout,
        run_timeout_seconds=run_timeout,
        retention_seconds=retention,
    )


def _place(spec: AnySpec, limits: LimitsRequest, not_before: datetime | None, key: str | None, as_json: bool) -> None:
    start = not_before and not_before.replace(tzinfo=UTC)
    with open_control_plane() as api:
        view.print_order(api.create_order(spec, str(uuid4()) if key is None else key, limits, start), as_json)
