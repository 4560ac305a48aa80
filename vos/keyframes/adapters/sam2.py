"""SAM 2.1 and EdgeTAM on key frames.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024; Zhou et al., "EdgeTAM: On-Device Track Anything
Model", CVPR 2025. The networks and their sessions are those of the package `transformers`, which never frees what a
session holds; this adapter drops what no later frame reads. Key frames are numbered 0, 1, 2, ... for it, because it
looks back by index. The networks take no hint, and run objects one by one, so their time grows with the number of
objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import CompressedFrame
from vos.errors import OptionError
from vos.keyframes.base_network import BaseNetwork, BaseSession, VideoSetup, merge_given
from vos.masks.geometry import PaddedSize, rgb_to_tensor
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import FramePrediction
from vos.runtime.run_state import MemoryLayout

try:
    import transformers
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
except ImportError as error:
    raise OptionError(
        "transformers, which runs SAM 2, is not installed or does not fit torch; install it with "
        "`pip install 'keymask-server[sam2]'`"
    ) from error

_SUPPORTED = "5.24"
"""Minor version of transformers whose sessions this module knows from inside."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BACKBONES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "base-plus": {
        "hidden_size": 112,
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "hidden_size": 144,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}
"""Size -> what differs from the smallest one (configs/sam2.1 of the SAM 2 repository)."""
_UNREAD = ("high_res_masks", "pred_masks")
"""Outputs that no later frame reads."""
_RECENT = ("maskmem_features", "maskmem_pos_enc")
"""Outputs that only the next `num_maskmem - 1` frames read; object pointers are read longer."""


class Sam2Network(BaseNetwork):
    """SAM 2.1 with its published parameters.

    Args:
        size: "tiny", "small", "base-plus" or "large".
        config: Another configuration than the published one, for tests.
    """

    session_type: type[Any] = Sam2VideoInferenceSession

    def __init__(self, size: str, config: Sam2VideoConfig | None = None) -> None:
        super().__init__()
        self.name = f"sam2.1-{size}"
        _check_version(self.name)
        self.model = Sam2VideoModel(config or self.published(size))

    @staticmethod
    def published(size: str) -> Sam2VideoConfig:
        """Return the configuration of a published size."""
        backbone = Sam2HieraDetConfig(**_BACKBONES[size])
        channels = backbone.embed_dim_per_stage[::-1]
        return Sam2VideoConfig(vision_config=Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=channels))

    def begin(self, setup: VideoSetup) -> Sam2Session:
        """Begin a video."""
        return Sam2Session(self, setup)


class EdgeTamNetwork(Sam2Network):
    """EdgeTAM with its published parameters. Its backbone needs the package `timm`.

    Args:
        config: Another configuration than the published one, for tests.
    """

    def __init__(self, config: Any = None) -> None:
        BaseNetwork.__init__(self)
        try:
            from transformers import EdgeTamVideoModel  # noqa: PLC0415 - needs another extra
            from transformers.models.edgetam_video import modeling_edgetam_video  # noqa: PLC0415

            self.name = "edgetam"
            _check_version(self.name)
            self.model = _with_score_per_mask(EdgeTamVideoModel)(config or _edgetam_config())
        except ImportError as error:
            raise OptionError(
                "timm or torchvision, which run EdgeTAM's backbone, are not installed or do not fit torch; install "
                "them with `pip install 'keymask-server[edgetam]'`"
            ) from error
        self.session_type = modeling_edgetam_video.EdgeTamVideoInferenceSession


def _with_score_per_mask(model: type[Any]) -> type[Any]:
    """Give scores of given masks the shape of predicted ones; unlike SAM 2's, EdgeTAM's lack a dimension.

    Without it, a frame on which only some objects have given masks cannot be segmented.
    """

    class EdgeTam(model):  # type: ignore[misc]
        def _use_mask_as_output(self, *arguments: Any, **named: Any) -> Any:
            output = super()._use_mask_as_output(*arguments, **named)
            output.object_score_logits = output.object_score_logits.reshape(-1, 1, 1)
            return output

    return EdgeTam


def _edgetam_config() -> Any:
    from transformers import EdgeTamVideoConfig, EdgeTamVisionConfig, TimmWrapperConfig  # noqa: PLC0415

    arguments = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    backbone = TimmWrapperConfig(architecture="repvit_m1", model_args=arguments)
    return EdgeTamVideoConfig(
        vision_config=EdgeTamVisionConfig(backbone_config=backbone),
        enable_temporal_pos_encoding_for_object_pointers=False,
        enable_occlusion_spatial_embedding=False,
    )


