"""The provider `qemu` and node sizes: data disks, GPUs, and hosts that lack what a machine needs."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from launcher.host.checks.host import Case, Host
from launcher.host.checks.registry import examine, missing
from launcher.host.hypervisor import QemuMode
from launcher.machines import directory
from launcher.machines.directory import DATA_DISK, MIB
from launcher.machines.port import LaunchFailed
from launcher.machines.records import VmManifest
from launcher.machines.resources import Size, Sizes
from launcher.providers.qemu import monitor as qmp
from launcher.providers.qemu.provider import QemuProvider
from shared.domain.order import Reason
from shared.domain.spec import AnySpec, CapacitySpec, NodeSize
from shared.guest.config import WorkerConfig
from tests.factories import CAPACITY, TASK
from tests.launcher.stand_ins import A_LEASE
from tests.launcher.tdx_host import GPU, a_tdx_host
from tests.launcher.test_qemu import A_HOLD, write_image

LLM = CapacitySpec(datacenter="local:dev", node_size=NodeSize.LLM)
SIZES = Sizes(
    tiny=Size(memory_mib=64, vcpus=1, disk_mib=3),
    llm=Size(memory_mib=64, vcpus=2, gpus=1),
    work=Size(memory_mib=64, vcpus=1),
)


def a_provider(folder: Path, mode: QemuMode = QemuMode.TCG) -> QemuProvider:
    return QemuProvider(mode, folder / "image", write_image(folder / "image"), SIZES, directory_mib=1)


def a_config(spec: AnySpec) -> WorkerConfig:
    return WorkerConfig(order_id="one", epoch=1, control_plane="http://h", callback_token="token", spec=spec)


def a_manifest(provider: QemuProvider, spec: AnySpec) -> VmManifest:
    uuid = str(uuid4())
    plan = provider.plan(A_HOLD, uuid, a_config(spec))
    return VmManifest(
        **A_HOLD.model_dump(),
        vm=f"vm-{uuid}",
        uuid=uuid,
        provider=provider.name,
        mode=plan.mode,
        image_digest=plan.image_digest,
        argv=plan.argv,
        resources=provider.resources(spec),
    )


@pytest.mark.vm
def test_a_machine_has_the_data_disk_of_its_size_in_a_file_without_blocks(tmp_path: Path) -> None:
    provider = a_provider(tmp_path)
    vm = directory.create(tmp_path, a_manifest(provider, CAPACITY), b"{}", A_LEASE)

    machine = provider.start(vm)
    try:
        nodes = qmp.execute(vm.path, "query-named-block-nodes")
    finally:
        machine.destroy()

    assert isinstance(nodes, list)
    sizes = {node["node-name"]: node["image"]["virtual-size"] for node in nodes}
    assert sizes["data"] == 3 * MIB
    disk = (vm.path / DATA_DISK).stat()
    assert (disk.st_size, disk.st_blocks, disk.st_mode & 0o777) == (3 * MIB, 0, 0o600)


@pytest.mark.vm
def test_a_machine_of_a_size_without_one_has_no_data_disk(tmp_path: Path) -> None:
    provider = a_provider(tmp_path)
    vm = directory.create(tmp_path, a_manifest(provider, TASK), b"{}", A_LEASE)

    provider.start(vm).destroy()

    assert not (vm.path / DATA_DISK).exists()


def test_gpus_go_to_the_size_that_has_them_and_to_no_other(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path) as host:
        provider = replace(a_provider(tmp_path, QemuMode.TDX), host=host, gpus=(GPU,))
        argv = {spec: provider.plan(A_HOLD, str(uuid4()), a_config(spec)).argv for spec in (LLM, CAPACITY, TASK)}

    assert f"vfio-pci,host={GPU},bus=gpu1,iommufd=iommufd0" in argv[LLM]
    assert not any("vfio" in word for spec in (CAPACITY, TASK) for word in argv[spec])


def test_a_host_whose_gpus_cannot_be_passed_through_still_runs_the_other_sizes(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path) as host:
        (host.root / "dev/iommu").unlink()
        provider = replace(a_provider(tmp_path, QemuMode.TDX), host=host, gpus=(GPU,))

        provider.plan(A_HOLD, str(uuid4()), a_config(CAPACITY))
        with pytest.raises(LaunchFailed, match=r"^iommu: no /dev/iommu"):
            provider.plan(A_HOLD, str(uuid4()), a_config(LLM))


def test_a_host_without_tdx_refuses_a_tdx_machine_in_the_doctors_words(tmp_path: Path) -> None:
    bare = Host(root=tmp_path)
    provider = replace(a_provider(tmp_path, QemuMode.TDX), host=bare)

    with pytest.raises(LaunchFailed) as failed:
        provider.plan(A_HOLD, str(uuid4()), a_config(TASK))

    assert failed.value.reason is Reason.HYPERVISOR_MISSING
    actual = {f"{result.check.name}: {result.finding}" for result in missing(examine(Case(bare, QemuMode.TDX)))}
    lines = set(str(failed.value).splitlines())
    assert lines <= actual
    assert {line.split(":")[0] for line in lines} >= {"tdx processor", "tdx module", "firmware", "quote service"}
