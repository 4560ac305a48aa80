"""Decide which object each pixel of a mask picture belongs to.

`docs/reference/masks.md` lists the rules for users. A picture that may mean two things is either read in the likelier
way with a note, or refused.
"""

from __future__ import annotations

import numpy as np

from codec.types import UInt8Array
from service.errors import AmbiguousMaskError
from service.prompts.colors.background import BORDER_SHARE, DARK
from service.prompts.colors.exact import exact_colors, is_smoothed
from service.prompts.colors.names import hex_of
from service.prompts.colors.plain import merge_to_plain
from service.prompts.colors.read import read_colors, read_plain
from service.prompts.labels import Labels, with_colors, without_void
from service.prompts.modes import MaskMode
from service.prompts.objects import border_share
from service.prompts.picture import Picture

_BIMODAL_SHARE = 0.85


def read_labels(picture: Picture, mode: MaskMode = "auto") -> Labels:
    """Read object ids from a picture.

    Raises:
        AmbiguousMaskError: It is not plain what the picture marks.
    """
    read = {"auto": _read, "ids": _as_ids, "colors": _as_colors, "binary": _as_binary}[mode]
    labels = read(picture)
    colors = {} if picture.is_array else labels.colors
    return Labels(labels.ids, colors, picture.notes + labels.notes)


def _read(picture: Picture) -> Labels:
    if picture.kind == "indices":
        return _read_indices(picture)
    return _read_greys(picture) if picture.kind == "greys" else read_colors(picture.values, picture.is_lossy)


def _as_ids(picture: Picture) -> Labels:
    if picture.is_lossy:
        raise AmbiguousMaskError("mask_mode is ids, but JPEG and lossy WebP change values; save the mask as PNG")
    if picture.kind == "colors":
        raise AmbiguousMaskError(
            "mask_mode is ids, but the mask is a color picture; allowed for it: auto, colors, binary"
        )
    values = picture.values
    if values.max() > 255:
        raise AmbiguousMaskError(f"mask_mode is ids, but the mask has values up to {values.max()}; allowed: 0 to 255")
    return with_colors(values.astype(np.uint8), _rgb(picture))


def _as_colors(picture: Picture) -> Labels:
    return read_colors(_rgb(picture), picture.is_lossy)


def _as_binary(picture: Picture) -> Labels:
    rgb = _rgb(picture)
    brightness = picture.values if picture.kind == "greys" else rgb.max(axis=2)
    exact = exact_colors(rgb)
    is_exact = exact is not None and not picture.is_lossy and not is_smoothed(exact)
    if is_exact and picture.kind == "indices":
        is_object = _read_indices(picture).ids > 0
    elif is_exact and not brightness.min():
        is_object = brightness > 0
    else:
        is_object = brightness > (float(brightness.min()) + float(brightness.max())) / 2
    return with_colors(is_object.astype(np.uint8), rgb)


def _read_indices(picture: Picture) -> Labels:
    """Indices are ids if index 0 is plainly the background; otherwise the colors decide."""
    assert picture.palette is not None
    indices, palette = picture.values, picture.palette
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    rgb = _rgb(picture)
    if (palette[used] == palette[used[0]]).all():  # a palette that says nothing, as of an array
        return _read_greys(Picture("greys", indices, is_array=True))
    exact = exact_colors(rgb)
    assert exact is not None
    if is_smoothed(exact):
        return read_colors(rgb, picture.is_lossy)
    shown = palette[used, :3].max(axis=1) * (palette[used, 3] > 0)
    if used[0] == 0 and shown[0] <= DARK:
        transparent = used[(palette[used, 3] == 0) & (used > 0)]
        ids = np.where(np.isin(indices, transparent), np.uint8(0), indices) if len(transparent) else indices
        return without_void(with_colors(ids, rgb), rgb)
    dark = used[shown <= DARK]
    if len(dark) == 1:
        found = read_colors(rgb, picture.is_lossy)
        note = f"the mask's background is palette index {dark[0]}, which is black, and not index 0"
        return Labels(found.ids, found.colors, (note, *found.notes))
    return _without_black(picture, rgb)


def _without_black(picture: Picture, rgb: UInt8Array) -> Labels:
    """Read indices of a palette whose used entries are not black."""
    indices, colors = picture.values, with_colors(picture.values, rgb).colors
    if indices.min():
        return Labels(indices, colors, ("no pixel of the mask is background (index 0)",))
    if border_share(indices == 0) < BORDER_SHARE:
        return read_colors(rgb, picture.is_lossy)
    assert picture.palette is not None
    note = f"the mask's index 0 is {hex_of(picture.palette[0])}, not black; it fills the border and is the background"
    return Labels(indices, colors, (note,))


def _read_greys(picture: Picture) -> Labels:
    """0 and one value are one object; a few values are ids; smooth greys are thresholded."""
    values = picture.values
    rgb = _rgb(picture)
    exact = exact_colors(rgb)
    assert exact is not None
    levels = np.unique(values)
    if picture.is_lossy or len(levels) > 256 or is_smoothed(exact):
        return _read_smooth_greys(rgb)
    levels = levels[levels > 0]
    if values.min() and not picture.is_array and len(levels) > 1:
        return read_colors(rgb, is_lossy=False)
    if len(levels) == 1 and not (picture.is_array and levels[0] <= 255):
        return with_colors((values > 0).astype(np.uint8), rgb)
    if len(levels) and levels[-1] > 255:
        note = f"the mask has grey values up to {levels[-1]}; they are numbered 1 to {len(levels)} in ascending order"
        found = with_colors(np.searchsorted(levels, values, side="right").astype(np.uint8), rgb)
        return Labels(found.ids, found.colors, (note,))
    found = without_void(with_colors(values.astype(np.uint8), rgb), None)
    notes = ("no pixel of the mask is background (0)",) if values.min() else ()
    return Labels(found.ids, found.colors, found.notes + notes)


def _read_smooth_greys(rgb: UInt8Array) -> Labels:
    plain = merge_to_plain(rgb)
    if plain is not None:
        return read_plain(plain, len(np.unique(rgb[..., 0])))
    grey = rgb[..., 0]
    top = float(np.percentile(grey, 99.9))
    middle = (grey > 0.2 * top) & (grey < 0.8 * top)
    counts = np.bincount(grey[middle], minlength=256)
    peak = np.convolve(counts, np.ones(9, np.int64)).max(initial=0)
    if top < 64 or 1 - middle.mean() < _BIMODAL_SHARE or peak > max(counts.sum() / 3, 16):
        raise AmbiguousMaskError(
            f"the mask has {len(np.unique(grey))} grey values without plain levels, as a photograph has; "
            "draw each object in one value on black, without smoothing, and save it as PNG"
        )
    limit = round(top / 2)
    note = f"the mask has {len(np.unique(grey))} grey values; object 1 is where they are at least {limit}"
    return Labels((grey >= limit).astype(np.uint8), {1: (round(top),) * 3}, (note,))


def _rgb(picture: Picture) -> UInt8Array:
    """The picture as RGB uint8 [height, width, 3]; transparent pixels are black."""
    if picture.kind == "colors":
        return picture.values
    if picture.palette is not None:
        visible = picture.palette[:, :3] * (picture.palette[:, 3:] > 0)
        return np.asarray(visible[picture.values], np.uint8)
    values = picture.values
    if values.dtype != np.uint8:
        shades = values.astype(np.float64) * min(1, 255 / max(int(values.max()), 1))
        values = np.where(values > 0, np.maximum(shades, 1), 0).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)
