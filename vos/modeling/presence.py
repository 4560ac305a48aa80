"""Presence head: whether an object is visible, one logit per object, as SAM 2's occlusion head (Ravi et al., 2024).

A mask alone does not show it: a memory read by softmax always finds some nearest position. So the head also sees how
near the match is: the distance of the mask's cells to the object's cells in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_HIDDEN = 64
_MEASURES = 3
"""Numbers beside the pooled features: confidence and size of the mask, match distance."""


class PresenceHead(nn.Module):
    """Pooled decoder features, confidence and size of the mask, match distance -> presence logit.

    Args:
        channels: Channels of the decoder's features at stride 16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * channels + _MEASURES, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, 1)

    def forward(self, features16: Tensor, logits: Tensor, query: Tensor, key: Tensor, labels: Tensor) -> Tensor:
        """Predict presence in B pictures with K objects each, h x w cells at stride 16, N cells in memory.

        Args:
            features16: Decoder features [B*K, C, h, w].
            logits: Mask logits [B*K, 1, 4h, 4w]; no gradient flows into them.
            query: Keys of the pictures [B, Ck, h*w].
            key: Keys in memory [B, Ck, N].
            labels: Share of each memory cell that the object covers, [B*K, N] in 0..1.

        Returns:
            Logits [B*K].
        """
        share = functional.avg_pool2d(torch.sigmoid(logits.detach()), 4).to(features16.dtype)
        inside = (features16 * share).sum(dim=(2, 3)) / (share.sum(dim=(2, 3)) + 1e-2)
        confidence, size = share.amax(dim=(2, 3)), share.mean(dim=(2, 3)).sqrt()
        distance = match_distance(query, key, share.flatten(1), labels).to(features16.dtype)
        pooled = torch.cat([inside, features16.amax(dim=(2, 3)), confidence, size, distance[:, None]], dim=1)
        presence: Tensor = self.last(functional.relu(self.first(pooled)))
        return presence[:, 0]


@torch.no_grad()
def match_distance(query: Tensor, key: Tensor, share: Tensor, labels: Tensor) -> Tensor:
    """Mean distance from the cells of a mask to the nearest cell of the object in memory.

    Args:
        query: Keys of B pictures [B, C, M].
        key: Keys in memory [B, C, N].
        share: Share of each query cell that the mask covers, [B*K, M].
        labels: Share of each memory cell that the object covers, [B*K, N].

    Returns:
        Mean squared distance over C, float32 [B*K]; 0 where memory holds nothing of an object. Only cells with at
        least half of a mask's maximum count, so that small objects and faint masks have some as well.
    """
    objects = len(share) // len(query)
    distances = torch.zeros(len(share), device=query.device)
    for row, (mask, label) in enumerate(zip(share, labels, strict=True)):
        largest = label.max()
        if largest > 0:
            near = query[row // objects][:, mask >= mask.max() / 2].float()
            stored = key[row // objects][:, label >= largest / 2].float()
            distances[row] = torch.cdist(near.t(), stored.t()).amin(dim=1).square().mean() / len(near)
    return distances
