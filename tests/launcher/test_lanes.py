"""Which orders a launcher asks for, by its providers and filters, and what their machines take."""

from pathlib import Path

import pytest

from launcher.host.hypervisor import QemuMode
from launcher.machines.resources import Size, Sizes
from launcher.orders.lanes import Lanes, names, served
from launcher.orders.mode import Mode
from launcher.providers.process.provider import ProcessProvider
from launcher.providers.qemu.provider import OWN_MEMORY_MIB, QemuProvider
from launcher.providers.registry import Providers
from shared.domain.lanes import MAX_OFFERED
from shared.domain.spec import CapacitySpec, NodeSize
from shared.wire.launchers import ClaimNext
from tests.factories import SESSION, TASK
from tests.launcher.stand_ins import Processes, a_manifest

WORK = ("any/export", "any/task", "any/task/secrets")
IMAGES = ("any/export/image", "any/task/image")
HERE, ELSEWHERE = Processes(), Processes()
BOTH = Providers({"baremetal": HERE, "gcp": ELSEWHERE}, HERE)


def capacity(pool: str) -> tuple[str, ...]:
    return tuple(f"{pool}/capacity/{size}" for size in NodeSize)


@pytest.mark.parametrize(
    ("providers", "datacenter", "expected"),
    [
        (BOTH, None, (*capacity("baremetal:*"), *capacity("gcp:*"), *WORK)),
        (BOTH, "gcp:us-central1-a", (*capacity("gcp:us-central1-a"), *WORK)),
        (Providers({"gcp": ELSEWHERE}, None), None, capacity("gcp:*")),
        (Providers({"gcp": ELSEWHERE}, None), "baremetal:rack-7", ()),
        (Providers({}, ELSEWHERE, images=ELSEWHERE), None, (*WORK, *IMAGES)),
        (Providers({}, HERE, images=ELSEWHERE), None, (*WORK, *IMAGES)),
    ],
    ids=[
        "two clouds",
        "a datacenter",
        "a cloud alone makes no machine for work",
        "another's datacenter",
        "images run all work",
        "images run here, too",
    ],
)
def test_a_launcher_serves_the_lanes_of_its_providers(
    providers: Providers, datacenter: str | None, expected: tuple[str, ...]
) -> None:
    assert names(served(providers, datacenter)) == expected


SESSIONS = Providers({}, HERE, sessions=HERE)


def test_a_launcher_with_an_executor_serves_sessions_by_the_labels_that_it_offers() -> None:
    assert names(served(BOTH, None)) == names(served(BOTH, None, labels=("gpu",)))
    assert names(served(SESSIONS, None)) == (*WORK, "any/session")
    assert names(served(SESSIONS, None, labels=("linux", "gpu"))) == (
        *WORK,
        *("any/session", "any/session/gpu", "any/session/linux", "any/session/gpu+linux"),
    )
    assert names(served(SESSIONS, None, mode=Mode.ONE_SHOT, labels=("gpu",))) == ()


def test_a_session_takes_one_of_its_hosts_sessions_and_other_work_none(tmp_path: Path) -> None:
    for provider in (ProcessProvider(tmp_path), QemuProvider(QemuMode.TCG, tmp_path, "0" * 64, Sizes())):
        needs = {lane.name: lane.need for lane in served(Providers({}, provider, sessions=provider), None)}

        assert {name: need.sessions for name, need in needs.items()} == {**dict.fromkeys(WORK, 0), "any/session": 1}


def test_the_most_labels_of_a_launcher_fit_into_one_claim() -> None:
    labels = tuple(f"label-{number}" for number in range(MAX_OFFERED))
    every = Providers({"baremetal": HERE, "gcp": ELSEWHERE}, HERE, images=ELSEWHERE, sessions=HERE)

    lanes = names(served(every, None, labels=labels))

    assert ClaimNext(request_id="claim-of-many-lanes", launcher="alpha", lanes=lanes).lanes == lanes


def test_a_session_is_run_by_the_provider_of_sessions_alone() -> None:
    assert SESSIONS.of(SESSION) is HERE
    with pytest.raises(LookupError, match="session, without LAUNCHYARD_EXECUTOR"):
        BOTH.of(SESSION)


def test_an_order_that_names_an_image_is_made_by_the_provider_of_images_alone() -> None:
    providers = Providers({}, HERE, images=ELSEWHERE)
    assert providers.of(TASK) is HERE
    assert providers.of(TASK.model_copy(update={"image": "an/image:1"})) is ELSEWHERE
    with pytest.raises(LookupError, match="task by an image"):
        BOTH.of(TASK.model_copy(update={"image": "an/image:1"}))


def test_a_launcher_of_one_node_size_takes_nothing_else() -> None:
    assert names(served(BOTH, "gcp:x", NodeSize.LLM)) == ("gcp:x/capacity/llm",)


@pytest.mark.parametrize(
    ("exact", "taken"),
    [
        ("gcp:us-central1-a/capacity/tiny", "gcp:*/capacity/tiny"),
        ("any/task", "any/task"),
        ("azure:eastus2-3/capacity/tiny", None),
        ("any/session", None),
    ],
)
def test_a_bell_names_one_datacenter_and_reaches_launchers_that_serve_its_cloud(exact: str, taken: str | None) -> None:
    lane = Lanes(served(BOTH, None)).find(exact)

    assert (lane and lane.name) == taken


def test_a_machine_takes_the_resources_of_its_node_size_and_its_data_disk(tmp_path: Path) -> None:
    sizes = Sizes(llm=Size(memory_mib=8192, vcpus=8, disk_mib=1000, gpus=2), work=Size(memory_mib=128, vcpus=1))
    qemu = QemuProvider(QemuMode.TDX, tmp_path, "0" * 64, sizes, directory_mib=64)

    lanes = {lane.name: lane.need for lane in served(Providers({"baremetal": qemu}, qemu), None)}

    assert lanes["baremetal:*/capacity/llm"].model_dump() == {
        "machines": 1,
        "memory_mib": 8192 + OWN_MEMORY_MIB,
        "vcpus": 8,
        "disk_mib": 1064,
        "tdx_keys": 1,
        "gpus": 2,
        "sessions": 0,
    }
    assert lanes["any/task"].disk_mib == 64
    assert lanes["any/task"].gpus == 0


def test_an_order_without_a_provider_is_refused_and_so_is_a_remote_machine() -> None:
    providers = Providers({"gcp": ELSEWHERE}, None)

    assert providers.of(CapacitySpec(datacenter="gcp:x", node_size=NodeSize.TINY)) is ELSEWHERE
    with pytest.raises(LookupError):
        providers.of(TASK)
    with pytest.raises(LookupError, match="azure is not enabled"):
        providers.recoverer(a_manifest().model_copy(update={"argv": (), "provider": "azure"}))
