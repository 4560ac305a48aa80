"""SAM 2.1 and EdgeTAM with few channels, random weights and a square of 64 pixels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

SIDE = 64
_HIDDEN = 128
_MAPS = [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2]
_CHANNELS = [128, 64, 32, 16]
_SHARED: dict[str, Any] = {
    "image_size": SIDE,
    "prompt_encoder_config": {"hidden_size": _HIDDEN, "image_size": SIDE},
    "mask_decoder_config": {
        "hidden_size": _HIDDEN, "mlp_dim": 64, "iou_head_hidden_dim": _HIDDEN, "num_attention_heads": 4,
    },
    "memory_attention_hidden_size": _HIDDEN, "memory_attention_num_layers": 2,
    "memory_attention_rope_feat_sizes": [SIDE // 16] * 2,
    "memory_encoder_hidden_size": _HIDDEN, "memory_encoder_output_channels": 64,
    "mask_downsampler_embed_dim": _HIDDEN, "memory_fuser_embed_dim": _HIDDEN, "memory_fuser_intermediate_dim": 64,
}  # fmt: skip


def sam2_config() -> Any:
    """Return a configuration of SAM 2.1."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=16, image_size=[SIDE, SIDE], embed_dim_per_stage=_CHANNELS[::-1], blocks_per_stage=[1, 1, 2, 1],
        num_attention_heads_per_stage=[1, 2, 4, 8], global_attention_blocks=[3], window_size_per_stage=[8, 4, 4, 4],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=_CHANNELS, fpn_hidden_size=_HIDDEN, backbone_feature_sizes=_MAPS
    )
    return Sam2VideoConfig(vision_config=vision, memory_attention_feed_forward_hidden_size=64, **_SHARED)


def edgetam_config() -> Any:
    """Return a configuration of EdgeTAM whose backbone is four convolutions, because timm needs torchvision."""
    from transformers import EdgeTamVideoConfig, EdgeTamVisionConfig

    backbone = _register_backbone()
    vision = EdgeTamVisionConfig(
        backbone_config=backbone, backbone_channel_list=_CHANNELS, fpn_hidden_size=_HIDDEN, backbone_feature_sizes=_MAPS
    )
    return EdgeTamVideoConfig(
        vision_config=vision, memory_attention_mlp_hidden_size=64,
        perceiver_resampler_num_latents=16, perceiver_resampler_num_latents_2d=16,
        memory_attention_rope_k_sizes=[4, 4], perceiver_resampler_mlp_intermediate_size=64,
        enable_temporal_pos_encoding_for_object_pointers=False, enable_occlusion_spatial_embedding=False, **_SHARED,
    )  # fmt: skip


def enliven(model: nn.Module) -> None:
    """Change random weights so that objects are present and masks are not all alike."""
    state = model.state_dict()
    state["mask_decoder.pred_obj_score_head.proj_out.bias"] += 1
    for name, tensor in state.items():
        if "output_hypernetworks_mlps" in name and name.endswith("weight"):
            tensor.mul_(6)


def _register_backbone() -> Any:
    from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import BaseModelOutput

    class ConvolutionsConfig(PretrainedConfig):
        model_type = "keymask_convolutions"

    class Convolutions(PreTrainedModel):
        config_class = ConvolutionsConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            widths = [3, *_CHANNELS[::-1]]
            self.layers = nn.ModuleList(
                nn.Conv2d(a, b, 4 if a == 3 else 2, 4 if a == 3 else 2) for a, b in pairwise(widths)
            )
            self.post_init()

        def forward(self, pixel_values: torch.Tensor, **_arguments: Any) -> Any:
            maps = []
            for layer in self.layers:
                pixel_values = torch.tanh(layer(pixel_values))
                maps.append(pixel_values)
            return BaseModelOutput(last_hidden_state=maps)

    AutoConfig.register(ConvolutionsConfig.model_type, ConvolutionsConfig, exist_ok=True)
    AutoModel.register(ConvolutionsConfig, Convolutions, exist_ok=True)
    return ConvolutionsConfig()
