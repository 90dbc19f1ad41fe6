"""What the runbook, and Terraform's page, tell an operator to type exists, and takes these options."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from cli.app import build

ROOT: Final = Path(__file__).parents[2]
TERRAFORM: Final = ROOT / "infra" / "terraform"
RUNBOOK: Final = ROOT / "docs" / "runbook.md"
PAGES: Final = (RUNBOOK, TERRAFORM / "README.md", ROOT / "README.md")

FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INDENTED: Final = re.compile(r"^ {4,}\S.*\n(?: {4,}\S.*\n)*", re.MULTILINE)
COMMENT: Final = re.compile(r"(?:^|\s)#.*$", re.MULTILINE)
INLINE: Final = re.compile(r"`(launchyard [^`]+)`")
COMMAND: Final = re.compile(
    r"(?:^|[\s(;|&/])(launchyard|make|terraform|python -m)(?= +[^{\s])((?:\"[^\"]*\"|'[^']*'|[^\"'\n#>|;&)])*)"
)
COPIED: Final = re.compile(r"^ *cp infra/terraform/(envs/\w+\.tfvars) ", re.MULTILINE)
SUBCOMMANDS: Final = {"apply", "destroy", "fmt", "import", "init", "output", "plan", "state", "validate", "version"}

pytestmark = pytest.mark.infra


def blocks(page: str) -> list[str]:
    """Return what the page shows to be typed, with continued lines joined."""
    shown = [body for language, body in FENCED.findall(page) if language in ("", "sh", "bash", "console")]
    return [COMMENT.sub("", block).replace("\\\n", " ") for block in (*shown, *INDENTED.findall(FENCED.sub("", page)))]


def commands(program: str, texts: list[str]) -> list[list[str]]:
    """Return the arguments of each call of this program."""
    found = [command for text in texts for command in COMMAND.finditer(text)]
    return [shlex.split(command[2]) for command in found if command[1] == program]


def typed(program: str) -> list[list[str]]:
    return commands(program, [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))])


def named() -> list[list[str]]:
    """Return the arguments of the commands of ours that the text names, which may leave options out."""
    texts = [" ".join(name.split()) for page in PAGES for name in INLINE.findall(page.read_text(encoding="utf-8"))]
    return commands("launchyard", texts)


def test_the_pages_name_commands_of_each_program() -> None:
    assert [name for name in ("launchyard", "make", "terraform", "python -m") if not typed(name)] == []


@pytest.mark.parametrize("arguments", typed("launchyard"), ids=" ".join)
def test_each_command_of_ours_exists_and_takes_its_arguments(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")  # as the first commands of the runbook do
    command, rest = _command(arguments)

    assert not hasattr(command, "commands"), f"{command.name} is a group: name one of its commands"
    command.make_context(command.name, rest)


@pytest.mark.parametrize("arguments", named(), ids=" ".join)
def test_each_command_of_ours_that_the_text_names_has_these_options(arguments: list[str]) -> None:
    command, rest = _command(arguments)
    options = {"--help", *(option for parameter in command.params for option in parameter.opts)}

    assert [word for word in rest if word.startswith("-") and word not in options] == []


def _command(arguments: list[str]) -> tuple[Any, list[str]]:
    """Return the command, or the group if no more is named, and what follows its name."""
    found: Any = get_command(build())
    rest = list(arguments)
    while hasattr(found, "commands") and rest:
        assert rest[0] in found.commands, f"{found.name} has no command {rest[0]}"
        found = found.commands[rest.pop(0)]
    return found, rest


@pytest.mark.parametrize("page", [RUNBOOK, ROOT / "README.md"], ids=lambda page: str(page.name))
def test_the_first_orders_are_for_the_pool_that_the_host_joins_and_its_key_may_claim_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    calls = [" ".join(call) for call in commands("launchyard", blocks(text))]
    (copied,) = COPIED.findall(text)
    install = next(call for call in calls if call.startswith("launcher install "))
    pool = _pool((TERRAFORM / copied).read_text(encoding="utf-8"), _option("pool", install))
    scope = {pool["datacenter"], "any"} | ({"secrets"} if pool.get("secrets") else set())

    assert {"capacity", "task"} <= set(pool["kinds"])
    assert scope in [set(re.findall(r"--scope (\S+)", call)) for call in calls if "--role launcher" in call]
    assert {call.split()[3] for call in calls if call.startswith("order create capacity baremetal:")} <= scope


def _pool(variables: str, name: str) -> dict[str, Any]:
    """Return the values of a pool in a file of variables."""
    body = variables.partition(f"\n  {name} = {{\n")[2].partition("\n  }")[0]
    return {name: json.loads(value) for name, value in re.findall(r"^ +(\w+) += (.+)$", body, re.MULTILINE)}


def _option(name: str, call: str) -> str:
    return call.partition(f"--{name} ")[2].split()[0]


def test_each_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {words[-1] for words in typed("make")}

    assert asked - targets == set()


def test_each_module_that_is_run_exists() -> None:
    modules = {words[0] for words in typed("python -m")}

    assert {name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").exists()} == set()


@pytest.mark.parametrize("arguments", typed("terraform"), ids=" ".join)
def test_each_command_of_terraform_names_what_its_files_have(arguments: list[str]) -> None:
    words = [word for word in arguments if not word.startswith("-chdir=")]
    options, (subcommand, *names) = [w for w in words if w.startswith("-")], [w for w in words if not w.startswith("-")]
    declared = "\n".join(file.read_text(encoding="utf-8") for file in sorted(TERRAFORM.glob("*.tf")))

    assert subcommand in SUBCOMMANDS
    for option in options:
        name, _, value = option.partition("=")
        if name == "-var":
            assert f'variable "{value.partition("=")[0]}" {{' in declared
        if name == "-var-file":
            assert (TERRAFORM / value).exists()
    if subcommand == "output":
        assert [name for name in names if f'output "{name}" {{' not in declared] == []
    if subcommand == "state":
        resources = [name.split(".") for name in names[1:]]
        assert [one for one in resources if f'resource "{one[0]}" "{one[1]}" {{' not in declared] == []


def test_each_alert_has_a_heading_of_its_own_name() -> None:
    titles = re.findall(r'^ +title += "(.+)"$', (TERRAFORM / "monitoring.tf").read_text(encoding="utf-8"), re.MULTILINE)
    headings = re.findall(r"^### (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)

    assert titles
    assert sorted(set(titles) - set(headings)) == []


def test_each_secret_setting_has_a_way_of_rotation() -> None:
    settings = json.loads((TERRAFORM / "services.json").read_text(encoding="utf-8"))["settings"]
    text = RUNBOOK.read_text(encoding="utf-8")
    rotation = text[text.index("## Rotating secrets") : text.index("## Upgrade")]

    assert [name for name, setting in settings.items() if setting["secret"] and f"`{name}`" not in rotation] == []


def test_each_link_of_the_runbook_leads_somewhere() -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    for page, heading in re.findall(r"\]\(([\w.-]*)#([\w-]+)\)", text):
        target = (RUNBOOK.parent / page).read_text(encoding="utf-8") if page else text
        headings = re.findall(r"^#+ (.+)$", target, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in headings}
        assert heading in anchors, f"{page}#{heading}"
