"""Device and precision are chosen by name, and lower precision stays close to float32."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vos.errors import OptionError
from vos.modeling.network import VOSNetwork
from vos.runtime import device
from vos.runtime.device import cpu_has_bfloat16, resolve_device, resolve_precision
from vos.weights.load import SEEDED, load_network

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_nothing_touches_cuda_at_import() -> None:
    """Importing networks and weights does not initialize CUDA, and the catalogue does not even import torch."""
    code = (
        "import sys, vos.weights.catalog; assert 'torch' not in sys.modules; "
        "import vos.weights.load, torch; assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_device_is_cuda_where_there_is_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device "auto" is CUDA if torch reports it, else the CPU."""
    for available, kind in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=available: found)
        assert resolve_device("auto").type == kind


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "must be auto, cpu, cuda or cuda:N"),
        ("mps", "must be auto, cpu, cuda or cuda:N"),
        ("cuda:", "must be auto, cpu, cuda or cuda:N"),
        ("", "must be auto, cpu, cuda or cuda:N"),
        ("cuda", "no CUDA device is available here"),
        ("cuda:1", "no CUDA device is available here"),
    ],
)
def test_unknown_and_absent_devices_are_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what is allowed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match=message):
        resolve_device(name)


def test_a_cuda_index_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how many devices there are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(OptionError, match="only 1 CUDA devices here"):
        resolve_device("cuda:1")


def test_auto_precision_is_the_native_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is bfloat16 if the hardware supports it, else float16 on CUDA and float32 on a CPU."""
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "cpu_has_bfloat16", lambda found=native: found)
        assert resolve_precision("auto", CPU) == expected
    for capability, expected in (((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device, found=capability: found)
        assert resolve_precision("auto", CUDA) == expected


def test_unknown_and_emulated_precisions_are_refused() -> None:
    """An unknown precision is refused, and so is float16 on a CPU; the error says what is allowed."""
    with pytest.raises(OptionError, match="must be auto, float32, bfloat16, float16, int8"):
        resolve_precision("fp8", CPU)
    with pytest.raises(OptionError, match="a CPU only emulates; use auto, float32 or bfloat16"):
        resolve_precision("float16", CPU)
    assert resolve_precision("float16", CUDA) == torch.float16


def test_bfloat16_support_agrees_with_the_kernel() -> None:
    """On Linux, bfloat16 is reported only if the kernel lists the instructions."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else None
    if flags is None:
        pytest.skip("there is no /proc/cpuinfo to compare with on this system")
    assert cpu_has_bfloat16() <= ("avx512_bf16" in flags or "amx_bf16" in flags)


@torch.inference_mode()
def second_frame_logits(network: VOSNetwork) -> torch.Tensor:
    """Segment the second of two smooth pictures, given the masks of the first: logits float32 [2, 1, 24, 40]."""
    parameter = next(network.parameters())
    place = {"device": parameter.device, "dtype": parameter.dtype}
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(2, 3, 13, 21, generator=generator) * 255
    pictures = torch.nn.functional.interpolate(coarse, size=(96, 160), mode="bilinear").to(torch.uint8)
    masks = torch.zeros(2, 1, 96, 160)
    masks[0, 0, 20:70, 20:60] = 1
    masks[1, 0, 30:90, 90:140] = 1
    first, second = (
        network.encode(network.normalize(picture.unsqueeze(0).to(parameter.device)).to(**place)) for picture in pictures
    )
    memory = network.memorize(first, masks.to(**place))
    hint = torch.nn.functional.avg_pool2d(masks, 4).to(**place)
    return network.segment(second, memory, hint, 20).float().cpu()


@pytest.mark.parametrize("name", ["stm", "stcn"])
def test_bfloat16_is_close_to_float32(name: str) -> None:
    """With seeded weights, logits in bfloat16 stay close to float32, and 98 % of the labels stay the same.

    Seeded weights decide nothing, so labels at probability 0.5 would be noise. The threshold is the median instead,
    where labels are hardest to keep. Measured: logits within 0.06 of their deviation, 0.012 on average; probabilities
    within 0.0044; 99.5 % of the labels.
    """
    exact, rough = (
        second_frame_logits(load_network(name, device="cpu", precision=kind, weights=SEEDED))
        for kind in ("float32", "bfloat16")
    )
    assert_close(exact, rough)


on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none here")


def pair_on_cuda(name: str, kind: str, weights: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits in float32 on the CPU, and in another precision on CUDA."""
    if kind == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this CUDA device only emulates bfloat16; auto takes float16 there")
    exact = load_network(name, device="cpu", precision="float32", weights=weights)
    rough = load_network(name, device="cuda", precision=kind, weights=weights)
    return second_frame_logits(exact), second_frame_logits(rough)


@on_cuda
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["stm", "stcn"])
def test_cuda_is_close_to_float32_on_the_cpu(name: str, kind: str) -> None:
    """Every precision on CUDA, including float32 as TF32, is as close to float32 on the CPU as bfloat16 there.

    The bounds are those of the CPU, since both multiply numbers of 8 bits or more and add in float32.
    """
    assert_close(*pair_on_cuda(name, kind, SEEDED))


@on_cuda
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
def test_compact_on_cuda_keeps_its_masks(kind: str) -> None:
    """With the shipped weights, probabilities change by at most 0.01 on average, and 99 % of the labels stay.

    Measured on a CPU that runs the same layers: 0.0042 and 99.6 % in bfloat16, 0.0014 and 99.8 % in float16.
    """
    exact, rough = pair_on_cuda("compact", kind, None)
    assert (exact.sigmoid() - rough.sigmoid()).abs().mean() < 0.01
    assert ((exact > 0) == (rough > 0)).float().mean() >= 0.99


def assert_close(exact: torch.Tensor, rough: torch.Tensor) -> None:
    """Assert that logits differ by at most a tenth of their deviation, 1/50 on average, and 98 % of labels agree."""
    error = (exact - rough).abs()
    deviation = exact.std()
    assert 0 < error.max() < 0.1 * deviation
    assert error.mean() < 0.02 * deviation
    assert (exact.sigmoid() - rough.sigmoid()).abs().max() < 0.01
    threshold = exact.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    assert ((exact > threshold) == (rough > threshold)).float().mean() >= 0.98
