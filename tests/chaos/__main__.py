"""`python -m tests.chaos --seconds 600 --seed 7`: exits with 0 if nothing was lost, doubled or left behind."""

import sys
import time
from pathlib import Path
from typing import Annotated, Final
from uuid import uuid4

import typer

from emulators.processes import StartFailed
from shared.signals import exit_on_signals
from tests.chaos import report
from tests.chaos.pace import lease_for_this_host
from tests.chaos.run import run
from tests.chaos.schedule import Terms
from tests.harness.environment import FIRESTORE, PUBSUB

HOMES: Final = Path(".launchyard/chaos")

app = typer.Typer(add_completion=False)


@app.command()
def chaos(
    seconds: Annotated[float, typer.Option(min=1, help="How long the storm lasts.")] = 600,
    seed: Annotated[int | None, typer.Option(help="[default: the clock's]")] = None,
    orders: Annotated[int, typer.Option(min=1)] = 300,
    launchers: Annotated[int, typer.Option(min=1, max=8)] = 4,
    lease: Annotated[
        float | None,
        typer.Option(min=3, help="How long a claim lasts, in seconds. [default: 10, and more on a slow host]"),
    ] = None,
    settle: Annotated[float, typer.Option(min=1, help="How long everything may take to settle, in seconds.")] = 300,
    home: Annotated[Path | None, typer.Option(help="[default: .launchyard/chaos/<seed>-<time>]")] = None,
    emulators: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="host:port of a Firestore and a Pub/Sub emulator that run. [default: the run starts its own]"
        ),
    ] = None,
) -> None:
    """Disrupt a whole deployment at random, and count what was lost, doubled or left behind."""
    exit_on_signals()
    seed = int(time.time()) if seed is None else seed
    home = home or HOMES / f"{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    lease = lease_for_this_host() if lease is None else lease
    running = {} if emulators is None else dict(zip((FIRESTORE, PUBSUB), emulators, strict=True))
    terms = Terms(f"chaos-{uuid4().hex[:12]}", seed, seconds, orders, launchers, lease, running)
    typer.echo(f"seed {seed}: {orders} orders in {seconds:g} s; the report, and every log, will be in {home}")
    try:
        result = run(terms, home, settle)
    except StartFailed as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from error
    typer.echo(report.write(result, home), nl=False)
    raise typer.Exit(0 if result.verdict.good else 1)


if __name__ == "__main__":
    app()