def _check_version(name: str) -> None:
    if not transformers.__version__.startswith(f"{_SUPPORTED}."):
        raise OptionError(
            f"transformers is {transformers.__version__}; {name} needs {_SUPPORTED}, because it prunes sessions from "
            "inside: install it with `pip install 'keymask-server[sam2]'`"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sam2Features:
    """Features of one picture.

    Attributes:
        pixels: Normalized picture [3, side, side].
        vision: What the session's cache of vision features holds of a frame.
    """

    pixels: Tensor
    vision: dict[str, Any]


class Sam2Session(BaseSession[Sam2Features]):
    """SAM 2.1 or EdgeTAM on one video. Pictures are stretched to the network's square.

    Args:
        network: The network.
        setup: The video.
    """

    def __init__(self, network: Sam2Network, setup: VideoSetup) -> None:
        # To encode takes much longer than to refine the frames before. Beside them, on half of the cores, it would end
        # later than after them, on all cores.
        super().__init__(PaddedSize.of(setup.height, setup.width, 1), None, setup.timer)
        self._model, self._device, self._dtype = network.model, network.device, network.compute_dtype
        self._side = int(network.model.image_size)
        statistics = torch.tensor([_MEAN, _DEVIATION], device=self._device)
        self._mean, self._deviation = statistics.view(2, 3, 1, 1)
        self._session = network.session_type(
            video_height=setup.height,
            video_width=setup.width,
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=self._dtype,
        )
        self._number = 0
        self._positions: Tensor | None = None

    @property
    def layout(self) -> MemoryLayout:
        """No frame: `capture` returns the whole memory, which masks do not determine."""
        return MemoryLayout((), 0, ())

    def _encode(self, frame: CompressedFrame) -> Sam2Features:
        picture = rgb_to_tensor(frame.rgb(), self._device).float() / 255
        square = F.interpolate(picture, (self._side, self._side), mode="bilinear", antialias=True)
        pixels = ((square - self._mean) / self._deviation).to(self._dtype)
        vision = self._model.get_image_features(pixels, return_dict=True)
        cached = {"vision_feats": vision.fpn_hidden_states, "vision_pos_embeds": vision.fpn_position_encoding}
        return Sam2Features(pixels[0], cached)

    def segment(self, features: Sam2Features, hint: Tensor | None) -> FramePrediction:  # noqa: ARG002
        """Segment and remember a frame; the logits cover the network's square at stride 4."""
        with self._timer.stage("read"):
            return self._run(features)

    def to_full(self, logits: Tensor) -> Tensor:
        """Logits from `segment` -> soft masks [K, height, width]."""
        size = (self.size.height, self.size.width)
        full = F.interpolate(logits.to(self._device), size, mode="bilinear", align_corners=False)
        return soft_aggregate(torch.sigmoid(full.squeeze(1)))[1:]

    def memorize(self, index: int, features: Sam2Features, masks: Tensor) -> None:
        """Do nothing: `segment` has remembered the frame."""

    def prompt(self, index: int, features: Sam2Features, masks: Mapping[int, Tensor]) -> Tensor:  # noqa: ARG002
        """Remember given masks for good."""
        session = self._session
        known = session.get_obj_num()
        side = (self._side, self._side)
        with self._timer.stage("memorize"):
            for k in sorted(masks):
                square = F.interpolate(masks[k][None, None].float(), side, mode="bilinear", antialias=True)
                session.add_mask_inputs(session.obj_id_to_idx(k + 1), self._number, (square > 0.5).to(self._dtype))
            session.obj_with_new_inputs = [k + 1 for k in sorted(masks)]
            logits = self._run(features).logits
        others = self.to_full(logits[:known]) if known else logits.new_zeros(0)
        return merge_given(others, masks)

    def _run(self, features: Sam2Features) -> FramePrediction:
        """Process the next frame, and drop what the one after it does not read."""
        number, session = self._number, self._session
        session.cache.cache_vision_features(number, features.vision)
        output = self._model(session, frame_idx=number, frame=features.pixels)
        self._number += 1
        self._drop(number)
        presence = output.object_score_logits.reshape(-1).float()
        return FramePrediction(output.pred_masks.float(), presence)

    def _drop(self, number: int) -> None:
        """Drop what no frame after this number reads; conditioning frames stay."""
        session, config = self._session, self._model.config
        session.cache.clear_all()
        session.processed_frames.clear()
        for k, outputs in session.output_dict_per_obj.items():
            session.mask_inputs_per_obj[k].clear()
            session.frames_tracked_per_obj[k].clear()
            tracked = outputs["non_cond_frame_outputs"]
            tracked.pop(number + 1 - config.max_object_pointers_in_encoder, None)
            for name in _RECENT:
                tracked.get(number + 1 - config.num_maskmem, {}).pop(name, None)
            for output in (outputs["cond_frame_outputs"].get(number, {}), tracked.get(number, {})):
                for name in _UNREAD:
                    output.pop(name, None)
                if "maskmem_pos_enc" in output:
                    # It is the same for all frames and objects.
                    self._positions = output["maskmem_pos_enc"] if self._positions is None else self._positions
                    output["maskmem_pos_enc"] = self._positions

    def capture(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the whole memory: memory features and object pointers of each frame and object."""
        arrays = {"number": np.array(self._number)}
        if self._positions is not None:
            arrays["positions"] = _to_array(self._positions)
        for k, outputs in self._session.output_dict_per_obj.items():
            for kind, frames in outputs.items():
                for number, output in frames.items():
                    for name, tensor in output.items():
                        if name != "maskmem_pos_enc":
                            arrays[f"{k} {kind} {number} {name}"] = _to_array(tensor)
        return arrays

    def reserve(self, layout: MemoryLayout, captured: Mapping[str, npt.NDArray[Any]]) -> None:  # noqa: ARG002
        """Restore the whole memory."""
        self._number = int(captured["number"])
        if "positions" in captured:
            self._positions = _to_tensor(captured["positions"], self._device)
        for key, array in captured.items():
            k, kind, number, name = key.split() if " " in key else (None, "", "", "")
            if k is not None:
                index = self._session.obj_id_to_idx(int(k) + 1)
                output = self._session.output_dict_per_obj[index][kind].setdefault(int(number), {})
                output[name] = _to_tensor(array, self._device)
                if name == "maskmem_features":
                    output["maskmem_pos_enc"] = self._positions

    def restore(self, frame: CompressedFrame, masks: Tensor) -> None:
        """Do nothing: `reserve` has restored the memory."""


def _to_array(tensor: Tensor) -> npt.NDArray[Any]:
    """Tensor -> array; bfloat16, which NumPy lacks, as int16 of the same bits."""
    tensor = tensor.detach().cpu().contiguous()
    array: npt.NDArray[Any] = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _to_tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Reverse `_to_array`."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return (tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor).to(device)
