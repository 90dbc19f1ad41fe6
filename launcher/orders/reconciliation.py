"""Gives up orders that this launcher holds according to the control plane, but of which it has no record."""

import threading
from collections.abc import Collection, Mapping

import structlog

from launcher.host.clock import Clock
from launcher.machines.records import VmLease
from launcher.orders.assignments import Assignments
from launcher.orders.mode import Mode
from launcher.orders.outage import Backoff, Outage
from launcher.orders.reports import ReportBuilder, submit
from launcher.providers.registry import Providers
from shared.client import ControlPlane
from shared.client_errors import Refused, Unreachable
from shared.domain.order import State
from shared.log_events import LogEvent
from shared.wire.launchers import HeartbeatRequest, Hold, HoldView

log = structlog.get_logger()


class Reconciliation:
    """If a daemon was killed between a claim and the write of the machine's directory, the next one has no record of
    the order.
    """

    def __init__(
        self, control_plane: ControlPlane, launcher: str, assignments: Assignments, outage: Outage, clock: Clock
    ) -> None:
        self._control_plane, self._launcher, self._assignments = control_plane, launcher, assignments
        self._outage, self._clock = outage, clock
        self._builder = ReportBuilder(launcher)

    def run(self, interrupt: threading.Event) -> None:
        """Give up such orders, before the first claim; try until the control plane answers, or `interrupt` is set."""
        backoff = Backoff(self._clock.jitter)
        while not interrupt.is_set():
            try:
                self._reconcile()
            except (Unreachable, Refused) as error:
                self._outage.failed(error)
                self._clock.pause(backoff.next(error), interrupt)
            else:
                self._outage.answered()
                return

    def states(self) -> Mapping[Hold, State | str]:
        """Ask the control plane which orders launchers of this name hold. Raises Unreachable, Refused.

        This includes every identity: an order that an earlier version of this launcher claimed has none.
        """
        holds = self._control_plane.holds(self._launcher, namesakes=True).holds
        return {_hold(view): view.state for view in holds}

    def renew(self, here: Collection[Hold], mode: Mode) -> Mapping[Hold, VmLease]:
        """Renew the leases of the held orders that are `here`, and return them. Raises Unreachable, Refused.

        A recorded lease may have ended although its order runs, if it was not attended. An order without a record here
        may be held by another launcher of this name.
        """
        asked_at, holds = self._clock.monotonic(), tuple(hold for hold in self.states() if hold in here)
        if not holds:
            return {}
        request = HeartbeatRequest(launcher=self._launcher, holds=holds, attended=mode.attended)
        return {
            Hold(order_id=one.order_id, epoch=one.epoch): VmLease(
                ends=asked_at + one.lease_seconds,
                seconds=one.lease_seconds,
                never_expires=one.state is State.RUNNING and not mode.attended,
            )
            for one in self._control_plane.heartbeat(request).renewed
        }

    def renew_if_answered(self, here: Collection[Hold]) -> Mapping[Hold, VmLease]:
        """Renew as `renew` does. If the control plane does not answer, the recorded leases count: a daemon starts
        without it.
        """
        try:
            return self.renew(here, Mode.DAEMON)
        except (Unreachable, Refused) as error:
            self._outage.failed(error)
            return {}

    def delete_strays(self, providers: Providers, until: threading.Event) -> None:
        """Delete remote machines that run without a held order, until `until` is set."""
        for provider in providers.all():
            provider.delete_strays(lambda: [one.hold for one in self._assignments.held()], until)

    def _reconcile(self) -> None:
        # Read before the request, so that an order that ends meanwhile is not unknown.
        known = {one.hold for one in self._assignments.held()}
        own = self._control_plane.holds(self._launcher).holds
        for view in own:
            if _hold(view) not in known:
                self._give_up(view)
        self._log_namesakes(known.union(_hold(view) for view in own))

    def _log_namesakes(self, own: Collection[Hold]) -> None:
        """Log the orders that are held under this name by another identity. They are left alone."""
        if foreign := [hold.model_dump() for hold in self.states() if hold not in own]:
            log.warning(
                LogEvent.NAME_SHARED,
                message="Orders of another launcher of this name, or of a lost state directory, are left alone.",
                name=self._launcher,
                orders=foreign,
                to_do="give each launcher a LAUNCHYARD_LAUNCHER_NAME of its own; if the state directory was lost, "
                "the orders wait again once their leases have lapsed",
            )

    def _give_up(self, view: HoldView) -> None:
        log.warning(
            LogEvent.ORDER_WITHOUT_MACHINE,
            message="This launcher holds an order but has no record of its machine: the order is given up.",
            order_id=view.order_id,
            epoch=view.epoch,
            state=view.state,
        )
        message = "The launcher was restarted, and nothing is left of the machine."
        report = (
            self._builder.machine_gone(view.epoch, None, message)
            if view.state is State.RUNNING
            else self._builder.returned(view.epoch, message)
        )
        submit(self._control_plane, view.order_id, report)  # refused if the order or its lease has ended meanwhile


def _hold(view: HoldView) -> Hold:
    return Hold(order_id=view.order_id, epoch=view.epoch)
