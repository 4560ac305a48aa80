"""`keymask train base`: train the default base network on folders of videos and stills with masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.console import JsonOption, progress_bar, text_console, write_json

app = typer.Typer(help="Train the default network on your own data.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train the default network on your own data."""


@app.command("base")
def train_base(
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder with video/<set>/<sequence>/{frames,masks} or static/<set>/{images,masks}; repeatable."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, log and weights.")] = Path("runs/compact"),
    *,
    backbone: Annotated[
        Path | None, typer.Option(help="Safetensors file with pretrained MobileNetV2 weights; at random without it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="What all that is random is drawn from.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Length of the run; the recipe's own by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch; on a CPU, the number of its cores is best.")
    ] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes of each training process.")] = 1,
    json_file: JsonOption = None,
) -> None:
    """Train the base network; Ctrl-C stops it with a checkpoint, --resume goes on."""
    from dataclasses import replace  # noqa: PLC0415

    from vos.precision import resolve_device  # noqa: PLC0415 - torch is not needed for --help
    from vos.training.loop import RunOptions, train  # noqa: PLC0415
    from vos.training.recipe import Recipe  # noqa: PLC0415

    recipe = replace(Recipe(), seed=seed)
    recipe = recipe if steps is None else recipe.scaled(steps)
    where = str(resolve_device(device))
    console = text_console(json_file)
    options = RunOptions(tuple(data), out, backbone, resume, where, processes, workers)
    means: dict[str, float] = {}
    with progress_bar("training") as show:

        def report(done: int, total: int, latest: dict[str, float]) -> None:
            means.update(latest)
            show(done, total)

        outcome = train(options, recipe, report)
    console.print(f"Steps done: {outcome.steps} of {recipe.steps}")
    console.print(f"Weights: {outcome.weights}")
    console.print(f"Log: {out / 'log.csv'}; the run's state, for --resume: {out / 'checkpoint.pt'}")
    result = {"weights": str(outcome.weights), "steps": outcome.steps, "of": recipe.steps, "last": means}
    write_json(result, json_file)
