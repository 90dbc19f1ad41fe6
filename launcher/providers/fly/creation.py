"""Makes an order's machine: records it, asks for it, and finds it again if the answer is lost."""

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from launcher.machines.directory import VmDirectory
from launcher.machines.failures import of_host
from launcher.machines.records import write_durably
from launcher.providers.fly.body import Body
from launcher.providers.fly.errors import FlyError, FlyRefusalKind, FlyRefused, FlyUnreachable
from launcher.providers.fly.machines_api import FoundMachine, MachinesApi

RECORD: Final = "machine.json"
WAITS: Final = (2.0, 5.0)
"""The seconds between two tries to create a machine: there is one try more than waits."""


class MachineRecord(BaseModel):
    """The record of a machine that may exist. `id` is None until Fly's answer is known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    app: str
    name: str
    id: str | None = None

    def write(self, directory: VmDirectory) -> None:
        """Raises LaunchFailed."""
        try:
            write_durably(directory.path / RECORD, self.model_dump_json(indent=2).encode())
        except OSError as error:
            raise of_host(error, "The machine's directory cannot be written") from error


def read_record(directory: VmDirectory) -> MachineRecord | None:
    """Return the record; None if no machine was ever asked for. Raises OSError, ValidationError."""
    try:
        return MachineRecord.model_validate_json((directory.path / RECORD).read_bytes())
    except FileNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Creation:
    """`sleep` waits between two tries."""

    api: MachinesApi
    sleep: Callable[[float], None]

    def run(self, body: Body, marks: Mapping[str, str]) -> FoundMachine:
        """Return the machine that `body` asks for. It has the marks of its order and epoch, and so is found again.

        A refusal is certain if nothing was sent before it; otherwise an earlier request may have been carried out.
        Raises FlyRefused, FlyUnreachable: then there is no machine; and OSError if that is unknown.
        """
        unanswered = False
        for wait in (*WAITS, None):
            try:
                return self.api.create(body)
            except FlyUnreachable as error:
                unanswered, why = True, str(error)
            except FlyRefused as refused:
                if refused.kind is not FlyRefusalKind.TAKEN:
                    if unanswered:
                        self._make_sure_of_none(body["name"], marks)
                    raise
                why = str(refused)
            if (found := self._find_if_answered(body["name"], marks)) is not None:
                return found
            if wait is not None:
                self.sleep(wait)
        self._make_sure_of_none(body["name"], marks)
        raise FlyUnreachable(f"Fly did not make the machine: {why}")

    def _find_if_answered(self, name: str, marks: Mapping[str, str]) -> FoundMachine | None:
        """Return the machine that an earlier request made; None if there is none, or if that is unknown."""
        try:
            return self._find(name, marks)
        except FlyError:
            return None

    def _find(self, name: str, marks: Mapping[str, str]) -> FoundMachine | None:
        return next((found for found in self.api.marked(marks) if found.name == name), None)

    def _make_sure_of_none(self, name: str, marks: Mapping[str, str]) -> None:
        """Destroy a machine that may have been made without an answer. Raises OSError."""
        try:
            if (found := self._find(name, marks)) is not None:
                self.api.destroy(found.id)
        except FlyError as error:
            raise OSError(errno.EIO, f"It is unknown whether the machine {name} runs") from error
