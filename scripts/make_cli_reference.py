"""Make docs/reference/cli.md from the commands: `python scripts/make_cli_reference.py [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main

from service.cli.main import app

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# The command line

Made by `python scripts/make_cli_reference.py`; do not edit by hand.

Every command with a result takes `--json FILE` (`-` for standard output), shows a progress bar on a terminal and
nothing on a pipe, and ends with one of these exit codes:

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | failure: the stream breaks in the middle, the disk is full, a download fails |
| 2 | bad usage or input: the line on standard error says what was given and what is allowed |
| 130 | stopped by Ctrl-C; what was written stays |

Frames are counted from 0 in presentation order. `FILE` and `PATH` are paths; a video is any file that FFmpeg decodes,
or for `keymask run` a folder of numbered JPEG or PNG pictures. `keymask --install-completion` teaches the shell the
commands, options and values.
"""


def reference() -> str:
    """Return the page."""
    return HEAD + "".join(_pages("keymask", typer.main.get_command(app)))


def _pages(path: str, command: Any) -> list[str]:
    """Return one section per command, also of groups."""
    if hasattr(command, "commands"):
        return [page for name, child in command.commands.items() for page in _pages(f"{path} {name}", child)]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([path, *(_placeholder(p) for p in arguments), "[OPTIONS]" if options else ""]).strip()
    lines = [f"\n## {path}\n", _flat(command.help), f"\n```\n{usage}\n```\n", "| option | meaning |", "| --- | --- |"]
    lines += [f"| `{_placeholder(p)}` | {_flat(p.help)} |" for p in arguments]
    lines += [f"| {_spelled(p)} | {_flat(p.help)}{_default(p)} |" for p in options]
    return ["\n".join(lines) + "\n"]


def _placeholder(parameter: Any) -> str:
    name = parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _spelled(parameter: Any) -> str:
    """Return the option's name with its value, and the name that turns a switch off."""
    names = [max(opts, key=len) for opts in (parameter.opts, parameter.secondary_opts) if opts]
    kind = parameter.metavar.replace("|", "\\|") if parameter.metavar else _kind(parameter)
    value = "" if parameter.is_flag else f" {kind}"
    return ", ".join(f"`{name}{value}`" for name in names)


def _kind(parameter: Any) -> str:
    """Return the placeholder of an option's value."""
    wanted = parameter.type_descriptor.annotation
    if get_origin(wanted) is Literal:
        return "\\|".join(get_args(wanted))
    return {int: "N", float: "X", Path: "PATH"}.get(wanted, "TEXT")


def _default(parameter: Any) -> str:
    if parameter.required:
        return " Required."
    if parameter.default is None or parameter.is_flag or callable(parameter.default):
        return ""
    return f" Default: `{parameter.default}`."


def _flat(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> int:
    """Write the page, or check that it is current."""
    parser = argparse.ArgumentParser(description="Make the reference of the command line.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is out of date")
    check = parser.parse_args().check
    if check:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != reference())
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference(), encoding="utf-8")
    print(TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
