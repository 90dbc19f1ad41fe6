"""A worker written from the capacity contract alone: it polls, reports, and knows nothing of Launchyard.

One order at a time, no threads, no retries: any status of 400 or more, and anything that is not JSON, ends it with 1.
The machine that it starts is a line in a file, so that a test can count them.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
from pathlib import Path

Json = dict[str, object]


class WorkerError(Exception):
    """A failure for which the contract has the worker end."""


def main() -> int:
    flags = _flags()
    done = 0
    try:
        while True:
            answer = _post(flags, "/claim", {"datacenter": flags.datacenter, "node_size": flags.node_size})
            order = answer.get("order")
            if answer.get("claimed") is True and isinstance(order, dict) and order.get("order_id"):
                _fulfil(flags, order)
                done += 1
                if flags.one_shot or done == flags.max_orders:
                    return 0
            elif flags.one_shot:
                return 0
            else:
                time.sleep(flags.poll_seconds)
    except KeyboardInterrupt:
        return 130
    except (WorkerError, OSError, ValueError) as error:
        sys.stderr.write(f"worker error: {error}\n")
        return 1


def _fulfil(flags: argparse.Namespace, order: Json) -> None:
    order_id = str(order["order_id"])
    print(f"[launcher] claimed order={order_id} dc={order['datacenter']} size={order['node_size']}", flush=True)  # noqa: T201 (the contract's lines)
    _post(flags, f"/{order_id}", {"status": "provisioning"})
    vm_name = f"tdvirsh-trust_domain_verity-{order_id}"
    with flags.machines.open("a") as machines:
        machines.write(f"{vm_name}\n")
    _post(flags, f"/{order_id}", {"status": "fulfilled", "vm_name": vm_name})
    print(f"[launcher] order={order_id} fulfilled vm={vm_name}", flush=True)  # noqa: T201


def _post(flags: argparse.Namespace, path: str, body: Json) -> Json:
    headers = {
        "Authorization": f"Bearer {flags.launcher_api_key}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "easyenclave-capacity-launcher/1.0",
    }
    url = f"{flags.cp_url}/api/v1/launchers/capacity/orders{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 (of the test's own)
    with urllib.request.urlopen(request, timeout=45) as response:  # noqa: S310
        answer = json.loads(response.read() or b"{}")
    if not isinstance(answer, dict):
        raise WorkerError("the answer is no object")
    return answer


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cp-url", default=os.environ.get("CP_URL", ""))
    parser.add_argument("--launcher-api-key", default=os.environ.get("LAUNCHER_API_KEY", ""))
    parser.add_argument("--datacenter", default="")
    parser.add_argument("--node-size", default="")
    parser.add_argument("--poll-seconds", type=float, default=10)
    parser.add_argument("--max-orders", type=int, default=0)
    parser.add_argument("--one-shot", action="store_true")
    parser.add_argument("--machines", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
