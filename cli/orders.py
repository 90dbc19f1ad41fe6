"""`launchyard order …`: create, read, follow and cancel orders, and see to those that failed."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import typer

from cli import view
from cli.fetching import Folder, fetch
from cli.session import control_plane
from cli.watching import follow
from shared.domain.order import State
from shared.domain.spec import (
    AnySpec,
    CapacitySpec,
    CheimarrosMode,
    ExportOptions,
    ExportSpec,
    NodeSize,
    OrderKind,
    TaskSpec,
)
from shared.wire.orders import LimitsRequest

app = typer.Typer(help="Create, read, follow and cancel orders, and see to those that failed.", no_args_is_help=True)
create = typer.Typer(help="Place an order.", no_args_is_help=True)
app.add_typer(create, name="create")

OrderId = Annotated[str, typer.Argument(help="The order's id.", parser=str.strip)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the control plane's JSON.")]
Key = Annotated[str | None, typer.Option("--key", help="Idempotency key: the same one never makes a second order.")]
BootTimeout = Annotated[float | None, typer.Option(help="Seconds from a claim until its worker must have reported.")]
RunTimeout = Annotated[float | None, typer.Option(help="Seconds that its worker may run.")]
Ttl = Annotated[float | None, typer.Option(help="Seconds that the machine is kept; without, until it is cancelled.")]
QueueTtl = Annotated[float | None, typer.Option(help="Seconds that it waits for a launcher.")]
Retention = Annotated[float | None, typer.Option(help="Seconds that its output is kept after its end.")]
NotBefore = Annotated[
    datetime | None,
    typer.Option(help="When it may be started, in UTC.", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]),
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the order's end.", min=1)]


@create.command("capacity")
def create_capacity(
    datacenter: Annotated[str, typer.Argument(help="Such as local:dev or baremetal:rack-7.")],
    node_size: Annotated[NodeSize, typer.Argument(help="The machine's size.")],
    queue_ttl: QueueTtl = None,
    boot_timeout: BootTimeout = None,
    ttl: Ttl = None,
    not_before: NotBefore = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """A long-lived machine of a node size in a datacenter."""
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
    """The MODS 3.8 record of one entity."""
    spec = ExportSpec(pi=pi, options=ExportOptions(include_ocr=ocr, cheimarros_mode=cheimarros))
    _place(spec, _limits(queue_ttl, boot_timeout, run_timeout, retention), not_before, key, as_json)


@create.command("task")
def create_task(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after `--`.")],
    queue_ttl: QueueTtl = None,
    boot_timeout: BootTimeout = None,
    run_timeout: RunTimeout = None,
    retention: Retention = None,
    not_before: NotBefore = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """A command run in a machine of its own; its output is kept."""
    limits = _limits(queue_ttl, boot_timeout, run_timeout, retention)
    _place(TaskSpec(command=tuple(command)), limits, not_before, key, as_json)


@app.command()
def get(order_id: OrderId, as_json: AsJson = False) -> None:
    """Print one order."""
    with control_plane() as api:
        view.print_order(api.get_order(order_id), as_json)


@app.command("list")
def list_orders(
    state: Annotated[State | None, typer.Option(help="Only orders in this state.")] = None,
    kind: Annotated[OrderKind | None, typer.Option(help="Only orders of this kind.")] = None,
    limit: Annotated[int, typer.Option(help="Orders a page.", min=1, max=200)] = 20,
    after: Annotated[str | None, typer.Option(help="The mark that the page before ended with.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print orders, newest first."""
    with control_plane() as api:
        view.print_orders(api.list_orders(state, kind, limit, after), as_json)


@app.command()
def watch(order_id: OrderId, timeout: Timeout = 600) -> None:
    """Follow an order until it ends; exit 1 unless it succeeded."""
    with control_plane() as api:
        order = follow(api, order_id, timeout, seen=view.print_step)
    raise typer.Exit(0 if order.state is State.SUCCEEDED else 1)


@app.command()
def cancel(order_id: OrderId, as_json: AsJson = False) -> None:
    """Cancel an order, or release the machine of a capacity order that runs."""
    with control_plane() as api:
        view.print_order(api.cancel_order(order_id), as_json)


@app.command()
def requeue(order_id: OrderId, as_json: AsJson = False) -> None:
    """Place a failed order again, as a new one; asked twice, it is the same one."""
    with control_plane() as api:
        view.print_order(api.requeue_order(order_id), as_json)


@app.command()
def purge(order_id: OrderId) -> None:
    """Remove an order that has ended, and its output."""
    with control_plane() as api:
        api.purge_order(order_id)


@app.command()
def output(
    order_id: OrderId,
    to: Folder,
) -> None:
    """Download what an order that succeeded left."""
    with control_plane() as api:
        view.print_file(fetch(api, api.get_order(order_id), to))


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
    with control_plane() as api:
        view.print_order(api.create_order(spec, str(uuid4()) if key is None else key, limits, start), as_json)
