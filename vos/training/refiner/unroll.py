"""Run the refiner through coded clips as propagation does: on its own masks, frame by frame in decode order."""

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
    """Output for the n refined frames of all clips.

    Attributes:
        logits: Refined masks [n, K + 1, h, w], background first.
        propagated: Masks before refinement [n, K, h, w].
        confidence: Confidence logits [n, 1, h, w].
        clip, time: Clip and frame of each row, int64 [n].
    """

    logits: Tensor
    propagated: Tensor
    confidence: Tensor
    clip: Tensor
    time: Tensor


def unroll(refiner: Refiner, batch: Sample) -> Unrolled:
    """Refine every frame of B clips that is not a key frame."""
    clips, frames, objects, rows, columns = batch["given"].shape
    full_size, input_size = (rows * STRIDE, columns * STRIDE), batch["rgb"].shape[2:4]
    features = _encode(refiner, batch["rgb"], full_size)
    given = batch["given"].to(torch.float32) / 255
    keyframes = torch.nonzero(batch["key"].flatten()).squeeze(1)
    masks = resize_grid(given.flatten(0, 1)[keyframes].flatten(0, 1)[:, None], *input_size)
    memory = refiner.memorize(_pick(features, keyframes), masks)
    values = memory.value.view(len(keyframes), objects, *memory.value.shape[1:])
    place = torch.cumsum(batch["key"].flatten(), 0).view(clips, frames) - 1
    light = resize_grid(features.light.detach().float(), *full_size).view(clips, frames, LIGHT_CHANNELS, -1)
    # Per clip, frame and stride-4 cell: object masks, light features, uncertainty.
    table = given.new_zeros(clips, frames, rows * columns, objects + LIGHT_CHANNELS + 1)
    table[..., objects:-1] = light.transpose(2, 3)
    outputs: list[tuple[Tensor, ...]] = []
    for t in range(frames):
        key = batch["key"][:, t]
        table[key, t, :, :objects] = given[key, t].flatten(2).transpose(1, 2)
        if key.all():
            continue
        chosen = torch.nonzero(~key).squeeze(1)
        propagated = _propagate(table, batch, chosen, t)
        soft, propagated_light, uncertainty = torch.split(propagated, [objects, LIGHT_CHANNELS, 1], dim=1)
        hop = batch["bitstream"][chosen, t]
        bitstream = torch.cat([1 - (1 - uncertainty) * (1 - hop[:, :1]), hop[:, 1:]], dim=1)
        frame_features = _pick(features, chosen * frames + t)
        nearest = place[chosen[:, None], _nearest(batch, chosen, t)]
        read = Memory(_side_by_side(memory.key[nearest]), _side_by_side(values[nearest]).flatten(0, 1))
        confidence = refiner.confidence(frame_features, resize_grid(propagated_light, *input_size))
        masks = resize_grid(soft.flatten(0, 1)[:, None], *input_size)
        logits = refiner.refine(frame_features, read, masks, confidence, resize_grid(bitstream, *input_size))
        logits = resize_grid(logits.to(torch.float32), *full_size)
        confidence = resize_grid(confidence.to(torch.float32), *full_size)
        merged = aggregate_logits(logits.view(len(chosen), objects, rows, columns))
        outputs.append((merged, soft, confidence, chosen, torch.full_like(chosen, t)))
        refined = torch.softmax(merged.detach(), dim=1)[:, 1:]
        table[chosen, t, :, :objects] = refined.flatten(2).transpose(1, 2)
        table[chosen, t, :, -1] = bitstream[:, 0].flatten(1) * UNCERTAINTY_AFTER_REFINEMENT
    return Unrolled(*(torch.cat(part) for part in zip(*outputs, strict=True)))


def _encode(refiner: Refiner, rgb: Tensor, full_size: tuple[int, int]) -> RefinerFeatures:
    """Encode all B * T pictures uint8 [B, T, h, w, 3], downscaled from `full_size` pixels."""
    pictures = rgb.flatten(0, 1).permute(0, 3, 1, 2)
    step = (full_size[0] / pictures.shape[2], full_size[1] / pictures.shape[3])
    return refiner.encode(refiner.normalize(pictures), step=step)


def _propagate(table: Tensor, batch: Sample, chosen: Tensor, t: int) -> Tensor:
    """Propagate all channels of the table to frame t of the chosen clips -> [n, C, h, w]."""
    rows, columns = batch["given"].shape[3:]
    corners = batch["corners"][chosen, t].flatten(0, 1)
    weights = batch["weights"][chosen, t].flatten(0, 1)
    cells = functional.embedding_bag(corners, table.flatten(0, 2), mode="sum", per_sample_weights=weights)
    return cells.view(len(chosen), rows, columns, -1).permute(0, 3, 1, 2)


def _nearest(batch: Sample, chosen: Tensor, t: int) -> Tensor:
    """First key frame and the nearest earlier ones, in decode order: int64 [n, MATCHED_KEYFRAMES]."""
    rows = []
    for clip in chosen.tolist():
        candidates = torch.nonzero(batch["key"][clip, 1:t]).squeeze(1) + 1
        distance = (batch["index"][clip, candidates] - batch["index"][clip, t]).abs()
        nearest = candidates[distance.argsort()][: MATCHED_KEYFRAMES - 1].tolist()
        # Clips with fewer key frames repeat the first one.
        rows.append([0, *nearest, *[0] * (MATCHED_KEYFRAMES - 1 - len(nearest))])
    return torch.tensor(rows, device=batch["index"].device)


def _side_by_side(entries: Tensor) -> Tensor:
    """[n, M, ..., C, N] -> [n, ..., C, M * N]."""
    return entries.movedim(1, -2).flatten(-2)


def _pick(features: RefinerFeatures, rows: Tensor) -> RefinerFeatures:
    maps = {stride: x[rows] for stride, x in features.maps.items()}
    return RefinerFeatures(maps, features.key[rows], features.light[rows])
