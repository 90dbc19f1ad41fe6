"""Compute Engine's rules for a new instance, as far as a launcher can break them.

https://cloud.google.com/compute/docs/reference/rest/v1/instances/insert, and for Confidential VMs
https://cloud.google.com/confidential-computing/confidential-vm/docs/supported-configurations.
"""

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any, Final
from uuid import UUID

NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1035."""
LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")
MAX_LABELS: Final = 64
ZONE: Final = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z]")
MACHINE_TYPE: Final = re.compile(r"(?:.*/)?zones/([^/]+)/machineTypes/([^/]+)")
TDX_MACHINE: Final = re.compile(r"c3-standard-[0-9]+|a3-highgpu-1g")
RUN_SECONDS: Final = range(30, 120 * 24 * 3600 + 1)
METADATA_BYTES: Final = 256 * 1024
"""The limit for one value."""

Document = Mapping[str, Any]


def wrongs(zone: str, instance: Document, request_id: str, lacking: Container[str] = ()) -> Iterator[str]:
    """Yield one sentence for each error in the request. Zones in `lacking` have no machine types."""
    if request_id and not _is_request_id(request_id):
        yield "Invalid value for field 'requestId': it must be a UUID other than zero."
    if not NAME.fullmatch(instance.get("name", "")):
        yield f"Invalid value for field 'resource.name': '{instance.get('name', '')}'."
    yield from _of_labels(instance.get("labels", {}))
    yield from _of_machine(zone, instance, zone in lacking)
    yield from _of_scheduling(instance.get("scheduling", {}))
    if not any(disk.get("boot") for disk in instance.get("disks", ())):
        yield "Invalid value for field 'resource.disks': a boot disk must be specified."
    if not instance.get("networkInterfaces"):
        yield "Required field 'resource.networkInterfaces' not specified."
    if any(len(item.get("value", "").encode()) > METADATA_BYTES for item in metadata(instance)):
        yield "Value for field 'resource.metadata.items' is too large."


def metadata(instance: Document) -> list[Document]:
    items: list[Document] = instance.get("metadata", {}).get("items", [])
    return items


def is_confidential(instance: Document) -> bool:
    return bool(instance.get("confidentialInstanceConfig", {}).get("confidentialInstanceType") == "TDX")


def _of_labels(labels: Mapping[str, str]) -> Iterator[str]:
    if len(labels) > MAX_LABELS:
        yield "Too many labels."
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            yield f"Invalid value for field 'resource.labels': '{key}': '{value}'."


def _of_machine(zone: str, instance: Document, lacking: bool) -> Iterator[str]:
    named = MACHINE_TYPE.fullmatch(instance.get("machineType", ""))
    if named is None or named[1] != zone:
        yield "Invalid value for field 'resource.machineType': the URL is malformed."
    elif lacking:
        yield (
            f"Invalid value for field 'resource.machineType': '{named[0]}'. "
            f"Machine type with name '{named[2]}' does not exist in zone '{zone}'."
        )
    elif is_confidential(instance) and not TDX_MACHINE.fullmatch(named[2]):
        yield f"Confidential instance type TDX is not supported on machine type {named[2]}."
    if is_confidential(instance) and instance.get("scheduling", {}).get("onHostMaintenance") != "TERMINATE":
        yield "Instances with Confidential VM TDX must have onHostMaintenance TERMINATE."


def _of_scheduling(scheduling: Document) -> Iterator[str]:
    limit = scheduling.get("maxRunDuration")
    if limit is None:
        return
    if int(limit.get("seconds", 0)) not in RUN_SECONDS:
        yield "Invalid value for field 'resource.scheduling.maxRunDuration'."
    if scheduling.get("instanceTerminationAction") not in ("DELETE", "STOP"):
        yield "An instance with a maxRunDuration must specify an instanceTerminationAction."
    if scheduling.get("automaticRestart", True) and scheduling.get("instanceTerminationAction") == "DELETE":
        yield "An instance that is deleted at its end must not restart automatically."


def _is_request_id(text: str) -> bool:
    try:
        return UUID(text).int != 0
    except ValueError:
        return False
