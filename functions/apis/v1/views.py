"""The views of an order and its output for their account."""

from functions.domain.holder import name_of
from functions.domain.limits import OrderLimits
from functions.domain.order import Order, Output
from shared.domain.spec import OrderKind
from shared.wire.orders import LimitsView, OrderView, OutputView


def order_view(order: Order) -> OrderView:
    return OrderView(
        id=order.id,
        account=order.account,
        kind=order.kind,
        spec=order.spec,
        state=order.state,
        reason=order.reason,
        message=order.message,
        epoch=order.epoch,
        attempt=order.attempt,
        max_attempts=order.max_attempts,
        limits=_limits_view(order.limits, order.kind),
        available_at=order.available_at,
        expires_at=order.expires_at,
        cancel_requested=order.cancel_requested_at is not None,
        requeued_from=order.requeued_from,
        launcher=None if order.claimed_by is None else name_of(order.claimed_by),
        vm=order.vm,
        output=output_view(order.output) if order.output else None,
        discarded_at=order.discarded_at,
        metrics=order.metrics,
        progress=order.progress,
        created_at=order.created_at,
        updated_at=order.updated_at,
        entered={state: at for state, at in order.entered.items()},  # noqa: C416 (widens the type of the keys)
    )


def output_view(output: Output) -> OutputView:
    return OutputView(
        file_name=output.file_name, content_type=output.content_type, size=output.size, sha256=output.sha256
    )


def _limits_view(limits: OrderLimits, kind: OrderKind) -> LimitsView:
    capacity = kind is OrderKind.CAPACITY
    return LimitsView(
        queue_ttl_seconds=limits.queue_seconds,
        boot_timeout_seconds=limits.boot_seconds,
        run_timeout_seconds=None if capacity else limits.run_seconds,
        ttl_seconds=limits.run_seconds if capacity else None,
        retention_seconds=limits.keep_seconds,
    )
