"""The command line `keymask`: registers the commands and turns errors into exit codes.

How to write a command:

- Raise errors; do not print them and do not exit. `service.errors.ERROR_MAPPINGS` gives the exit code: 0 done, 2 bad
  usage or input, 1 failure, 130 Ctrl-C. The user sees one line on standard error and no traceback.
- Raise `service.errors.UsageError` for options that Typer cannot check alone; errors of lower layers pass through.
- Print text for people through `text_console(json_file)`, JSON through `write_json(value, json_file)`, and show
  progress with `progress_bar` (all in `service.cli.console`); declare the option as `json_file: JsonOption = None`.
- Import torch, av and cv2 inside the command's function, so that `keymask --help` stays fast.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import typer

from service.cli.commands import export, keys, models, train
from service.cli.commands.batch import batch_command
from service.cli.commands.bench import bench_command
from service.cli.commands.correct import correct_command
from service.cli.commands.demo import demo_command
from service.cli.commands.eval import eval_command
from service.cli.commands.frame import frame_command
from service.cli.commands.migrate import migrate_command
from service.cli.commands.probe import probe_command
from service.cli.commands.run import run_command
from service.cli.commands.serve import serve_command
from service.cli.commands.worker import worker_command
from service.cli.options import Command, Group
from service.config import load_settings, unknown_variables
from service.errors import BAD_INPUT, DONE, FAILED, UsageError, error_mapping, message_of
from service.run.torch_runtime import prepare_torch

app = typer.Typer(
    name="keymask",
    help="Masks for every frame of a compressed video from the mask of one frame.",
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    cls=Group,
)


@app.callback()
def root(
    context: typer.Context,
    show_version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    """Masks for every frame of a compressed video from the mask of one frame."""
    if show_version:
        typer.echo(f"keymask {version('keymask-server')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("run", cls=Command)(run_command)
app.command("correct", cls=Command)(correct_command)
app.add_typer(export.app, name="export")
app.command("frame", cls=Command)(frame_command)
app.command("batch", cls=Command)(batch_command)
app.command("probe", cls=Command)(probe_command)
app.command("demo", cls=Command)(demo_command)
app.command("eval", cls=Command)(eval_command)
app.command("bench", cls=Command)(bench_command)
app.add_typer(train.app, name="train")
app.command("serve", cls=Command)(serve_command)
app.command("worker", cls=Command)(worker_command)
app.command("migrate", cls=Command)(migrate_command)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments`, the process's own by default, and return the exit code."""
    prepare_torch()
    for warning in unknown_variables():
        typer.echo(f"keymask: warning: {warning}", err=True)
    try:
        result = app(args=arguments, prog_name="keymask", standalone_mode=False)
    except typer.TyperException as error:
        return _usage_error(error)
    except BrokenPipeError:
        # The reader of our output has gone (`keymask ... | head`); keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Exception, KeyboardInterrupt) as error:
        return _failure(error)
    if result == error_mapping(KeyboardInterrupt()).exit_code:
        return _failure(KeyboardInterrupt())
    return result if isinstance(result, int) else DONE


def _usage_error(error: typer.TyperException) -> int:
    message = " ".join(str(getattr(error, "format_message", error.__str__)()).split())
    # Typer names the wrong type but not the value; pydantic, which found it, does.
    given: list[Any] = getattr(error.__cause__, "errors", list)()
    if given:
        message += f"; given: {given[0]['input']!r}"
    if message:
        typer.echo(f"keymask: error: {message}", err=True)
    return BAD_INPUT


def _failure(error: BaseException) -> int:
    mapping = error_mapping(error)
    typer.echo(f"keymask: error: {message_of(error)}", err=True)
    if not mapping.expected and _debug():
        traceback.print_exception(error)
    return mapping.exit_code


def _debug() -> bool:
    try:
        return load_settings().debug
    except UsageError:
        return False
