"""The refiner run through coded clips as propagation runs it: on its own masks, hop after hop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from codec.types import STRIDE
from vos.modeling.network import Memory
from vos.modeling.refiner import LIGHT_CHANNELS, Refiner, RefinerFeatures
from vos.propagation.uncertainty import UNCERTAINTY_AFTER_REFINEMENT
from vos.refinement.mask_refiner import MATCHED_KEYFRAMES
from vos.refinement.region import resize_grid
from vos.training.common.losses import aggregate_logits
from vos.training.refiner.batches import Sample


@dataclass(frozen=True, slots=True, eq=False)
class Unrolled:
    """What came out for n repaired frames of all clips.

    Attributes:
        logits: [n, K + 1, h, w], background first.
        carried: [n, K, h, w], what was repaired.
        confidence: [n, 1, h, w], logits.
        clip, time: int64 [n], where each belongs.
    """

    logits: Tensor
    carried: Tensor
    confidence: Tensor
    clip: Tensor
    time: Tensor


def unroll(refiner: Refiner, batch: Sample) -> Unrolled:
    """Repair every frame of B clips that is no key frame."""
    clips, frames, objects, rows, columns = batch["given"].shape
    whole, seen = (rows * STRIDE, columns * STRIDE), batch["rgb"].shape[2:4]
    features = _encode(refiner, batch["rgb"], whole)
    given = batch["given"].to(torch.float32) / 255
    known = torch.nonzero(batch["key"].flatten()).squeeze(1)
    masks = resize_grid(given.flatten(0, 1)[known].flatten(0, 1)[:, None], *seen)
    memory = refiner.memorize(_pick(features, known), masks)
    values = memory.value.view(len(known), objects, *memory.value.shape[1:])
    place = torch.cumsum(batch["key"].flatten(), 0).view(clips, frames) - 1
    light = resize_grid(features.light.detach().float(), *whole).view(clips, frames, LIGHT_CHANNELS, -1)
    # Per clip, time and cell: the objects' masks, the light features, the doubt.
    table = given.new_zeros(clips, frames, rows * columns, objects + LIGHT_CHANNELS + 1)
    table[..., objects:-1] = light.transpose(2, 3)
    outputs: list[tuple[Tensor, ...]] = []
    for t in range(frames):
        key = batch["key"][:, t]
        table[key, t, :, :objects] = given[key, t].flatten(2).transpose(1, 2)
        if key.all():
            continue
        chosen = torch.nonzero(~key).squeeze(1)
        came = _carry(table, batch, chosen, t)
        soft, hint, doubt = torch.split(came, [objects, LIGHT_CHANNELS, 1], dim=1)
        local = batch["evidence"][chosen, t]
        told = torch.cat([1 - (1 - doubt) * (1 - local[:, :1]), local[:, 1:]], dim=1)
        looks = _pick(features, chosen * frames + t)
        nearest = place[chosen[:, None], _nearest(batch, chosen, t)]
        read = Memory(_side_by_side(memory.key[nearest]), _side_by_side(values[nearest]).flatten(0, 1))
        confidence = refiner.confidence(looks, resize_grid(hint, *seen))
        carried = resize_grid(soft.flatten(0, 1)[:, None], *seen)
        logits = refiner.refine(looks, read, carried, confidence, resize_grid(told, *seen))
        logits = resize_grid(logits.to(torch.float32), *whole)
        confidence = resize_grid(confidence.to(torch.float32), *whole)
        merged = aggregate_logits(logits.view(len(chosen), objects, rows, columns))
        outputs.append((merged, soft, confidence, chosen, torch.full_like(chosen, t)))
        mended = torch.softmax(merged.detach(), dim=1)[:, 1:]
        table[chosen, t, :, :objects] = mended.flatten(2).transpose(1, 2)
        table[chosen, t, :, -1] = told[:, 0].flatten(1) * UNCERTAINTY_AFTER_REFINEMENT
    return Unrolled(*(torch.cat(part) for part in zip(*outputs, strict=True)))


def _encode(refiner: Refiner, rgb: Tensor, whole: tuple[int, int]) -> RefinerFeatures:
    """Pictures uint8 [B, T, h, w, 3], of `whole` pixels before they were made smaller -> features of all B * T."""
    pictures = rgb.flatten(0, 1).permute(0, 3, 1, 2)
    step = (whole[0] / pictures.shape[2], whole[1] / pictures.shape[3])
    return refiner.encode(refiner.normalize(pictures), step=step)


def _carry(table: Tensor, batch: Sample, chosen: Tensor, t: int) -> Tensor:
    """Channels [n, C, h, w] carried to frame t of the chosen clips."""
    rows, columns = batch["given"].shape[3:]
    corners = batch["corners"][chosen, t].flatten(0, 1)
    weights = batch["weights"][chosen, t].flatten(0, 1)
    came = functional.embedding_bag(corners, table.flatten(0, 2), mode="sum", per_sample_weights=weights)
    return came.view(len(chosen), rows, columns, -1).permute(0, 3, 1, 2)


def _nearest(batch: Sample, chosen: Tensor, t: int) -> Tensor:
    """Places in decode order, int64 [n, MATCHED_KEYFRAMES], of the first key frame and the nearest ones so far."""
    rows = []
    for clip in chosen.tolist():
        others = torch.nonzero(batch["key"][clip, 1:t]).squeeze(1) + 1
        distance = (batch["index"][clip, others] - batch["index"][clip, t]).abs()
        nearest = others[distance.argsort()][: MATCHED_KEYFRAMES - 1].tolist()
        # Clips with fewer key frames than others have the first one several times.
        rows.append([0, *nearest, *[0] * (MATCHED_KEYFRAMES - 1 - len(nearest))])
    return torch.tensor(rows, device=batch["index"].device)


def _side_by_side(entries: Tensor) -> Tensor:
    """[n, M, ..., C, N] -> [n, ..., C, M * N]."""
    return entries.movedim(1, -2).flatten(-2)


def _pick(features: RefinerFeatures, rows: Tensor) -> RefinerFeatures:
    maps = {stride: x[rows] for stride, x in features.maps.items()}
    return RefinerFeatures(maps, features.key[rows], features.light[rows])
