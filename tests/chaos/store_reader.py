"""The store's orders and keys, read from the emulator itself, past the proxies and the API.

Runs as a process of its own (`python -m tests.chaos.store_reader`): Google's clients find the emulator by the
environment of their process, and do not survive the processes that the chaos run starts all the time.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from google.cloud.firestore import Client
from pydantic import TypeAdapter

from emulators.parts import python
from emulators.settings import PROJECT
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


def read_store(environment: Mapping[str, str]) -> Stored:
    """Raises CalledProcessError, TimeoutExpired."""
    done = subprocess.run(
        python("tests.chaos.store_reader"),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=MAX_SECONDS,
        check=True,
    )
    return STORED.validate_json(done.stdout)


def read_all(client: Client) -> Stored:
    orders = [order_document.decode(document.to_dict() or {}) for document in client.collection(ORDERS).stream()]
    used = (document.to_dict() or {} for document in client.collection(IDEMPOTENCY_KEYS).stream())
    keys = {key["value"]: key["order_id"] for key in used if "value" in key}  # those of claims have none
    return Stored({order.id: order for order in orders}, keys)


if __name__ == "__main__":
    sys.stdout.buffer.write(STORED.dump_json(read_all(Client(project=PROJECT))))
