"""`launchyard job …`: start, resume, read and stop agent jobs, and print their logs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final
from uuid import uuid4

import typer

from cli import job_view, view
from cli.job_view import StatusWord, status_of
from cli.orders import Key, QueueTtl, RunTimeout
from cli.results import download, follow
from cli.settings import open_control_plane
from shared.client import ControlPlane
from shared.client_errors import ControlPlaneError, NoOutput, Refused
from shared.domain.order import FINAL, State
from shared.domain.spec import MAX_PROMPT, OrderKind, SessionSpec
from shared.exit_codes import FAILED
from shared.wire.orders import LimitsRequest, OrderView

DAY: Final = 24 * 3600
"""Seconds: how long a job may run, unless its order has another limit."""
MAX_PROMPT_BYTES: Final = 4 * MAX_PROMPT
"""The longest prompt in UTF-8."""

app = typer.Typer(help="Start, resume, read and stop agent jobs.", no_args_is_help=True)

SessionName = Annotated[str, typer.Argument(metavar="SESSION", help="The session's name.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", parser=str.strip)]
Prompt = Annotated[str | None, typer.Option(help="What the agent is to do. Give this or --prompt-file.")]
PromptFile = Annotated[
    typer.FileBinaryRead | None,
    typer.Option(metavar="FILE", help="The file that holds the prompt; - is standard input."),
]
ProjectDirectory = Annotated[
    str | None, typer.Option(help="The directory to work in: an absolute path on the launcher's host.")
]
Parent = Annotated[
    str | None, typer.Option(help="The name of the session that is resumed with the result once this job has ended.")
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", help="A label that the job's launcher must offer. At most 3.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: the job's order, and its status.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the job's end. Exit 1 unless it completed.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the job's end.", min=1)]


class NotAJob(ControlPlaneError):
    """The id is not that of a job."""


@app.command()
def start(
    session: SessionName,
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    agent: Annotated[str | None, typer.Option(help="The agent's name, which the launcher's executor knows.")] = None,
    project_dir: ProjectDirectory = None,
    parent: Parent = None,
    label: Labels = None,
    queue_ttl: QueueTtl = None,
    run_timeout: RunTimeout = None,
    wait: Wait = False,
    timeout: Timeout = DAY,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Start a session: its agent works on the prompt."""
    spec = SessionSpec(
        session_name=session,
        prompt=_prompt(prompt, prompt_file),
        agent_name=agent,
        project_dir=project_dir,
        parent_session_name=parent,
        labels=tuple(label or ()),
    )
    _place(
        spec, LimitsRequest(queue_ttl_seconds=queue_ttl, run_timeout_seconds=run_timeout), key, wait, timeout, as_json
    )


