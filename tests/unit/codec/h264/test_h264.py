"""H.264 headers against what the encoder was told."""

from __future__ import annotations

import io

import av
import pytest

from codec.h264.access_unit import access_unit, length_size, parameter_sets
from codec.h264.parameter_sets import ParameterSets
from tests.support import synthetic


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


def number(value: int) -> str:
    """ue(v) as bits (clause 9.1)."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def sequence_parameters(size: tuple[int, int], crop: tuple[int, int, int, int], *, has_fields: bool = False) -> bytes:
    """A baseline parameter set NAL unit: size in macroblocks, crop (left, right, top, bottom) in units."""
    fields = [*map(number, (0, 0, 2, 1)), "0", *map(number, (size[0] - 1, size[1] - 1))]
    shape = "01" if has_fields else "1"
    bits = f"{66:08b}" + "0" * 16 + "".join(fields) + shape + "1" + "1" + "".join(map(number, crop)) + "01"
    bits += "0" * (-len(bits) % 8)
    return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize(
    ("crop", "has_fields", "expected"),
    [
        ((0, 0, 0, 0), False, (0, 0)),
        ((3, 36, 2, 21), False, (6, 4)),  # 40x24 units: one column and one row are left
        ((3, 36, 2, 21), True, (6, 8)),  # a field of as many rows
        ((39, 0, 0, 0), False, (78, 0)),
        ((40, 0, 0, 0), False, None),
        ((3, 37, 2, 21), False, None),
        ((3, 36, 2, 22), False, None),
        ((0, 0, 24, 0), True, None),
        ((0, 0, 1 << 20, 0), False, None),
        ((1 << 80, 0, 0, 0), False, None),
    ],
)
def test_cropping_leaves_something(
    crop: tuple[int, int, int, int], has_fields: bool, expected: tuple[int, int] | None
) -> None:
    """Cropping of a whole picture, 80x48 pixels or two fields of them, is damage: such a set changes nothing."""
    sets = ParameterSets()
    sets.take(sequence_parameters((5, 3), crop, has_fields=has_fields))
    found = sets.sequence and (sets.sequence.crop_left, sets.sequence.crop_top)
    assert found == expected


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
