"""Run the network through a clip as inference does: frame by frame, with a memory of its own masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vos.modeling.network import Features, Memory, VOSNetwork
from vos.training.base.batches import EMPTY, PROPAGATED, Batch
from vos.training.common.losses import aggregate_logits


def unroll(network: VOSNetwork, batch: Batch, top_k: int) -> tuple[Tensor, Tensor]:
    """Predict all frames but the first.

    Returns:
        Logits over background and objects [T - 1, B, K + 1, S/4, S/4]; presence logits [T - 1, B, K], all 0 if the
        network has no presence head.
    """
    clips, frames, size = batch["labels"].shape[:3]
    objects = batch["keep"].shape[2]
    features = _encode(network, batch["images"])
    truth = _one_hot(batch["labels"][:, 0], objects)
    memories = [network.memorize(features[0], truth)]
    previous = functional.avg_pool2d(truth, 4)
    outputs, presence = [], []
    for t in range(1, frames):
        middle = int(batch["middle"][t])
        in_memory = [memories[0], memories[t - 1]] if t > 1 else [memories[0]]
        memory = _join(in_memory + ([memories[middle]] if middle else []))
        expected = _expected(previous.detach(), batch, t)
        predicted = network.predict(features[t], memory, expected, top_k)
        logits = predicted.logits.to(torch.float32)
        unknown = logits.new_zeros(clips * objects)
        presence.append((unknown if predicted.presence is None else predicted.presence).view(clips, objects))
        merged = aggregate_logits(logits.view(clips, objects, *logits.shape[2:]))
        outputs.append(merged)
        if t + 1 < frames:
            previous = _with_errors(torch.softmax(merged, dim=1)[:, 1:].reshape(logits.shape), batch, t)
            full = functional.interpolate(previous, size=(size, size), mode="bilinear", align_corners=False)
            memories.append(network.memorize(features[t], full))
    return torch.stack(outputs), torch.stack(presence)


def _encode(network: VOSNetwork, images: Tensor) -> list[Features]:
    """Encode pictures uint8 [B, T, S, S, 3] in one pass -> features per time, B rows each."""
    clips, frames = images.shape[:2]
    pictures = images.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)
    encoded = network.encode(network.normalize(pictures))
    rows = [slice(t * clips, (t + 1) * clips) for t in range(frames)]
    return [
        Features(encoded.image[r], encoded.key[r], {stride: x[r] for stride, x in encoded.maps.items()}) for r in rows
    ]


def _one_hot(labels: Tensor, objects: int) -> Tensor:
    """uint8 [B, S, S] -> float [B*K, 1, S, S]."""
    ids = torch.arange(1, objects + 1, device=labels.device).view(1, -1, 1, 1)
    return (labels[:, None] == ids).to(torch.float32).flatten(0, 1)[:, None]


def _join(memories: list[Memory]) -> Memory:
    key = torch.cat([memory.key for memory in memories], dim=2)
    return Memory(key, torch.cat([memory.value for memory in memories], dim=2))


def _with_errors(masks: Tensor, batch: Batch, t: int) -> Tensor:
    """Apply the losses and leaks of the batch to masks [B*K, 1, h, w]."""
    keep = batch["keep"][:, t].flatten(0, 1)[:, None].to(torch.float32) / 255
    leak = batch["leak"][:, t].flatten(0, 1)[:, None].to(torch.float32) / 255
    return torch.maximum(torch.minimum(masks, keep), leak)


def _expected(previous: Tensor, batch: Batch, t: int) -> Tensor | None:
    """Expected masks [B*K, 1, h, w] of frame t; None in a blind frame."""
    if batch["blind"][t]:
        return None
    propagated = batch["propagated"][:, t].to(torch.float32) / 255
    own = previous.view(propagated.shape)
    rows = []
    for clip, kind in enumerate(batch["expected"][:, t].tolist()):
        if kind == PROPAGATED:
            rows.append(propagated[clip])
        elif kind == EMPTY:
            rows.append(torch.zeros_like(own[clip]))
        else:
            rows.append(torch.roll(own[clip], batch["shift"][clip, t].tolist(), dims=(1, 2)))
    return torch.stack(rows).flatten(0, 1)[:, None]
