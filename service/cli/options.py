"""Options of commands: made from the table in `service.run.options`, and how help shows them."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand, TyperGroup

from service.run.options import RunOptions

Function = TypeVar("Function", bound=Callable[..., None])
_METAVARS: dict[str, str] = {"weights": "FILE", "labels": "ID=NAME,...", "colors": "ID=COLOR,..."}


class Command(TyperCommand):
    """A command whose help shows flags without `<bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with `--help`."""
        return _without_flag_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose help shows flags without `<bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with `--help`."""
        return _without_flag_types(super().get_params(ctx))


def _without_flag_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


def run_options(*names: str) -> Callable[[Function], Function]:
    """Give a command options of the table, which it receives as `**values`; all of them by default.

    The command makes `RunOptions.checked(**values)`, so that the table and not Typer refuses a value.
    """

    def decorate(command: Function) -> Function:
        hints = get_type_hints(command, include_extras=True)
        signature = inspect.signature(command)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in signature.parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        table = [_parameter(name, RunOptions.model_fields[name]) for name in names or RunOptions.model_fields]
        place = next((i for i, p in enumerate(own) if p.name == "json_file"), len(own))
        parameters = [*own[:place], *table, *own[place:]]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return command

    return decorate


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind, choices = _kind(field.annotation)
    option = typer.Option(
        help=(field.description or "").replace("`", ""),
        metavar=_METAVARS.get(name) or (f"[{'|'.join(choices)}]" if choices else None),
        autocompletion=_completer(choices or tuple(e for e in field.examples or () if isinstance(e, str))),
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[kind, option]
    )


def _kind(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the type that Typer parses, and the allowed words where there are only some."""
    if get_origin(annotation) is Literal:
        return str, get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        # The table parses what may be of several types.
        return (_kind(inner[0])[0] if len(inner) == 1 else str) | None, ()
    if get_origin(annotation) is dict:
        return str, ()
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[0], ()
    return annotation, ()


def _completer(words: tuple[str, ...]) -> Callable[[str], list[str]] | None:
    """Return the shell completion that offers these words."""
    return (lambda incomplete: [word for word in words if word.startswith(incomplete)]) if words else None
