"""The machines of the fake. Each call first applies what the clock and the programs' ends have made due."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from emulators.fakes.fly.behaviour import FlyBehaviour
from emulators.fakes.fly.machine import FlyState, Launch, LocalFlyMachine, Programs, rfc3339
from emulators.fakes.fly.rules import Config, Document
from emulators.fakes.simulated import NameTaken, NoSuchResource

STOP_SECONDS: Final = 5.0
"""How long a program may take to end after SIGTERM, before SIGKILL."""
MILLISECONDS: Final = 1000


class StillRuns(Exception):
    """A machine that runs is destroyed only by force."""


@dataclass
class Machines:
    """One app's machines. Any thread may call any method. `clock` is in seconds, `now` is the time of day."""

    app: str
    clock: Callable[[], float]
    now: Callable[[], datetime]
    programs: Programs
    behaviour: FlyBehaviour = field(default_factory=FlyBehaviour)
    made: dict[str, LocalFlyMachine] = field(default_factory=dict)
    """Every machine that was ever created, by its id."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def create(self, name: str | None, region: str, config: Config, document: Document) -> LocalFlyMachine:
        """Raises NameTaken."""
        with self._settled():
            taken = next((one.id for one in self._there() if one.name == name), None)
            if taken is not None:
                raise NameTaken(taken)
            number = len(self.made) + 1
            machine = LocalFlyMachine(
                id=f"{number:014x}",
                instance_id=f"01K{number:023d}",
                name=name or f"machine-{number}",
                region=region,
                config=config,
                document=document,
                private_ip=f"fdaa:0:1:a7b::{number:x}:2",
                state=FlyState.CREATED,
                due_at=self.clock() + self.behaviour.stage_seconds,
                created_at=self.now(),
                updated_at=self.now(),
            )
            self.made[machine.id] = machine
            return machine

    def find(self, machine_id: str) -> LocalFlyMachine:
        """Return a machine, also a destroyed one for a while. Raises NoSuchResource."""
        with self._settled():
            return self._find(machine_id)

    def with_metadata(self, metadata: Mapping[str, str]) -> list[LocalFlyMachine]:
        """Return the machines that are not destroyed and have all this metadata."""
        with self._settled():
            return [one for one in self._there() if metadata.items() <= one.config.metadata.items()]

    def stop(self, machine_id: str) -> None:
        """Have a machine stopped. Raises NoSuchResource."""
        with self._settled():
            machine = self._existing(machine_id)
            match machine.state:
                case FlyState.CREATED | FlyState.STARTING:
                    self._enter(machine, FlyState.STOPPED)
                    self._destroy_if_asked(machine)
                case FlyState.STARTED:
                    machine.requested_stop = True
                    self._enter(machine, FlyState.STOPPING, STOP_SECONDS)
                    self.programs.terminate(machine.id)
                case _:
                    return

    def destroy(self, machine_id: str, force: bool) -> None:
        """Raises NoSuchResource, StillRuns."""
        with self._settled():
            machine = self._existing(machine_id)
            if machine.state not in (FlyState.STOPPED, FlyState.CREATED, FlyState.DESTROYING) and not force:
                raise StillRuns(machine.state)
            self.programs.kill(machine.id)
            if machine.state is not FlyState.DESTROYING:
                self._enter(machine, FlyState.DESTROYING, self.behaviour.stage_seconds)

    def settle(self) -> None:
        """Apply what is due."""
        with self._settled():
            return

    def end(self) -> None:
        """Kill every program."""
        with self._lock:
            for machine_id in self.made:
                self.programs.kill(machine_id)

    @contextmanager
    def _settled(self) -> Iterator[None]:
        with self._lock:
            for machine_id, code in self.programs.ended().items():
                self._end(self.made[machine_id], code)
            for machine in self.made.values():
                while machine.due_at is not None and self.clock() >= machine.due_at:
                    self._advance(machine)
            yield

    def _advance(self, machine: LocalFlyMachine) -> None:
        """Move a machine on from a state whose time is over."""
        match machine.state:
            case FlyState.CREATED:
                self._enter(machine, FlyState.STARTING, self.behaviour.stage_seconds)
            case FlyState.STARTING:
                self._enter(machine, FlyState.STARTED)
                self.programs.start(self._launch(machine))
            case FlyState.STOPPING:
                machine.due_at = None
                self.programs.kill(machine.id)
            case _:
                self._enter(machine, FlyState.DESTROYED)
                machine.destroyed_at = self.clock()

    def _end(self, machine: LocalFlyMachine, code: int) -> None:
        """Note the end of a machine's program."""
        exit_event = {
            "exit_code": code,
            "exited_at": rfc3339(self.now()),
            "guest_exit_code": code,
            "guest_signal": -1,
            "oom_killed": False,
            "requested_stop": machine.requested_stop,
            "restarting": False,
            "signal": -1,
        }
        self._note(machine, "exit", FlyState.STOPPED, {"exit_event": exit_event, "restart_count": 0})
        if machine.state in (FlyState.STARTED, FlyState.STOPPING):
            self._enter(machine, FlyState.STOPPED)
            self._destroy_if_asked(machine)

    def _destroy_if_asked(self, machine: LocalFlyMachine) -> None:
        if machine.config.auto_destroy:
            self._enter(machine, FlyState.DESTROYING, self.behaviour.stage_seconds)

    def _enter(self, machine: LocalFlyMachine, state: FlyState, seconds: float | None = None) -> None:
        """Set the state, which ends by itself after some seconds, or never."""
        machine.state, machine.updated_at = state, self.now()
        machine.due_at = None if seconds is None else self.clock() + seconds
        if state in (FlyState.STARTED, FlyState.STOPPING, FlyState.DESTROYED):
            self._note(machine, {"started": "start", "stopping": "stop"}.get(state, "destroy"), state)

    def _note(self, machine: LocalFlyMachine, kind: str, status: FlyState, request: Document | None = None) -> None:
        """Put an event before the earlier ones, as the API lists them."""
        event = {
            "id": f"{machine.instance_id}-{len(machine.events) + 1}",
            "type": kind,
            "status": status,
            "source": "flyd",
            "timestamp": int(self.now().timestamp() * MILLISECONDS),
        }
        machine.events.insert(0, event | ({"request": request} if request else {}))

    def _launch(self, machine: LocalFlyMachine) -> Launch:
        of_platform = {"FLY_MACHINE_ID": machine.id, "FLY_APP_NAME": self.app, "FLY_REGION": machine.region}
        config = machine.config
        return Launch(machine.id, machine.name, config.image, config.init.cmd, {**config.env, **of_platform})

    def _find(self, machine_id: str) -> LocalFlyMachine:
        machine = self.made.get(machine_id)
        if machine is None:
            raise NoSuchResource
        gone = machine.destroyed_at
        if gone is not None and self.clock() - gone > self.behaviour.readable_seconds:
            raise NoSuchResource
        return machine

    def _existing(self, machine_id: str) -> LocalFlyMachine:
        """Return a machine that is not destroyed. Raises NoSuchResource."""
        machine = self._find(machine_id)
        if machine.state is FlyState.DESTROYED:
            raise NoSuchResource
        return machine

    def _there(self) -> list[LocalFlyMachine]:
        return [one for one in self.made.values() if one.state is not FlyState.DESTROYED]