@app.command()
def resume(
    session: SessionName,
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    project_dir: ProjectDirectory = None,
    parent: Parent = None,
    label: Labels = None,
    queue_ttl: QueueTtl = None,
    run_timeout: RunTimeout = None,
    wait: Wait = False,
    timeout: Timeout = DAY,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a session that was started before."""
    spec = SessionSpec(
        session_name=session,
        prompt=_prompt(prompt, prompt_file),
        resume=True,
        project_dir=project_dir,
        parent_session_name=parent,
        labels=tuple(label or ()),
    )
    _place(
        spec, LimitsRequest(queue_ttl_seconds=queue_ttl, run_timeout_seconds=run_timeout), key, wait, timeout, as_json
    )


@app.command()
def get(job: JobId, as_json: AsJson = False) -> None:
    """Print one job."""
    with open_control_plane() as api:
        job_view.print_job(_job(api, job), as_json)


@app.command("list")
def list_jobs(
    state: Annotated[State | None, typer.Option(help="Only jobs whose order is in this state.")] = None,
    limit: Annotated[int, typer.Option(help="The number of jobs to print.", min=1, max=200)] = 20,
    after: Annotated[str | None, typer.Option(help="Continue after the mark at the end of the previous page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print jobs, newest first."""
    with open_control_plane() as api:
        job_view.print_jobs(api.list_orders(state, OrderKind.SESSION, limit, after), as_json)


@app.command()
def stop(job: JobId, as_json: AsJson = False) -> None:
    """Stop a job: at once if it is pending; otherwise its launcher is asked to, and the job is stopping until then."""
    with open_control_plane() as api:
        job_view.print_job(api.cancel_order(_job(api, job).id), as_json)


@app.command()
def logs(
    job: JobId,
    wait: Annotated[bool, typer.Option("--follow", help="If the job has not ended, wait for its end first.")] = False,
    timeout: Timeout = DAY,
) -> None:
    """Print what a job that completed has written to its standard output and error."""
    with open_control_plane() as api:
        order = _job(api, job)
        if wait:
            with _continuing(job):
                order = follow(api, job, timeout, on_change=lambda _: None)
        _require_log(order)
        with TemporaryDirectory(prefix="launchyard-job-") as folder:
            job_view.print_log(download(api, order, Path(folder)))


def _prompt(prompt: str | None, file: typer.FileBinaryRead | None) -> str:
    """Return the prompt. Raises BadParameter."""
    if (prompt is None) is (file is None):
        raise typer.BadParameter("give --prompt or --prompt-file, and not both")
    if file is None:
        return prompt or ""
    text = file.read(MAX_PROMPT_BYTES + 1)
    if len(text) > MAX_PROMPT_BYTES:
        raise typer.BadParameter(f"the prompt file is too long: a prompt has at most {MAX_PROMPT} characters")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise typer.BadParameter("the prompt file is not UTF-8 text") from None


def _place(
    spec: SessionSpec, limits: LimitsRequest, key: str | None, wait: bool, timeout: float, as_json: bool
) -> None:
    """Order the job, and print it; with `wait`, print its changes and its end. Exit 1 if it ended without success."""
    with open_control_plane() as api:
        order = api.create_order(spec, str(uuid4()) if key is None else key, limits)
        if wait:
            if not as_json:
                job_view.print_placed(order)
            with _continuing(order.id):
                order = follow(api, order.id, timeout, (lambda _: None) if as_json else job_view.print_step)
    job_view.print_job(order, as_json)
    if wait and status_of(order) != StatusWord.COMPLETED:
        raise typer.Exit(FAILED)


@contextmanager
def _continuing(job: str) -> Iterator[None]:
    """Tell who interrupts the waiting that the job itself goes on."""
    try:
        yield
    except KeyboardInterrupt:
        view.print_error(
            f"The job {job} goes on: `launchyard job get {job}` shows it, `launchyard job stop {job}` stops it."
        )
        raise


def _job(api: ControlPlane, job: str) -> OrderView:
    """Return the job's order. Raises NotAJob."""
    try:
        order = api.get_order(job)
    except Refused as refusal:
        if refusal.code != "not_found":
            raise
        raise NotAJob(f"There is no job {job} of this account: `launchyard job list` shows its jobs.") from None
    if order.kind is not OrderKind.SESSION:
        raise NotAJob(f"The order {job} is not a job: its kind is {order.kind}: `launchyard order get {job}` shows it.")
    return order


def _require_log(order: OrderView) -> None:
    """Raise NoOutput if the job's log is not here, and say where it is."""
    if order.output is not None:
        return
    if order.state in FINAL:
        why = ": ".join(filter(None, (order.reason, order.message)))
        end = f"{status_of(order)}: {why}" if why else status_of(order)
        kept = f"\nIts launcher {order.launcher} may have it: {_log('logs', order)}.log" if order.vm else ""
        raise NoOutput(f"The job {order.id} has no log here. It is {end}{kept}")
    if order.launcher is None:
        where = "no launcher has claimed it yet"
    elif order.vm is None:
        where = f"until it ends, the launcher {order.launcher} has its log"
    else:
        where = (
            f"until it ends, its log is on the host of the launcher {order.launcher}: {_log('vms', order)}/serial.log"
        )
    raise NoOutput(
        f"The job {order.id} is {status_of(order)}; {where}.\n"
        f"`launchyard job logs --follow {order.id}` waits for its end, then prints its log."
    )


def _log(folder: str, order: OrderView) -> str:
    """Return the path of what our own launcher keeps of the job's last attempt."""
    return f"<state directory>/{folder}/{order.id}-{order.epoch}"
