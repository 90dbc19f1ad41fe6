"""The environment of a task's program, as the contract of ephemeral workers has it, and of its image's entry point."""

from typing import Final

from functions.domain.order import Order
from functions.engine.environments import CallbackAddresses, Environment
from functions.engine.operator_secrets import OperatorSecrets
from shared.domain.spec import TaskSpec

CALLBACK: Final = "/api/agents/callback/{order_id}/{secret}"
PREFIX: Final = "DESCARTES_"
"""The contract's daemon prefixes these names, its worker reads them without a prefix: an image finds both."""


def environment(order: Order, addresses: CallbackAddresses, secrets: OperatorSecrets) -> Environment:
    """Return what the task's program finds. Raises Conflict if the account may not have a secret that it asks for."""
    if not isinstance(order.spec, TaskSpec):
        raise TypeError(f"{order.kind} orders have another environment")
    named = {
        "TASK_ID": order.id,
        "PROJECT_ID": order.spec.project_id,
        "CALLBACK_URL": addresses.of(order, CALLBACK),
    }
    variables = {
        **named,
        **{f"{PREFIX}{name}": value for name, value in named.items()},
        "RUST_LOG": order.spec.log_level.value,
        "LOG_LEVEL": order.spec.log_level.value,
        **secrets.of(order.account, order.spec),
    }
    return Environment(variables, ("--task", order.id))
