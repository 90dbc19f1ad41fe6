"""The file of the unit's environment: what is read of it, and what of it changes."""

import os
import subprocess

import pytest

from launcher.installation.environment import EnvironmentFile, EnvironmentUnclear, is_writable

OPERATORS = """# The rack's own notes: do not lose them.
LAUNCHYARD_URL=https://old.example

  LAUNCHYARD_SLOTS = 8
; systemd takes this for a comment, too
#LAUNCHYARD_URL=https://commented.example
LAUNCHYARD_EXECUTOR="/opt/agents/executor --mode \\"safe\\""
LAUNCHYARD_LABELS=executor=claude-code,\\
host=bench-2
"""


def test_other_settings_and_comments_stay_as_they_are_and_only_named_ones_change() -> None:
    after = EnvironmentFile(OPERATORS).with_values(
        {"LAUNCHYARD_URL": "https://new.example", "LAUNCHYARD_DATACENTER": "a:b"}
    )

    changed = OPERATORS.replace("\nLAUNCHYARD_URL=https://old.example", "\nLAUNCHYARD_URL=https://new.example")
    assert after.text == f"{changed}LAUNCHYARD_DATACENTER=a:b\n"


def test_a_value_that_is_there_already_is_not_written_anew() -> None:
    before = EnvironmentFile(OPERATORS)

    assert before.with_values({"LAUNCHYARD_SLOTS": "8", "LAUNCHYARD_URL": "https://old.example"}) == before


def test_a_pools_settings_go_when_its_configuration_no_longer_has_them() -> None:
    before = EnvironmentFile(OPERATORS).with_pool({"LAUNCHYARD_URL": "https://new.example", "LAUNCHYARD_LABELS": "gpu"})
    assert before.of_the_pool == {"LAUNCHYARD_URL", "LAUNCHYARD_LABELS"}

    after = before.with_pool({"LAUNCHYARD_URL": "https://new.example"})

    mark = "# Set by the pool's configuration: "
    kept = before.text.replace("LAUNCHYARD_LABELS=gpu\n", "")
    assert after.text == kept.replace(f"{mark}LAUNCHYARD_LABELS LAUNCHYARD_URL\n", f"{mark}LAUNCHYARD_URL\n")
    assert after.variables.keys() == EnvironmentFile(OPERATORS).variables.keys() - {"LAUNCHYARD_LABELS"}
    assert after.with_pool({"LAUNCHYARD_URL": "https://new.example"}) == after


def test_values_are_read_as_systemd_reads_them() -> None:
    assert EnvironmentFile(OPERATORS).variables == {
        "LAUNCHYARD_URL": "https://old.example",
        "LAUNCHYARD_SLOTS": "8",
        "LAUNCHYARD_EXECUTOR": '/opt/agents/executor --mode "safe"',
        "LAUNCHYARD_LABELS": "executor=claude-code,host=bench-2",
    }


def test_of_a_variable_that_is_set_twice_the_last_counts_and_changes() -> None:
    twice = EnvironmentFile("LAUNCHYARD_SLOTS=1\nLAUNCHYARD_SLOTS=2\n")

    assert twice.variables == {"LAUNCHYARD_SLOTS": "2"}
    assert twice.with_values({"LAUNCHYARD_SLOTS": "3"}).text == "LAUNCHYARD_SLOTS=1\nLAUNCHYARD_SLOTS=3\n"


def test_a_value_over_several_lines_is_replaced_with_all_of_them() -> None:
    after = EnvironmentFile(OPERATORS).with_values({"LAUNCHYARD_LABELS": "gpu"})

    assert after.text.endswith("\nLAUNCHYARD_LABELS=gpu\n")
    assert "bench-2" not in after.text


@pytest.mark.parametrize("line", ['LAUNCHYARD_URL="https://old.example\n"', "LAUNCHYARD_URL='", "LAUNCHYARD_URL='a"])
def test_a_quotation_that_does_not_end_on_its_line_is_refused_by_name_and_without_its_value(line: str) -> None:
    with pytest.raises(EnvironmentUnclear, match="LAUNCHYARD_URL: its quotation") as caught:
        _ = EnvironmentFile(line).variables

    assert "old" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["", "plain", "https://a.example/v?x=1&y=$HOME", '/opt/x --flag "two words"', "a;b|c>d", "`id` \\ #", "~/a", "*"],
)
def test_a_written_value_is_read_again_by_the_file_and_by_a_shell(value: str) -> None:
    written = EnvironmentFile().with_values({"VALUE": value})

    assert written.variables == {"VALUE": value}
    script = f'{written.text}\nprintf %s "$VALUE"'
    shell = subprocess.run(
        ("/bin/sh", "-c", script), capture_output=True, text=True, check=True, env={"PATH": os.defpath}
    )
    assert shell.stdout == value


@pytest.mark.parametrize("value", ["it's", "two\nlines", "a\x00b", "a\x1bb"])
def test_what_systemd_and_a_shell_would_read_differently_is_not_writable(value: str) -> None:
    assert not is_writable(value)
    with pytest.raises(ValueError, match="quotation mark"):
        EnvironmentFile().with_values({"VALUE": value})
