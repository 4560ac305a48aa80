"""`keymask eval`: J and F, frames per second and key share on sequences in the layout of DAVIS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli.console import JsonOption, json_path, progress_bar, text_console, write_json
from service.config import load_settings
from service.errors import UsageError
from service.run.output_paths import check_paths

_TABLE_WIDTH = 110


def eval_command(
    root: Annotated[Path, typer.Argument(help="Folder with JPEGImages/480p and Annotations/480p.", show_default=False)],
    *,
    sequences: Annotated[
        str | None, typer.Option(metavar="A,B", help="Sequences to evaluate, by name; all by default.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text file that names the sequences, one a line.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="FFmpeg encoder that makes the clips.")] = "libx264",
    encoder_options: Annotated[
        str, typer.Option(metavar="K=V,K=V", help="Its options, such as crf=28,bf=0; preset=medium,crf=23 for libx264.")
    ] = "",
    model: Annotated[str, typer.Option(help="Base network.")] = "compact",
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights file; 'seeded' for values that only measure speed.")
    ] = None,
    keyframes: Annotated[str, typer.Option(help="Key-frame policy: adaptive, codec or every:N.")] = "adaptive",
    quality: Annotated[
        str,
        typer.Option(
            help="How many key frames adaptive takes, and how closely the refiner looks: fast, balanced or best."
        ),
    ] = "balanced",
    max_key_share: Annotated[
        float, typer.Option(help="Most key frames that adaptive takes, as a share of all frames, above 0 to 1.")
    ] = 1.0,
    refine: Annotated[bool, typer.Option(help="Whether the refiner repairs carried masks.")] = True,
    motion: Annotated[
        Literal["auto", "bitstream", "proxy"], typer.Option(help="Where motion comes from; proxy is re-encoded.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also run the network on every frame, for loss and speed-up.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Measure quality and speed on sequences with known masks.

    Each sequence is encoded, then segmented with its first annotation as the prompt. Frames per second are end to end:
    from opening the clip to the last mask. DAVIS's rule: the first and the last frame do not count.
    """
    from codec.encode import Encoder, parse_options  # noqa: PLC0415
    from service.run.model_loader import ModelChoice, load_model  # noqa: PLC0415
    from vos.evaluation.davis import find_sequences, read_split  # noqa: PLC0415 - av, cv2 and torch are not needed for --help
    from vos.evaluation.evaluate import evaluate  # noqa: PLC0415
    from vos.evaluation.summary import summarize, table  # noqa: PLC0415
    from vos.types import Options  # noqa: PLC0415

    if sequences is not None and split is not None:
        raise UsageError("--sequences and --split both say what to evaluate; give one of them")
    check_paths((split, Path(weights) if weights else None), {"--json": json_path(json_file)})
    chosen = Encoder(encoder, parse_options(encoder_options))
    names = _names(sequences) if split is None else read_split(split)
    found = find_sequences(root, names)
    choice = ModelChoice(model, weights, device, precision, refine)
    settings = load_settings()
    options = Options(keyframes=keyframes, quality=quality, max_key_share=max_key_share)
    method = load_model(choice, options, settings)
    # Without the refiner, which is of no use where nothing is carried, and would only slow the baseline down.
    alone = replace(choice, refine=False)
    base = load_model(alone, Options(keyframes="every:1"), settings).segmenter if baseline else None

    masks = sum(len(sequence.pictures) for sequence in found) * (2 if baseline else 1)
    with progress_bar("evaluating") as update:
        count = partial(_show, update, masks)
        results = list(evaluate(found, chosen, method.segmenter, base, motion=motion, progress=count))
    console = text_console(json_file)
    console.width = max(console.width, _TABLE_WIDTH)  # a pipe counts as 80 columns wide
    console.print(table(results))
    about: dict[str, Any] = {
        "model": method.description,
        "keyframes": keyframes,
        "quality": quality,
        "max_key_share": max_key_share,
        "motion": motion,
        "encoder": {"name": chosen.name, "options": chosen.all_options},
    }
    write_json({**summarize(results), "settings": about}, json_file)


def _show(update: Callable[[int, int | None], None], total: int, done: int) -> None:
    update(done, total)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--sequences is {text!r}; expected names separated by commas")
    return names
