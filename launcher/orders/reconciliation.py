"""Orders that the control plane believes this launcher to hold, and of which nothing is left here, are given up."""

import threading
from collections.abc import Collection, Mapping

import structlog

from launcher.host.clock import Clock
from launcher.machines.records import VmLease
from launcher.orders.assignments import Runs
from launcher.orders.endings import Ending, Endings
from launcher.orders.outage import Backoff, Outage
from launcher.providers.registry import Providers
from shared.client import ControlPlane, Refused, Unreachable
from shared.domain.order import Reason, State
from shared.wire.launchers import HeartbeatRequest, Hold, HoldView

log = structlog.get_logger()


class Reconciliation:
    """A daemon that is killed between a claim and the machine's directory comes back without knowing of that order."""

    def __init__(self, control_plane: ControlPlane, launcher: str, runs: Runs, outage: Outage, clock: Clock) -> None:
        self._control_plane, self._launcher, self._runs = control_plane, launcher, runs
        self._outage, self._clock = outage, clock
        self._endings = Endings(launcher)

    def run(self, interrupt: threading.Event) -> None:
        """Give them up before the first order is taken; try until the control plane answers, or `interrupt` is set."""
        backoff = Backoff(self._clock.jitter)
        while not interrupt.is_set():
            try:
                self._reconcile()
            except (Unreachable, Refused) as error:
                self._outage.goes_on(error)
                self._clock.pause(backoff.next(), interrupt)
            else:
                self._outage.ends()
                return

    def states(self) -> Mapping[Hold, State | str]:
        """Return what the control plane believes held by launchers of this name. Raises Unreachable, Refused.

        Whatever their identity: an order that an earlier version of this launcher claimed has none.
        """
        holds = self._control_plane.holds(self._launcher, namesakes=True).holds
        return {_hold(view): view.state for view in holds}

    def renew(self, here: Collection[Hold], attended: bool) -> Mapping[Hold, VmLease]:
        """Renew what the control plane believes held and is `here`; return until when. Raises Unreachable, Refused.

        What is on record here may be over, and its order run all the same: nobody may have watched over it. What is
        not here may be another launcher's of this name.
        """
        asked_at, holds = self._clock.monotonic(), tuple(hold for hold in self.states() if hold in here)
        if not holds:
            return {}
        request = HeartbeatRequest(launcher=self._launcher, holds=holds, attended=attended)
        return {
            Hold(order_id=one.order_id, epoch=one.epoch): VmLease(
                ends=asked_at + one.lease_seconds,
                seconds=one.lease_seconds,
                endless=one.state is State.RUNNING and not attended,
            )
            for one in self._control_plane.heartbeat(request).renewed
        }

    def renew_if_answered(self, here: Collection[Hold]) -> Mapping[Hold, VmLease]:
        """As `renew`, for a daemon that starts without the control plane, too: then what is on record counts."""
        try:
            return self.renew(here, attended=True)
        except (Unreachable, Refused) as error:
            self._outage.goes_on(error)
            return {}

    def _reconcile(self) -> None:
        known = {held.hold for held in self._runs.held()}  # before the answer: one that ends meanwhile is not unknown
        ours = self._control_plane.holds(self._launcher).holds
        for view in ours:
            if _hold(view) not in known:
                self._give_up(view)
        self._tell_of_namesakes(known.union(_hold(view) for view in ours))

    def _tell_of_namesakes(self, ours: Collection[Hold]) -> None:
        """Say that orders are held by this name which are not this launcher's: they are left alone."""
        if anothers := [hold.model_dump() for hold in self.states() if hold not in ours]:
            log.warning(
                "another launcher has this name, or this one lost its state directory: what it holds is left alone",
                name=self._launcher,
                orders=anothers,
                to_do="give each launcher a LAUNCHYARD_LAUNCHER_NAME of its own; if the state directory was lost, "
                "the orders wait again once their leases have lapsed",
            )

    def _give_up(self, view: HoldView) -> None:
        log.warning("an order is held of which nothing is left", order_id=view.order_id, epoch=view.epoch)
        try:
            self._control_plane.update(view.order_id, self._ending(view))
        except Refused as refused:  # it has ended meanwhile, or lapsed
            log.info("report refused", order_id=view.order_id, epoch=view.epoch, code=refused.code)

    def delete_strays(self, providers: Providers, until: threading.Event) -> None:
        """The other way about: end machines elsewhere that run without an order in this launcher's hands."""
        for provider in providers.all():
            provider.delete_strays(lambda: [held.hold for held in self._runs.held()], until)

    def _ending(self, view: HoldView) -> Ending:
        message = "The launcher was restarted, and nothing is left of the machine."
        if view.state is State.RUNNING:
            return self._endings.failed(view.epoch, Reason.MACHINE_EXITED, message)
        return self._endings.returned(view.epoch, message)


def _hold(view: HoldView) -> Hold:
    return Hold(order_id=view.order_id, epoch=view.epoch)
