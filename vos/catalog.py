"""The networks whose weights keymask knows: where they come from and under which licence they may be used."""

from __future__ import annotations

from dataclasses import dataclass

from vos.errors import OptionError


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a network's published weights.

    Attributes:
        name: As `build_network` knows it.
        summary: One line on the network.
        license: SPDX identifier under which the weights are published.
        terms: What else to know before use.
        page: Where the publishers describe the weights; empty for our own.
        url: The checkpoint itself; empty for our own.
        embedded: Whether the weights are part of this package.
    """

    name: str
    summary: str
    license: str
    terms: str
    page: str = ""
    url: str = ""
    embedded: bool = False

    @property
    def file(self) -> str:
        """Name of the weights file."""
        return f"{self.name}.safetensors"


_RESEARCH = (
    "trained on DAVIS, YouTube-VOS, BL30K and sets of stills, some of which their owners offer for research only"
)
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
    )
}


def find_model(name: str) -> Model:
    """Model by name.

    Raises:
        OptionError: There is no such model.
    """
    if name not in MODELS:
        raise OptionError(f"model is {name!r}; it must be one of {', '.join(MODELS)}")
    return MODELS[name]
