"""The store's orders and keys, read from the emulator itself, past the proxies and the API.

The reader is a process of its own (`python -m tests.chaos.store_reader`): Google's clients find the emulators by the
environment of their process, and do not survive the processes that the chaos run starts all the time. It first writes
what the emulators need, and then answers each line with everything that is stored.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Final

from google.cloud.firestore import Client
from pydantic import TypeAdapter

from emulators import seeding, warm_up
from emulators.environment import api_keys
from emulators.processes import StartFailed, unproxied
from emulators.services import python
from functions.adapters import order_document
from functions.adapters.firestore import IDEMPOTENCY_KEYS, ORDERS
from functions.domain.order import Order


@dataclass(frozen=True, slots=True)
class Stored:
    """`keys`: the order of each Idempotency-Key."""

    orders: dict[str, Order]
    keys: dict[str, str]


STORED: Final = TypeAdapter(Stored)
MAX_SECONDS: Final = 60.0
WARM: Final = "warm"
SEEDED: Final = b"seeded\n"


class StoreReader:
    """Close it after the last look. One thread reads at a time."""

    def __init__(self, environment: Mapping[str, str], warm: bool) -> None:
        """Seed the project that the environment names; warm its emulators up before, if they are not `warm`.

        Raises StartFailed.
        """
        self._process = subprocess.Popen(
            [*python("tests.chaos.store_reader"), *([WARM] if warm else [])],
            env={**os.environ, **unproxied(os.environ), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            if self._answer(seeding.KEYS.dump_json(api_keys(environment)), seconds=None) != SEEDED:
                raise StartFailed("The emulators could not be seeded; the reason is printed above.")
        except BaseException:
            self.close()
            raise

    def read(self) -> Stored:
        """Raises TimeoutError, BrokenPipeError; ValidationError if the reader has ended."""
        return STORED.validate_json(self._answer(b"", MAX_SECONDS))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self, line: bytes, seconds: float | None) -> bytes:
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        questions.write(line + b"\n")
        questions.flush()
        if not wait([answers.fileno()], seconds):
            raise TimeoutError(f"The store was not read in {seconds} s.")
        return answers.readline()


def read_all(client: Client) -> Stored:
    orders = [order_document.decode(document.to_dict() or {}) for document in client.collection(ORDERS).stream()]
    used = (document.to_dict() or {} for document in client.collection(IDEMPOTENCY_KEYS).stream())
    keys = {key["value"]: key["order_id"] for key in used if "value" in key}  # those of claims have none
    return Stored({order.id: order for order in orders}, keys)


def main() -> None:
    questions, answers, project = sys.stdin.buffer, sys.stdout.buffer, os.environ["GOOGLE_CLOUD_PROJECT"]
    keys = seeding.KEYS.validate_json(questions.readline())
    if WARM not in sys.argv:
        warm_up.firestore()
        warm_up.pubsub()
    seeding.write(keys, project)
    answers.write(SEEDED)
    answers.flush()
    client = Client(project=project)
    for _ in questions:
        answers.write(STORED.dump_json(read_all(client)) + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
