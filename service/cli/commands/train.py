"""`keymask train base|refiner`: train the shipped networks on folders of videos and still pictures with masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import JsonOption, json_path, progress_bar, text_console, write_json
from service.cli.options import Command, Group
from service.run.output_paths import check_paths

if TYPE_CHECKING:
    from vos.training.base.run import TrainingResult
    from vos.training.common.run_log import Progress

app = typer.Typer(help="Train the networks that ship with keymask on your own data.", no_args_is_help=True, cls=Group)


@app.callback()
def train() -> None:
    """Train the networks that ship with keymask on your own data."""


DataOption = Annotated[
    list[Path],
    typer.Option(help="Folder with video/<set>/<sequence>/{frames,masks} or static/<set>/{images,masks}; repeatable."),
]
OutOption = Annotated[Path, typer.Option(help="Folder for checkpoint, log and weights.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Resume from the checkpoint in the output folder.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Number of steps; the recipe's own by default.")]
RateOption = Annotated[
    float | None, typer.Option(min=1e-8, max=1.0, help="Initial learning rate; the recipe's own by default.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@app.command("base", cls=Command)
def train_base(
    data: DataOption,
    out: OutOption = Path("runs/compact"),
    *,
    backbone: Annotated[
        Path | None,
        typer.Option(help="Safetensors file with pretrained MobileNetV2 weights; random weights by default."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of compact to start from, in place of --backbone.")
    ] = None,
    resume: ResumeOption = False,
    seed: SeedOption = 1,
    steps: StepsOption = None,
    learning_rate: RateOption = None,
    backbone_rate: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="The backbone's rate as a share of it; 0 leaves it as it is, which is faster."
        ),
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Leave out the K-th of N parts of the sequences, to judge on them."),
    ] = None,
    device: DeviceOption = "auto",
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch; on a CPU, as many as it has cores.")
    ] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes per training process.")] = 1,
    json_file: JsonOption = None,
) -> None:
    """Train the base network. Ctrl-C stops with a checkpoint; --resume resumes from it."""
    from dataclasses import replace  # noqa: PLC0415

    from vos.runtime.device import resolve_device  # noqa: PLC0415 - torch is not needed for --help
    from vos.training.base.recipe import Recipe  # noqa: PLC0415
    from vos.training.base.run import RunOptions, train  # noqa: PLC0415

    check_paths((backbone, start), {"--json": json_path(json_file)})
    recipe = replace(Recipe(), seed=seed, fold=fold or "")
    recipe = recipe if steps is None else recipe.scaled(steps)
    recipe = recipe if learning_rate is None else replace(recipe, learning_rate=learning_rate)
    recipe = recipe if backbone_rate is None else replace(recipe, backbone_rate=backbone_rate)
    options = RunOptions(tuple(data), out, backbone, start, resume, str(resolve_device(device)), processes, workers)
    _train(lambda report: train(options, recipe, report), recipe.steps, out, json_file)


@app.command("refiner", cls=Command)
def train_refiner(
    data: DataOption,
    out: OutOption = Path("runs/refiner"),
    *,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights of compact or of a refiner to start from; the shipped ones of compact by default.",
        ),
    ] = None,
    resume: ResumeOption = False,
    seed: SeedOption = 1,
    steps: StepsOption = None,
    learning_rate: RateOption = None,
    device: DeviceOption = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes, which encode and decode the clips.")] = 1,
    json_file: JsonOption = None,
) -> None:
    """Train the refiner on randomly encoded clips. Ctrl-C stops with a checkpoint; --resume resumes from it."""
    from dataclasses import replace  # noqa: PLC0415

    from vos.runtime.device import resolve_device  # noqa: PLC0415
    from vos.training.refiner.run import RefinerOptions, train_refiner  # noqa: PLC0415
    from vos.training.refiner.trainer import RefinerRecipe  # noqa: PLC0415
    from vos.weights.catalog import DEFAULT, PACKAGE_FOLDER, find_model  # noqa: PLC0415 - torch is not needed for --help

    check_paths((start,), {"--json": json_path(json_file)})
    recipe = replace(RefinerRecipe(), seed=seed)
    recipe = recipe if steps is None else replace(recipe, steps=steps)
    recipe = recipe if learning_rate is None else replace(recipe, learning_rate=learning_rate)
    begin = start or PACKAGE_FOLDER / find_model(DEFAULT).file
    options = RefinerOptions(tuple(data), out, begin, resume, str(resolve_device(device)), workers)
    _train(lambda report: train_refiner(options, recipe, report), recipe.steps, out, json_file)


def _train(run: Callable[[Progress], TrainingResult], steps: int, out: Path, json_file: str | None) -> None:
    """Run a training under a progress bar, and print what it wrote."""
    means: dict[str, float] = {}
    with progress_bar("training", "steps") as show:

        def report(done: int, total: int, latest: dict[str, float]) -> None:
            means.update(latest)
            show(done, total)

        outcome = run(report)
    console = text_console(json_file)
    console.print(f"Steps done: {outcome.steps} of {steps}")
    console.print(f"Weights: {outcome.weights}")
    if outcome.start:
        console.print(f"Started from: {outcome.start}")
    console.print(f"Log: {out / 'log.csv'}; checkpoint for --resume: {out / 'checkpoint.pt'}")
    write_json({"weights": str(outcome.weights), "steps": outcome.steps, "of": steps, "last": means}, json_file)
