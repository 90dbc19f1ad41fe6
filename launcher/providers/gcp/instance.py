"""Builds an order's instance: Compute Engine's resource, as its Python client names the fields."""

from collections.abc import Mapping
from typing import Any, Final

from launcher.machines.remote.marks import Marks
from launcher.providers.gcp.options import GcpOptions, image_path
from shared.domain.spec import NodeSize

CONFIG_KEY: Final = "launchyard-config"
"""The metadata in which the worker finds its configuration. Whoever may read the instance may read it, as with every
channel into a guest; it holds no secret but the callback's token."""

Resource = Mapping[str, Any]


def build(options: GcpOptions, zone: str, name: str, labels: Marks, size: NodeSize, config: str) -> Resource:
    return {
        "name": name,
        "machine_type": f"zones/{zone}/machineTypes/{options.machine_type_of(size)}",
        "labels": labels,
        "confidential_instance_config": {"confidential_instance_type": "TDX"},
        "scheduling": _scheduling(options),
        "disks": [_boot_disk(options, zone)],
        "network_interfaces": [_network(options)],
        "metadata": {"items": [{"key": CONFIG_KEY, "value": config}]},
        "service_accounts": [],  # none: nothing in it may call Google
    }


def _scheduling(options: GcpOptions) -> Resource:
    """A TD cannot be migrated, must not restart after it has ended, and must not cost money after it is forgotten."""
    return {
        "on_host_maintenance": "TERMINATE",
        "automatic_restart": False,
        "max_run_duration": {"seconds": options.max_run_seconds},
        "instance_termination_action": "DELETE",
    }


def _boot_disk(options: GcpOptions, zone: str) -> Resource:
    return {
        "boot": True,
        "auto_delete": True,
        "initialize_params": {
            "source_image": image_path(options.image),
            "disk_size_gb": options.disk_gib,
            "disk_type": f"zones/{zone}/diskTypes/{options.disk_type}",
        },
    }


def _network(options: GcpOptions) -> Resource:
    """Give it an address, so that its worker can reach the control plane. TDX demands the driver gVNIC."""
    subnetwork = {"subnetwork": options.subnetwork} if options.subnetwork else {"network": options.network}
    return {
        **subnetwork,
        "nic_type": "GVNIC",
        "access_configs": [{"name": "External NAT", "type_": "ONE_TO_ONE_NAT"}],
    }
