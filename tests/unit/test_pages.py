"""What the pages tell their readers to type is accepted."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CURL: Final = re.compile(r"\bcurl (?:.*\\\n)*.*")
FORM: Final = re.compile(r" (?:-d|-F|--data\S*|--form) ")
"""Options of curl(1) whose body has the type of a form, which every route refuses."""


def test_no_command_of_a_page_sends_a_body_as_a_form() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    commands = [(page.name, found[0]) for page in pages for found in CURL.finditer(page.read_text(encoding="utf-8"))]

    assert [command for _, command in commands if "--json" in command]
    assert [one for one in commands if FORM.search(one[1])] == []
