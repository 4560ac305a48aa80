"""H.264 headers against what the encoder was told."""

from __future__ import annotations

import io

import av
import pytest

from codec.h264 import ParameterSets, access_unit, length_size, parameter_sets
from tests import synthetic


def packets(data: bytes) -> tuple[bytes | None, list[bytes]]:
    """Extradata and packets of the video stream."""
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.video[0]
        return stream.codec_context.extradata, [bytes(packet) for packet in file.demux(stream) if packet.size]


@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska", "h264"])
@pytest.mark.parametrize("references", [1, 3, 5])
def test_reference_frames_of_the_parameter_set(container: str, references: int) -> None:
    """`max_num_ref_frames` is what x264 was told, in every container and in both NAL forms."""
    options = synthetic.x264(bframes=0, ref=references)
    extradata, _ = packets(synthetic.encode(synthetic.pan(6).frames, options=options, container=container))
    parameters = parameter_sets(extradata).sequence
    assert parameters is not None
    assert parameters.max_reference_frames == references


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_reference_flags(container: str) -> None:
    """The B frames of a stream without a pyramid are no references, all others are; only the first is IDR."""
    options = synthetic.x264(bframes=2, b_pyramid="none", b_adapt=0, open_gop=0)
    extradata, units = packets(synthetic.encode(synthetic.pan(10).frames, options=options, container=container))
    sets = parameter_sets(extradata)
    parsed = [access_unit(unit, length_size(extradata), sets) for unit in units]
    assert [unit.is_idr for unit in parsed] == [True] + [False] * 9
    assert [unit.is_reference for unit in parsed] == [True] + [True, False, False] * 3


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le"])
def test_high_profiles_parse(pixel_format: str) -> None:
    """The longer parameter sets of high profiles are read to their end."""
    options = synthetic.x264(bframes=0, ref=2, cqm="jvt")
    extradata, _ = packets(
        synthetic.encode(synthetic.pan(3).frames, options=options, pixel_format=pixel_format, container="mp4")
    )
    parameters = parameter_sets(extradata).sequence
    assert parameters is not None
    assert (parameters.max_reference_frames, parameters.crop_left, parameters.crop_top) == (2, 0, 0)


def test_cropping_left_and_top() -> None:
    """Cropping is given in pixels (clause 7.4.2.1.1: in 4:2:0 its unit is two)."""
    options = synthetic.x264(bframes=0, ref=1, crop_rect="6,4,2,8")
    extradata, _ = packets(synthetic.encode(synthetic.pan(3).frames, options=options, container="mp4"))
    parameters = parameter_sets(extradata).sequence
    assert parameters is not None
    assert (parameters.crop_left, parameters.crop_top) == (6, 4)


@pytest.mark.parametrize("data", [b"", b"\x01\x64", b"\x00\x00\x01", b"\x00\x00\x01\x67\x42", b"\x01" * 40])
def test_damaged_headers_give_nothing(data: bytes) -> None:
    """Damaged or missing parameter sets are no parameters, never an error."""
    assert parameter_sets(data) == ParameterSets()


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x09\x65", b"\xff\xff\xff\xff\x65\x88"])
def test_damaged_packets_give_flags(data: bytes) -> None:
    """A packet cut anywhere is read as far as it goes."""
    sets = ParameterSets()
    assert access_unit(data, 4, sets).marking is None
    assert sets == ParameterSets()
