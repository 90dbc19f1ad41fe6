"""`launchyard vm measure`, and waiting for a machine's serial console."""

from pathlib import Path

import pytest

from launcher.machines.resources import Size
from launcher.vm_tool import console, machines
from launcher.vm_tool.console import ConsoleSilent
from shared.guest.console import UP
from tests.launcher.fake_control_plane import DEADLINE
from tests.launcher.stand_ins import ENDS, STAYS
from tests.launcher.tdx_host import a_tdx_host
from tests.launcher.vm_tool.tool import MEASURED, VALUES, a_machine, a_measuring_provider


@pytest.mark.vm
def test_a_trust_domain_prints_its_registers_and_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "PATIENCE_SECONDS", 0.2)
    with a_tdx_host(tmp_path) as host:
        provider = a_measuring_provider(tmp_path, host, MEASURED)

        answer = machines.measure(tmp_path / "state", provider, Size(memory_mib=64, vcpus=1), seconds=20)

    assert answer == VALUES
    assert list((tmp_path / "state" / "vms").iterdir()) == []


@pytest.mark.vm
def test_a_trust_domain_that_cannot_measure_itself_is_reported_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "PATIENCE_SECONDS", 0.2)
    with a_tdx_host(tmp_path) as host:
        provider = a_measuring_provider(tmp_path, host, "MEASURE failed: /sys: No such file or directory")

        with pytest.raises(ConsoleSilent, match="could not measure itself: failed: /sys"):
            machines.measure(tmp_path / "state", provider, Size(memory_mib=64, vcpus=1), seconds=20)

    assert list((tmp_path / "state" / "vms").iterdir()) == []


def test_a_sign_of_life_is_looked_for_every_two_seconds(tmp_path: Path) -> None:
    made, _ = a_machine(tmp_path, STAYS)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            made.serial_log.write_text(f"SeaBIOS\r\n[worker] vm=one {UP}, 5.0 s after its boot\r\n")

    assert console.await_sign(made, pause) == "10.0.2.15"
    assert pauses == [2, 2, 2]
    machines.end(made)


def test_a_silent_machine_is_given_up_when_the_time_is_over(tmp_path: Path) -> None:
    made, _ = a_machine(tmp_path, STAYS)
    made.serial_log.write_text("Kernel panic")
    pauses: list[float] = []

    with pytest.raises(ConsoleSilent, match=r"within 120 s\. Its last output: Kernel panic"):
        console.await_sign(made, pauses.append)

    assert sum(pauses) == 120
    machines.end(made)


def test_a_machine_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    made, process = a_machine(tmp_path, ENDS)
    process.wait(DEADLINE)

    with pytest.raises(ConsoleSilent, match="The machine ended"):
        console.await_sign(made, lambda seconds: pytest.fail(f"waited {seconds} s"))

    machines.end(made)
