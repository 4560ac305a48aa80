"""Cutie (Cheng et al., "Putting the Object Back into Video Object Segmentation", CVPR 2024) on key frames.

The network and its memory are those of the package `rf-cutie`. Each key frame is one step of its `InferenceCore`, which
remembers every frame that it segments (`mem_every=1`). The propagated masks go where it reads its previous mask. Masks
that a user gives stay in its memory for good.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, CompressedFrame
from vos.errors import OptionError
from vos.keyframes.base_network import BaseNetwork, BaseSession, VideoSetup, merge_given
from vos.masks.geometry import PaddedSize, rgb_to_tensor
from vos.modeling.network import FramePrediction
from vos.runtime.run_state import MemoryLayout

try:
    from cutie.inference.inference_core import InferenceCore
    from cutie.model.cutie import CUTIE
    from cutie.model.utils import resnet
    from cutie.utils.tensor_utils import aggregate, pad_divide_by, unpad
    from omegaconf import OmegaConf
except ImportError as error:
    raise OptionError(
        "Cutie's package is not installed; install it with `pip install 'keymask-server[cutie]'` "
        "(the package is rf-cutie; one called cutie is another program that hides it)"
    ) from error

# The package wraps some layers in a function that torch has renamed.
warnings.filterwarnings("ignore", r".*torch\.cuda\.amp\.autocast.*", FutureWarning)

_STRIDE = 16
"""Stride of the network's memory, and multiple that pictures are padded to."""
_UNUSED = "aux_computer."
"""Prefix of the parameters that only training uses."""


