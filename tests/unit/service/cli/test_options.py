"""Options of commands: from the table, with completion and readable help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from service.cli.main import app, main
from service.errors import UsageError
from service.http.schemas import Options
from service.run.options import JobOptions, RunOptions

PROGRAM = [sys.executable, "-c", "import sys; from service.cli.main import main; sys.exit(main())"]


def options_of(command: str) -> dict[str, object]:
    """Parameters of a command by name."""
    return {parameter.name: parameter for parameter in typer.main.get_command(app).commands[command].params}


def test_run_takes_every_option_of_the_table() -> None:
    """An option that is added to the table is an option of `keymask run` and, of a job's, of HTTP."""
    assert set(RunOptions.model_fields) <= set(options_of("run"))
    assert set(Options.model_json_schema()["properties"]) == set(JobOptions.model_fields)


@pytest.mark.parametrize("command", ["run", "eval", "bench", "probe"])
def test_defaults_and_help_are_those_of_the_table(command: str) -> None:
    """Every command shows an option of the table with its default and description."""
    shared = options_of(command).keys() & RunOptions.model_fields.keys()
    assert shared
    for name in shared:
        parameter, field = options_of(command)[name], RunOptions.model_fields[name]
        assert parameter.default == field.default
        assert parameter.help.replace("`", "") == field.description.replace("`", "")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quality": "good"}, "quality is 'good'; allowed: fast, balanced, best"),
        ({"max_key_share": 0.0}, "max_key_share is 0.0; it must be above 0"),
        ({"max_key_share": 1.5}, "max_key_share is 1.5; it must be at most 1"),
        ({"keyframes": "every:0"}, "keyframes is 'every:0'; allowed: adaptive, codec, every:N with N of 1 or more"),
        ({"max_side": 15}, "max_side is 15; it must be at least 16"),
        ({"start": -1}, "start is -1; it must be 0 or more"),
    ],
)
def test_a_refused_value_is_named_with_what_is_allowed(values: dict[str, object], message: str) -> None:
    """The message has the option, the value and the range."""
    with pytest.raises(UsageError) as caught:
        RunOptions.checked(**values)
    assert str(caught.value) == message


def test_flags_have_no_type_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`--force`, `--no-refine` and `--help` are shown without `<bool>`."""
    for command in (["run"], ["train", "base"], ["models", "list"]):
        assert main([*command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "--help" in shown
        assert "<bool>" not in shown


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("keymask run --quality ", ["fast", "balanced", "best"]),
        ("keymask run --keyframes a", ["adaptive"]),
        ("keymask pro", ["probe"]),
    ],
)
def test_the_shell_completes_commands_and_values(words: str, offered: list[str]) -> None:
    """The installed completion offers the allowed words."""
    asked = {"_KEYMASK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = subprocess.run(PROGRAM, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == offered


def test_completion_is_installed_for_the_shell(tmp_path: Path) -> None:
    """`keymask --install-completion` writes a script that names the program."""
    home = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [*PROGRAM, "--install-completion", "bash"]
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scripts = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_KEYMASK_COMPLETE" in script for script in scripts)
