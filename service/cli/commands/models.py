"""`keymask models list|info|pull`: list the networks, show one, or fetch its weights."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from service.cli.console import JsonOption, json_path, progress_bar, text_console, write_json
from service.cli.download import download, is_address
from service.cli.options import Command, Group
from service.config import load_settings
from service.errors import ServiceError, UsageError
from service.run.output_paths import check_paths
from vos.errors import WeightsError
from vos.weights.catalog import (
    DEFAULT,
    MODELS,
    REFINER,
    SUFFIXES,
    Model,
    find_weights,
    is_unchanged,
    read_record,
    weights_path,
)

app = typer.Typer(help="List the networks, show one, or fetch its weights.", no_args_is_help=True, cls=Group)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join([*MODELS, REFINER.name])}.")]


@app.command("list", cls=Command)
def list_models(json_file: JsonOption = None) -> None:
    """List the networks and whether their weights are installed."""
    models = [_status(model) for model in (*MODELS.values(), REFINER)]
    console = text_console(json_file)
    for model in models:
        size = _megabytes(model["bytes"]) if model["installed"] else "not here"
        default = "  (default)" if model["default"] else ""
        console.print(f"{model['name']:16s} {size:>9s}  {model['license']:10s}  {model['summary']}{default}")
    write_json({"models": models}, json_file)


@app.command(cls=Command)
def info(name: NameArgument, json_file: JsonOption = None) -> None:
    """Show one network: licence, source, file, checked SHA-256, and the metadata of the weights file."""
    model = find_weights(name)
    status = _status(model)
    path = weights_path(name, load_settings().weights_dir)
    record = read_record(path) if path and status["installed"] else None
    if path and record:
        from vos.weights.load import read_metadata  # noqa: PLC0415

        status |= {"unchanged": is_unchanged(path, record), "record": asdict(record)}
        status["metadata"] = read_metadata(path) if status["unchanged"] else {}
    _show(status, json_file)
    write_json(status, json_file)
    if status.get("unchanged") is False:
        raise WeightsError(f"{path} has changed since it was recorded; pull {name} again")


@app.command(cls=Command)
def pull(
    name: NameArgument,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A downloaded .pth, .pt or .safetensors file, a folder with one, or its https address.",
        ),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="Refuse the checkpoint if its SHA-256 differs.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Convert a published checkpoint to safetensors and record its SHA-256; without --from, download it first."""
    model = find_weights(name)
    if model.embedded:
        raise UsageError(f"{name} is part of keymask; its weights need not be pulled")
    check_paths((Path(source) if source else None,), {"--json": json_path(json_file)})
    console = text_console(json_file)
    console.print(f"{name}: licence {model.license}; {model.terms}")
    if not model.is_installed:
        needed = " and ".join(model.packages)
        raise UsageError(f"{name} needs {needed}, not installed here; install with {_install(model)}")
    store, origin = load_settings().weights_dir, source or model.url
    fetched = is_address(origin)
    if fetched and model.megabytes and not source:
        console.print(f"about {model.megabytes} MB from {model.page}")
    file = _fetch(model, origin, store / "downloads") if fetched else _in_folder(Path(origin), model)
    _check_digest(file, sha256)
    from vos.weights.load import pull_weights  # noqa: PLC0415

    pull_weights(name, file, store, origin=origin if fetched else None)
    if fetched:
        file.unlink()
    status = _status(model)
    console.print(f"stored {status['path']} ({_megabytes(status['bytes'])}), SHA-256 {status['sha256']}")
    write_json(status, json_file)


def _status(model: Model) -> dict[str, Any]:
    """Return what is known about a model and its installed weights."""
    path = weights_path(model.name, load_settings().weights_dir)
    record = read_record(path) if path and path.is_file() else None
    return {
        "name": model.name,
        "summary": model.summary,
        "default": model.name == DEFAULT,
        "license": model.license,
        "terms": model.terms,
        "page": model.page or None,
        "installed": record is not None,
        "packages": list(model.packages),
        "packages_installed": model.is_installed,
        "path": str(path) if record else None,
        "bytes": record.bytes if record else None,
        "sha256": record.sha256 if record else None,
    }


def _show(status: dict[str, Any], json_file: str | None) -> None:
    console = text_console(json_file)
    rows = {
        "name": status["name"],
        "network": status["summary"],
        "licence": f"{status['license']}; {status['terms']}",
        "published": status["page"] or "with keymask",
        "file": status["path"] or f"not here: keymask models pull {status['name']} [--from FILE]",
    }
    if status["packages"]:
        here = "installed" if status["packages_installed"] else f"not here: {_install(find_weights(status['name']))}"
        rows["packages"] = f"{', '.join(status['packages'])} ({here})"
    if status["installed"]:
        rows["size"] = _megabytes(status["bytes"])
        rows["sha256"] = f"{status['sha256']} ({'checked' if status['unchanged'] else 'NOT that of the file'})"
        rows["made from"] = status["record"]["origin"]
        rows |= {key: value for key, value in status["metadata"].items() if key not in rows}
    for label, value in rows.items():
        console.print(f"{label:10s} {value}", markup=False)


def _in_folder(path: Path, model: Model) -> Path:
    """Return the checkpoint in a folder, such as a clone of a model's repository; a file is returned as it is.

    Raises:
        UsageError: The folder has no such file, or several.
    """
    if not path.is_dir():
        return path
    published = path / Path(urlsplit(model.url).path).name
    found = [published] if published.is_file() else [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or f"none that ends in {', '.join(SUFFIXES)}"
        raise UsageError(f"{path} must have one weights file, {published.name} or another; found: {names}")
    return found[0]


def _fetch(model: Model, address: str, folder: Path) -> Path:
    """Download a checkpoint, or continue to; the message of a failure says how to do it by hand."""
    suffix = Path(urlsplit(address).path).suffix
    key = hashlib.sha256(address.encode()).hexdigest()[:8]
    target = folder / f"{model.name}-{key}{suffix if suffix in SUFFIXES else '.pth'}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with progress_bar(f"fetching {model.name}", "MiB") as progress:
            download(address, target, lambda done, total: progress(done >> 20, total and total >> 20), resume=True)
    except ServiceError as error:
        hint = f"download it by hand from {model.page} and give it with --from FILE"
        begun = "; the same command continues where it broke off" if target.is_file() else ""
        raise type(error)(f"{error}{begun}; {hint}") from error
    return target


def _check_digest(file: Path, expected: str | None) -> None:
    if expected is None or not file.is_file():
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != expected.lower():
        raise UsageError(f"the SHA-256 of {file.name} is {found}; --sha256 requires {expected}")


def _install(model: Model) -> str:
    """Return the command that installs what runs a network."""
    return f"`pip install 'keymask-server[{model.extra}]'`"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
