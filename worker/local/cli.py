"""`launchyard worker run`: run one task here, as a worker in a machine would."""

import re
from typing import Annotated, Final

import typer

from shared.domain.order import ORDER_ID_PATTERN
from shared.exit_codes import FAILED
from shared.http_client import open_client
from shared.settings import SettingsWrong, read
from worker.local.settings import TaskName, TaskSettings
from worker.local.task import TIMEOUT, NotDelivered, TaskWorker

TASK_ID: Final = re.compile(ORDER_ID_PATTERN)

app = typer.Typer(help="Run tasks on this host.", no_args_is_help=True)


@app.callback()
def worker() -> None:
    """Run tasks on this host."""


@app.command()
def run(
    task: Annotated[str, typer.Option(help="The task's id. Default: TASK_ID.", show_default=False)] = "",
    command: Annotated[
        list[str] | None, typer.Argument(help="The command, after `--`. Without one, the worker just reports.")
    ] = None,
) -> None:
    """Report a task as started, run a command, and report how it ended.

    CALLBACK_URL and PROJECT_ID must be set. Exit with 0 once both reports were answered, however; with 1 if a variable
    is missing or a report was not answered.
    """
    task_id = task or read(TaskName).task_id
    if not TASK_ID.fullmatch(task_id):
        raise typer.BadParameter("give the id of a task, such as --task test-123", param_hint="--task")
    try:
        settings = read(TaskSettings)
        with open_client(settings.callback_url, timeout=TIMEOUT) as http:
            TaskWorker(task_id, settings.project_id, http, typer.echo).run(command or ())
    except (SettingsWrong, NotDelivered) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from None
