"""The masks that a person gave, as the networks take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from codec.types import VideoInfo
from vos.keyframes.base_network import merge_given
from vos.masks.geometry import PaddedSize, prompt_to_soft
from vos.types import Prompt


class GivenMasks:
    """The prompts of one video. Objects are numbered from 0, ascending by id; K is their number.

    Args:
        prompts: One or more, on different frames.
        info: Sizes and orientation of the video.
        size: Sizes of the pictures.
        device: Device of the masks.
        object_ids: Ids of all objects, ascending.

    Attributes:
        by_frame: Presentation index -> prompt.
        first: Presentation index of the first prompt frame.
        object_ids: Ids of all objects, ascending.

    Raises:
        PromptError: A mask does not match the video's display size.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        info: VideoInfo,
        size: PaddedSize,
        device: torch.device,
        object_ids: tuple[int, ...],
    ) -> None:
        self.by_frame: Mapping[int, Prompt] = {prompt.index: prompt for prompt in prompts}
        self.first = min(self.by_frame)
        self.object_ids = object_ids
        self._info, self._size, self._device = info, size, device
        for prompt in prompts:
            self._soft(prompt)

    def numbers(self, ids: tuple[int, ...]) -> Tensor:
        """Which objects have one of these ids, bool [K]."""
        return torch.tensor([i in ids for i in self.object_ids])

    def merged(self, prompt: Prompt, predicted: Tensor | None) -> Tensor:
        """Soft masks of a prompt frame [K, padded_height, padded_width].

        Args:
            prompt: The frame's prompt.
            predicted: Soft masks of all objects that a network found; where they are not given, they count outside the
                given ones. None if nothing is known of other objects.
        """
        soft = self._soft(prompt)
        if predicted is None:
            return soft
        given = self.numbers(prompt.given_ids).tolist()
        return merge_given(predicted, {k: soft[k] for k, is_given in enumerate(given) if is_given})

    def _soft(self, prompt: Prompt) -> Tensor:
        soft = torch.from_numpy(prompt_to_soft(prompt.labels, self.object_ids, self._info))
        return self._size.pad(soft.to(self._device))
