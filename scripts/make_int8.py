"""Make the int8 forms of the default network and the refiner, which OpenVINO runs on a CPU.

Needs `pip install openvino nncf`. Runs both networks in float32 on training sequences, records what goes into each of
their `int8_parts`, and lets NNCF's default recipe quantize these parts. Run it again whenever weights change: an int8
form is only used with the weights it was made from.

    python scripts/make_int8.py --data TRAINING_FOLDER
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from codec import open_video
from codec.encode import Encoder, encode
from codec.types import UInt8Array
from vos.evaluation.evaluate import read_picture
from vos.modeling.compact import CompactNetwork
from vos.modeling.cpu.int8 import SUFFIX
from vos.modeling.refiner import Refiner
from vos.runtime.durable import make_folder, write_durably
from vos.segmenter import Segmenter
from vos.types import Options, Prompt
from vos.weights.catalog import PACKAGE_FOLDER, Record, find_weights
from vos.weights.load import read_weights

FRAMES = 7
"""Frames of each sequence; every third one is key."""
SAMPLES = 32
"""Recorded calls that calibrate each part, spread over the sequences."""
_GROUPS = {"value.forward": (4, 8, 16), "decoder.forward": (4, 8, 16), "decoder.decode": (4, 8, 16)}
"""Parts whose first argument is a mapping, and its keys."""


class _Part(nn.Module):
    """A part of a network with nothing but tensors as arguments, as the converter needs it."""

    def __init__(self, network: nn.Module, part: str) -> None:
        super().__init__()
        self.network, self.part, self.keys = network, part, _GROUPS.get(part, ())

    def forward(self, *tensors: Tensor) -> Any:
        module, _, method = self.part.rpartition(".")
        count = len(self.keys)
        maps = (dict(zip(self.keys, tensors[:count], strict=True)),) if count else ()
        return getattr(self.network.get_submodule(module), method)(*maps, *tensors[count:])


def main() -> None:
    """Make both forms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training data, with video/SET/SEQUENCE")
    parser.add_argument("--sets", default="davis2016_train,nyu_clevrer", help="sets of sequences, by name")
    parser.add_argument("--out", type=Path, default=PACKAGE_FOLDER, help="folder of the int8 forms")
    arguments = parser.parse_args()
    networks: dict[str, Any] = {"compact": CompactNetwork(), "refiner": Refiner()}
    for name, network in networks.items():
        state = read_weights(network, PACKAGE_FOLDER / find_weights(name).file, name)
        if isinstance(network, CompactNetwork):
            for part in network.missing_optional(state):
                setattr(network, part, None)
        network.load_state_dict(state)
        network.eval().requires_grad_(False).fold()
    sets = [arguments.data / "video" / name for name in arguments.sets.split(",")]
    recorded = record(networks, [folder for path in sets for folder in sorted(path.iterdir())])
    for name, network in networks.items():
        content = io.BytesIO()
        with ZipFile(content, "w", ZIP_DEFLATED) as archive:
            for part in network.int8_parts:
                xml, constants = quantized(_Part(network, part), recorded[name, part])
                archive.writestr(f"{part}.xml", xml)
                archive.writestr(f"{part}.bin", constants)
        write(name, content.getvalue(), arguments.out)


def record(networks: Mapping[str, Any], folders: list[Path]) -> dict[tuple[str, str], list[tuple[Tensor, ...]]]:
    """Segment the sequences and return the arguments of each part by network and part."""
    recorded: dict[tuple[str, str], list[tuple[Tensor, ...]]] = {}
    for name, network in networks.items():
        for part in network.int8_parts:
            module, _, method = part.rpartition(".")
            owner = network.get_submodule(module)
            setattr(owner, method, _recorder(getattr(owner, method), recorded.setdefault((name, part), [])))
    segmenter = Segmenter(networks["compact"], Options(keyframes="every:3"), networks["refiner"])
    for folder in folders:
        pictures, labels = read_sequence(folder)
        clip = encode(iter(pictures), Encoder())
        with closing(open_video(clip)) as video:
            for _ in segmenter.run(video, video.info, Prompt(labels)):
                pass
    for network in networks.values():
        for part in network.int8_parts:
            module, _, method = part.rpartition(".")
            delattr(network.get_submodule(module), method)
    return recorded


def _recorder(method: Callable[..., Any], calls: list[tuple[Tensor, ...]]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        tensors = [x for group in arguments for x in (group.values() if isinstance(group, Mapping) else (group,))]
        calls.append(tuple(x.detach().clone() for x in tensors))
        return method(*arguments)

    return call


def read_sequence(folder: Path) -> tuple[list[UInt8Array], UInt8Array]:
    """Return the first pictures uint8 [H, W, 3] of a sequence, with even sides, and the labels of the first one."""
    files = sorted((folder / "frames").iterdir())[:FRAMES]
    with Image.open(folder / "masks" / f"{files[0].stem}.png") as image:
        labels = np.asarray(image, np.uint8)
    height, width = (side // 2 * 2 for side in labels.shape)
    pictures = [np.ascontiguousarray(read_picture(file)[:height, :width]) for file in files]
    return pictures, np.ascontiguousarray(labels[:height, :width])


def quantized(part: _Part, calls: list[tuple[Tensor, ...]]) -> tuple[bytes, bytes]:
    """Quantize a part. Return the XML of an OpenVINO model with inputs and outputs [B, H, W, C], and its constants."""
    import nncf  # noqa: PLC0415 - slow to import
    import openvino as ov  # noqa: PLC0415
    from openvino.preprocess import PrePostProcessor  # noqa: PLC0415

    # The compiled part runs object by object.
    chosen = [tuple(x[:1] for x in call) for call in calls[:: max(1, len(calls) // SAMPLES)]]
    example = chosen[0]
    shapes = [ov.PartialShape([1, x.shape[1], -1, -1]) for x in example]
    with torch.no_grad():
        model = ov.convert_model(part, example_input=example, input=shapes)
    samples = nncf.Dataset([tuple(x.contiguous().numpy() for x in call) for call in chosen])
    processor = PrePostProcessor(nncf.quantize(model, samples, subset_size=len(chosen)))
    for ends, count in ((processor.input, len(model.inputs)), (processor.output, len(model.outputs))):
        for index in range(count):
            ends(index).tensor().set_layout(ov.Layout("NHWC"))
            ends(index).model().set_layout(ov.Layout("NCHW"))
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder, "part.xml")
        ov.save_model(processor.build(), xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()


def write(name: str, content: bytes, folder: Path) -> None:
    """Write an int8 form and its record."""
    weights = find_weights(name)
    make_folder(folder)
    path = folder / f"{name}{SUFFIX}"
    source = hashlib.sha256((PACKAGE_FOLDER / weights.file).read_bytes()).hexdigest()
    digest = hashlib.sha256(content).hexdigest()
    record = Record(name, digest, len(content), weights.license, "scripts/make_int8.py", source)
    write_durably(path, content)
    write_durably(path.with_suffix(".json"), (json.dumps(asdict(record), indent=2) + "\n").encode())
    print(f"{path}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