class CutieNetwork(BaseNetwork):
    """Cutie with its published parameters.

    Args:
        size: "small" (ResNet-18) or "base" (ResNet-50).
        overrides: Other values of the model's configuration, for tests.
    """

    def __init__(self, size: str, **overrides: Any) -> None:
        super().__init__()
        self.name = f"cutie-{size}"
        folder = files("cutie.config")
        config = OmegaConf.load(str(folder / "eval_config.yaml"))
        for unused in ("defaults", "hydra", "datasets"):
            config.pop(unused)
        # small.yaml holds what differs from base.yaml.
        sizes = [OmegaConf.load(str(folder / "model" / f"{name}.yaml")) for name in dict.fromkeys(("base", size))]
        config.model = OmegaConf.merge(*sizes, overrides)
        config.model.pop("defaults", None)
        config.use_long_term, config.mem_every = False, 1
        self.config = config
        with _random_backbones():
            self.model = CUTIE(config)
        self.model.aux_computer = None
        self._autocast = torch.float32
        self._logits: list[Tensor] = []
        self.model.mask_decoder.register_forward_hook(lambda _module, _inputs, outputs: self._logits.append(outputs[1]))

    @property
    def compute_dtype(self) -> torch.dtype:
        """Type that convolutions compute in; parameters stay float32, as the package expects."""
        return self._autocast

    def set_precision(self, dtype: torch.dtype) -> None:
        """Compute convolutions in this type."""
        self._autocast = dtype

    def convert(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parameters of a published file that inference needs."""
        return {name: tensor for name, tensor in published.items() if not name.startswith(_UNUSED)}

    def precision(self) -> torch.autocast:
        """Return the context that the network runs in."""
        return torch.autocast(self.device.type, self._autocast, enabled=self._autocast != torch.float32)

    def take_logits(self) -> Tensor:
        """Return and forget the logits [K, 1, rows, columns] that the decoder returned last, at stride 4."""
        logits = self._logits[-1]
        self._logits.clear()
        return logits[0].unsqueeze(1).float()

    def begin(self, setup: VideoSetup) -> CutieSession:
        """Begin a video."""
        return CutieSession(self, setup)


@contextmanager
def _random_backbones() -> Iterator[None]:
    """Keep the model from downloading ImageNet weights, which a checkpoint overwrites anyway."""
    saved = {name: getattr(resnet, name) for name in ("resnet18", "resnet50")}

    def untrained(name: str, *, extra_dim: int = 0, **_download: Any) -> Any:
        return saved[name](pretrained=False, extra_dim=extra_dim)

    for name in saved:
        setattr(resnet, name, partial(untrained, name))
    try:
        yield
    finally:
        for name, function in saved.items():
            setattr(resnet, name, function)


@dataclass(frozen=True, slots=True, eq=False)
class CutieFeatures:
    """Features of one picture.

    Attributes:
        image: float32 [3, height, width], 0 to 1, not padded.
        maps: What the image encoder returns: maps at strides 16, 8 and 4, and the projected one at stride 16.
        key: Key, shrinkage and selection, each [1, C, h, w].
    """

    image: Tensor
    maps: tuple[Any, Tensor]
    key: tuple[Tensor, Tensor, Tensor]


class _CurrentFeatures:
    """Gives the core the features of the frame at hand; stands in for the package's `ImageFeatureStore`."""

    features: CutieFeatures

    def get_features(self, _index: int, _image: Tensor) -> tuple[Any, Tensor]:
        """Return the maps."""
        return self.features.maps

    def get_key(self, _index: int, _image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return key, shrinkage and selection."""
        return self.features.key

    def delete(self, _index: int) -> None:
        """Do nothing: the next frame replaces the features."""


class CutieSession(BaseSession[CutieFeatures]):
    """Cutie on one video. Objects have the ids 1, 2, ... in its core.

    Args:
        network: The network.
        setup: The video.
    """

    def __init__(self, network: CutieNetwork, setup: VideoSetup) -> None:
        # The core pads pictures itself. No threads to prefetch: to encode takes much longer than to refine the frames
        # before, and beside them, on half of the cores, it would end later than after them, on all cores.
        super().__init__(PaddedSize.of(setup.height, setup.width, 1), None, setup.timer)
        self._network = network
        self._device = network.device
        positions = -(-setup.height // _STRIDE) * -(-setup.width // _STRIDE)
        config = OmegaConf.merge(network.config, {"top_k": min(network.config.top_k, positions)})
        self._features = _CurrentFeatures()
        self._core = InferenceCore(network.model, config, image_feature_store=self._features)
        self._recent_frames = config.max_mem_frames - 1
        self._permanent: list[int] = []
        self._recent: list[int] = []
        self._restored: dict[int, tuple[CutieFeatures, Tensor]] = {}
        self._joined: dict[int, int] = {}

    @property
    def layout(self) -> MemoryLayout:
        """Frames in memory: permanent ones, latest first, then recent ones, latest last."""
        return MemoryLayout((*self._permanent, *self._recent), len(self._permanent), ())

    def _encode(self, frame: CompressedFrame) -> CutieFeatures:
        image = rgb_to_tensor(frame.rgb(), self._device).float() / 255
        with self._network.precision():
            maps = self._network.model.encode_image(pad_divide_by(image, _STRIDE)[0])
            key = self._network.model.transform_key(maps[0][0])
        return CutieFeatures(image[0], maps, key)

    def segment(self, features: CutieFeatures, hint: Tensor | None) -> FramePrediction:
        """Segment and remember a frame; the logits have stride 4 of the picture as the core pads it."""
        with self._timer.stage("read"), self._network.precision():
            if hint is not None:
                full = F.interpolate(hint.unsqueeze(0), scale_factor=STRIDE, mode="bilinear", align_corners=False)
                full = full[..., : self.size.height, : self.size.width]
                self._core.last_mask = pad_divide_by(full.to(self._device), _STRIDE)[0]
            self._step(features)
            return FramePrediction(self._network.take_logits())

    def to_full(self, logits: Tensor) -> Tensor:
        """Logits from `segment` -> soft masks [K, height, width], aggregated as the network aggregates them."""
        joint = aggregate(torch.sigmoid(logits.to(self._device).squeeze(1)), dim=0)
        full = F.interpolate(joint.unsqueeze(0), scale_factor=STRIDE, mode="bilinear", align_corners=False)
        padding = pad_divide_by(full.new_zeros(1, self.size.height, self.size.width), _STRIDE)[1]
        masks: Tensor = unpad(F.softmax(full, dim=1)[0, 1:], padding)
        return masks

    def memorize(self, index: int, features: CutieFeatures, masks: Tensor) -> None:  # noqa: ARG002
        """Note the frame, which `segment` has remembered."""
        self._recent = [*self._recent, index][-self._recent_frames :]

    def prompt(self, index: int, features: CutieFeatures, masks: Mapping[int, Tensor]) -> Tensor:
        """Remember given masks for good."""
        known = self._core.object_manager.num_obj
        ids = [k + 1 for k in sorted(masks)]
        with self._timer.stage("memorize"), self._network.precision():
            if 0 < known < ids[-1]:
                # With new objects, the core segments known ones, but takes an index mask only.
                stacked = torch.stack([masks[k - 1] for k in ids])
                numbers = torch.tensor([0, *ids], device=stacked.device)
                index_mask = numbers[torch.cat([torch.full_like(stacked[:1], 0.5), stacked]).argmax(dim=0)]
                merged = self._step(features, index_mask, objects=ids, force_permanent=True)[1:]
                self._network.take_logits()
            else:
                missing = set(range(known)) - masks.keys()
                predicted = self._step(features, end=True)[1:] if missing else features.image.new_zeros(0)
                merged = merge_given(predicted, masks)
                ids = list(range(1, len(merged) + 1))
                self._step(features, merged, objects=ids, idx_mask=False, force_permanent=True)
        self._permanent.insert(0, index)
        return merged.float()

    def capture(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the recurrent features and object summaries, and how many frames are permanent."""
        memory = self._core.memory
        arrays = {f"sensory{k}": x.float().cpu().numpy() for k, x in memory.sensory.items()}
        arrays |= {f"summary{k}": x.float().cpu().numpy() for k, x in memory.obj_v.items()}
        return arrays | {"permanent": torch.tensor(self._permanent, dtype=torch.int64).numpy()}

    def reserve(self, layout: MemoryLayout, captured: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore what was captured; `restore` fills the memory of frames."""
        permanent = len(captured["permanent"])
        self._permanent, self._recent = list(layout.indices[:permanent]), list(layout.indices[permanent:])
        # The next step is the first one after a remembered frame.
        self._core.curr_ti = self._core.last_mem_ti
        memory = self._core.memory
        for name, store in (("sensory", memory.sensory), ("summary", memory.obj_v)):
            for key, array in captured.items():
                if key.startswith(name):
                    store[int(key.removeprefix(name))] = torch.from_numpy(array).to(self._device)

    def restore(self, frame: CompressedFrame, masks: Tensor) -> None:
        """Encode a frame again. When all have come, they are added in the order in which they were."""
        self._restored[frame.index] = self.encode(frame), masks
        if self._restored.keys() < set(self.indices):
            return
        for index in (*reversed(self._permanent), *self._recent):
            features, soft = self._restored.pop(index)
            self._add(features, soft, permanent=index in self._permanent)

    def _step(self, features: CutieFeatures, *mask: Tensor, **arguments: Any) -> Tensor:
        """Run one step of the core; return the shares of the background and of all objects."""
        self._features.features = features
        shares: Tensor = self._core.step(features.image, *mask, **arguments)
        return shares

    def _add(self, features: CutieFeatures, masks: Tensor, *, permanent: bool) -> None:
        """Add keys and values of a frame to the memory, without a step."""
        core, ids = self._core, list(range(1, len(masks) + 1))
        core.object_manager.add_new_objects(ids)
        image, _ = pad_divide_by(features.image, _STRIDE)
        soft, _ = pad_divide_by(masks.to(self._device), _STRIDE)
        with self._network.precision():
            sensory = core.memory.get_sensory(ids)
            value, *_ = core.network.encode_mask(image[None], features.maps[1], sensory, soft[None], deep_update=False)
        key, shrinkage, selection = features.key
        how = "all" if permanent else "first"
        core.memory.add_memory(key, shrinkage, value, None, ids, selection=selection, as_permanent=how)
        core.last_mask = soft[None]
