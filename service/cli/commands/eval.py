"""`keymask eval`: J and F, frames per second and key-frame share on sequences in the layout of DAVIS."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import JsonOption, compile_once, json_path, progress_bar, text_console, write_json
from service.cli.options import run_options
from service.config import load_settings
from service.errors import UsageError
from service.run.options import RunOptions
from service.run.output_paths import check_paths

if TYPE_CHECKING:
    from vos.evaluation.evaluate import SegmentClip

_TABLE_WIDTH = 110


@run_options("model", "weights", "keyframes", "quality", "max_key_share", "refine", "motion", "device", "precision")
def eval_command(
    root: Annotated[Path, typer.Argument(help="Folder with JPEGImages/480p and Annotations/480p.", show_default=False)],
    *,
    sequences: Annotated[
        str | None, typer.Option(metavar="A,B", help="Sequences to evaluate, by name; all by default.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text file that names the sequences, one per line.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="FFmpeg encoder that makes the clips.")] = "libx264",
    encoder_options: Annotated[
        str,
        typer.Option(
            metavar="K=V,K=V",
            help="Options of the encoder, such as crf=28,bf=0.",
        ),
    ] = "",
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also run the base network on every frame, for loss and speed-up.")
    ] = False,
    json_file: JsonOption = None,
    **values: Any,
) -> None:
    """Measure quality and speed on sequences with known masks.

    Each sequence is encoded, then segmented with its first annotation as the prompt. Frames per second are end to end:
    from opening the clip to the last mask. DAVIS's rule: the first and the last frame do not count.
    """
    from codec.encode import Encoder, parse_options  # noqa: PLC0415
    from service.run.model_loader import choice_of, load_model  # noqa: PLC0415
    from service.run.segment import segment  # noqa: PLC0415
    from vos.evaluation.davis import find_sequences, read_split  # noqa: PLC0415 - av, cv2 and torch are not needed for --help
    from vos.evaluation.evaluate import evaluate  # noqa: PLC0415
    from vos.evaluation.summary import summarize, table  # noqa: PLC0415

    if sequences is not None and split is not None:
        raise UsageError("--sequences and --split both name sequences; give one of them")
    options = RunOptions.checked(**values)
    weights = None if options.weights is None else Path(options.weights)
    check_paths((split, weights), {"--json": json_path(json_file)})
    chosen = Encoder(encoder, parse_options(encoder_options))
    found = find_sequences(root, _names(sequences) if split is None else read_split(split))
    settings = load_settings()
    compile_once(settings)

    def method_of(options: RunOptions) -> tuple[SegmentClip, dict[str, Any]]:
        model = load_model(choice_of(options), options.for_segmenter(), settings)
        return partial(segment, options=options, load=lambda *_: model), model.description

    method, description = method_of(options)
    # The baseline needs no refiner, which would only slow it down: it propagates no mask.
    every = options.model_copy(update={"keyframes": "every:1", "max_key_share": 1.0, "refine": False})
    base = method_of(every)[0] if baseline else None
    masks = sum(len(sequence.pictures) for sequence in found) * (2 if baseline else 1)
    with progress_bar("evaluating") as update:
        results = list(evaluate(found, chosen, method, base, progress=lambda done: update(done, masks)))
    console = text_console(json_file)
    console.width = max(console.width, _TABLE_WIDTH)  # a pipe counts as 80 columns wide
    console.print(table(results))
    about: dict[str, Any] = {
        "model": description,
        **options.model_dump(include={"keyframes", "quality", "max_key_share", "motion"}),
        "encoder": {"name": chosen.name, "options": chosen.all_options},
    }
    write_json({**summarize(results), "settings": about}, json_file)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--sequences is {text!r}; expected names separated by commas")
    return names
