"""Catalog of the known weights: origin, licence and location.

Every weights file has a JSON record with its SHA-256 beside it. This module does not import torch, so that listing
models is fast.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vos.errors import OptionError, WeightsError

DEFAULT = "compact"
SUFFIXES = (".safetensors", ".pth", ".pt")
"""How names of weights files end."""

PACKAGE_FOLDER = Path(__file__).parent.parent / "pretrained"


@dataclass(frozen=True, slots=True)
class Model:
    """A network and its published weights.

    Attributes:
        name: Name for `build_network`.
        summary: One line about the network.
        license: SPDX identifier of the weights' licence.
        terms: Further terms of use.
        page: Address of the publishers' description; empty for our own weights.
        url: Address of the checkpoint; empty for our own weights.
        megabytes: Approximate size of the checkpoint, to show before a download.
        packages: Distributions on PyPI that run the network; none if this one does.
        extra: Extra of this distribution that installs it.
        embedded: Whether the weights are part of this package.
    """

    name: str
    summary: str
    license: str
    terms: str
    page: str = ""
    url: str = ""
    megabytes: int = 0
    packages: tuple[str, ...] = ()
    extra: str = ""
    embedded: bool = False

    @property
    def file(self) -> str:
        """Name of the weights file."""
        return f"{self.name}.safetensors"

    @property
    def is_installed(self) -> bool:
        """Whether the distributions that run the network are installed."""
        try:
            return all(version(package) for package in self.packages)
        except PackageNotFoundError:
            return False


_RESEARCH = (
    "trained on DAVIS, YouTube-VOS, BL30K and sets of stills, some of which their owners offer for research only"
)
_META = "trained by Meta on SA-V and SA-1B, among others"
_CUTIE = "https://github.com/hkchengrex/Cutie"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            "compact",
            "the default: small, fast on a CPU, part of this package",
            "Apache-2.0",
            "the model card in docs says on what it was trained",
            embedded=True,
        ),
        Model(
            "stm",
            "STM with top-k filtering (MiVOS, CVPR 2021), ResNet-50",
            "MIT",
            _RESEARCH,
            page="https://github.com/hkchengrex/MiVOS#pretrained-models",
            url=_DRIVE + "19dfbVDndFkboGLHESi8DGtuxF1B21Nm8",
        ),
        Model(
            "stcn",
            "STCN (NeurIPS 2021), ResNet-50 and ResNet-18",
            "MIT",
            _RESEARCH,
            page="https://github.com/hkchengrex/STCN#pretrained-models",
            url=_DRIVE + "1mRrE0uCI2ktdWlUgapJI_KmgeIiF2eOm",
        ),
        *(
            Model(
                f"cutie-{size}",
                f"Cutie (CVPR 2024), {backbone}; the package rf-cutie runs it",
                "MIT",
                _RESEARCH.replace("BL30K and", "MOSE, BURST, OVIS, BL30K and"),
                page=f"{_CUTIE}/releases/tag/v1.0",
                url=f"{_CUTIE}/releases/download/v1.0/cutie-{size}-mega.pth",
                megabytes=megabytes,
                packages=("rf-cutie",),
                extra="cutie",
            )
            for size, backbone, megabytes in (("small", "ResNet-18", 115), ("base", "ResNet-50", 140))
        ),
        *(
            Model(
                f"sam2.1-{size}",
                f"SAM 2.1 (2024), Hiera {size}; the package transformers runs it",
                "Apache-2.0",
                _META,
                page=f"https://huggingface.co/facebook/sam2.1-hiera-{size}",
                url=f"https://huggingface.co/facebook/sam2.1-hiera-{size}/resolve/main/model.safetensors",
                megabytes=megabytes,
                packages=("transformers",),
                extra="sam2",
            )
            for size, megabytes in (("tiny", 156), ("small", 184), ("base-plus", 323), ("large", 898))
        ),
        Model(
            "edgetam",
            "EdgeTAM (CVPR 2025), RepViT-M1; the packages transformers and timm run it",
            "Apache-2.0",
            _META,
            page="https://huggingface.co/yonigozlan/EdgeTAM-hf",
            url="https://huggingface.co/yonigozlan/EdgeTAM-hf/resolve/main/model.safetensors",
            megabytes=56,
            packages=("transformers", "timm"),
            extra="edgetam",
        ),
    )
}

REFINER = Model(
    "refiner",
    "refines propagated masks of any base network; part of this package",
    "Apache-2.0",
    "the model card in docs says on what it was trained",
    embedded=True,
)


@dataclass(frozen=True, slots=True)
class Record:
    """JSON record beside a weights file.

    Attributes:
        name: Name of the network.
        sha256: SHA-256 of the weights file, in hexadecimal.
        bytes: Size of the weights file.
        license: SPDX identifier of the weights' licence.
        origin: File name or address that the weights were converted from, or the command that trained them.
        origin_sha256: SHA-256 of the converted file; empty if there was none.
    """

    name: str
    sha256: str
    bytes: int
    license: str
    origin: str
    origin_sha256: str = ""


def find_model(name: str) -> Model:
    """Return a model by name.

    Raises:
        OptionError: There is no such model.
    """
    if name not in MODELS:
        raise OptionError(f"model is {name!r}; it must be one of {', '.join(MODELS)}")
    return MODELS[name]


def find_weights(name: str) -> Model:
    """Return a model by name, or the refiner, which no run can choose as its model.

    Raises:
        OptionError: There is no such model.
    """
    return REFINER if name == REFINER.name else find_model(name)


def weights_path(name: str, store: Path | None) -> Path | None:
    """Path of a model's weights, in the package or the store folder, whether or not it exists; None without a store."""
    model = find_weights(name)
    folder = PACKAGE_FOLDER if model.embedded else store
    return None if folder is None else folder / model.file


def read_record(path: Path) -> Record | None:
    """Read the record beside a weights file; None if there is none.

    Raises:
        WeightsError: The record cannot be read.
    """
    try:
        return Record(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(
            f"the record {path.with_suffix('.json')} is damaged; pull or copy the weights again"
        ) from error


def is_unchanged(path: Path, record: Record) -> bool:
    """Whether the weights file still has the SHA-256 of its record."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
