"""What the end of a machine means for its order."""

from typing import Final

from functions.domain.events import Exit, Fail, Succeed
from functions.domain.order import Order, is_task_image
from shared.domain.order import Reason, State

UNCONFIRMED: Final = "Completed, unconfirmed: the machine ended with exit code 0, and no `completed` came."


def event_of(order: Order, gone: Exit) -> Exit | Fail | Succeed:
    """Return the event for the end of an order's machine.

    A task's image reports by itself. If its machine ends before that report came, its exit code decides, and the task
    never runs a second time once it has started (the contract of ephemeral workers, sections 7 and 8). For any other
    order, and before the start, the attempt has failed, and another may follow.
    """
    if not is_task_image(order.spec) or order.final or order.cancel_requested_at is not None:
        return gone
    if gone.exit_code == 0:
        return Succeed(gone.request_id, gone.epoch, message=UNCONFIRMED)
    if order.state is State.RUNNING:
        return Fail(gone.request_id, gone.epoch, Reason.MACHINE_EXITED, gone.message)
    return gone
