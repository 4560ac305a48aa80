"""Commands, links and generated parts of the documentation."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from service.cli.main import app
from tests.support.paths import ROOT
from tests.support.scripts import load_script

MADE_BY_USERS = {"docker/.env"}
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def commands_of(page: Path) -> list[list[str]]:
    """Return the words of every `keymask ...` line in the page's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.strip().removeprefix(".venv/bin/") for block in blocks for line in block.splitlines()]
    commands = [line.partition(" < ")[0] for line in lines if line.startswith("keymask ")]  # without a redirection
    return [shlex.split(command, comments=True)[1:] for command in commands]


def parse(command: Any, name: str, words: list[str]) -> None:
    """Parse a command line without running it; raise if an option or argument is wrong."""
    context = command.make_context(name, list(words))
    if hasattr(command, "commands"):
        child_name, child, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parse(child, child_name, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_a_page_are_valid(page: Path) -> None:
    """The command line accepts every keymask command in a page's shell blocks."""
    for words in commands_of(page):
        parse(typer.main.get_command(app), "keymask", words)


def test_commands_are_found() -> None:
    """The search finds a command of the quickstart."""
    assert ["probe", "dog.mp4"] in commands_of(ROOT / "docs" / "quickstart.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_point_to_files(page: Path) -> None:
    """Every relative link in a page points to a file in the repository."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_command_line_reference_is_current() -> None:
    """docs/reference/cli.md is current; run `python scripts/make_cli_reference.py` after changing a command."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page.splitlines() == load_script(ROOT / "scripts" / "make_cli_reference.py").reference().splitlines()


@pytest.mark.parametrize("name", load_script(ROOT / "scripts" / "update_readme_tables.py").PAGES)
def test_tables_match_the_results(name: str) -> None:
    """A page's tables are current; run `python scripts/update_readme_tables.py` after benchmarks."""
    wanted = load_script(ROOT / "scripts" / "update_readme_tables.py").current(name)
    assert (ROOT / name).read_text(encoding="utf-8").splitlines() == wanted.splitlines()


def test_the_reference_shows_both_names_of_a_switch() -> None:
    """An option that can be turned off is shown with both names."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\| `--refine`, `--no-refine` \|", page)) == 3  # run, batch and eval


def test_model_cards_describe_the_shipped_weights() -> None:
    """The cards are current; run `python scripts/update_model_cards.py` after adding new weights."""
    maker = load_script(ROOT / "scripts" / "update_model_cards.py")
    for name, card in maker.CARDS.items():
        assert card.read_text(encoding="utf-8") == maker.card_with_run(name)


def test_architecture_pages_end_with_where_to_look() -> None:
    """The last section of each architecture page is "Where to look"; it names files, all of which exist."""
    pages = sorted((ROOT / "docs" / "architecture").glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "Where to look" in text, page.name
        last = text[text.rindex("Where to look") :]
        assert "\n## " not in last, f"{page.name} has a section after 'Where to look'"
        named = re.findall(r"`([\w/]+(?:\.(?:py|md|toml|json)|/))`", last)
        assert named
        assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_named_in_a_page_exist(page: Path) -> None:
    """Every repository path in a page's code spans exists."""
    folders = "codec|vos|service|client|benchmarks|scripts|tests|docs|docker|examples"
    named = re.findall(rf"`((?:{folders})/[\w./-]*[\w/])`", page.read_text(encoding="utf-8"))
    assert [name for name in named if name not in MADE_BY_USERS and not (ROOT / name).exists()] == []
