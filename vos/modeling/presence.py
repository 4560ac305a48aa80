"""Is an object in the frame at all? One logit an object, as SAM 2's occlusion head gives it (Ravi et al., 2024).

A mask alone does not tell: a network that reads memory by a softmax always finds something that is nearest. So the
head is also told how near it is: cells where the object seems to be against cells where memory knows it to be.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_HIDDEN = 64
_MEASURES = 3
"""Numbers beside the pooled features: size and certainty of the mask, distance to the object in memory."""


class PresenceHead(nn.Module):
    """Pooled decoder features, the mask's size and certainty, and the match's distance -> a logit an object.

    Args:
        channels: Of the decoder's features at stride 16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * channels + _MEASURES, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, 1)

    def forward(self, deep: Tensor, logits: Tensor, query: Tensor, key: Tensor, labels: Tensor) -> Tensor:
        """Judge B pictures with K objects each, h x w cells at stride 16, N cells in memory.

        Args:
            deep: Decoder features [B*K, C, h, w].
            logits: Of the masks, [B*K, 1, 4h, 4w]; the head does not change them in training.
            query: Keys of the pictures [B, Ck, h*w].
            key: Keys in memory [B, Ck, N].
            labels: How much of each cell in memory is the object's, [B*K, N] in 0..1.

        Returns:
            Logits [B*K].
        """
        share = functional.avg_pool2d(torch.sigmoid(logits.detach()), 4).to(deep.dtype)
        inside = (deep * share).sum(dim=(2, 3)) / (share.sum(dim=(2, 3)) + 1e-2)
        sure, size = share.amax(dim=(2, 3)), share.mean(dim=(2, 3)).sqrt()
        far = match_distance(query, key, share.flatten(1), labels).to(deep.dtype)
        told = torch.cat([inside, deep.amax(dim=(2, 3)), sure, size, far[:, None]], dim=1)
        judged: Tensor = self.last(functional.relu(self.first(told)))
        return judged[:, 0]


@torch.no_grad()
def match_distance(query: Tensor, key: Tensor, share: Tensor, labels: Tensor) -> Tensor:
    """How far the cells of a mask are from the nearest cell of the object in memory.

    Args:
        query: Keys of B pictures [B, C, M].
        key: Keys in memory [B, C, N].
        share: How much of each cell is the object's by the mask, [B*K, M].
        labels: The same in memory, [B*K, N].

    Returns:
        float32 [B*K], the mean squared distance over C. Cells count where a mask is at least half of its maximum, so
        that there are some of small objects and of faint masks, too. 0 where memory holds nothing of an object.
    """
    objects = len(share) // len(query)
    found = torch.zeros(len(share), device=query.device)
    for row, (mask, known) in enumerate(zip(share, labels, strict=True)):
        most = known.max()
        if most > 0:
            asked = query[row // objects][:, mask >= mask.max() / 2].float()
            there = key[row // objects][:, known >= most / 2].float()
            found[row] = torch.cdist(asked.t(), there.t()).amin(dim=1).square().mean() / len(asked)
    return found
