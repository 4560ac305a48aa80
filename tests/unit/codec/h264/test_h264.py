"""H.264 headers against the options given to the encoder."""

from __future__ import annotations

import io

import av
import pytest

from codec.h264.access_unit import parse_access_unit, parse_extradata
from codec.h264.nal_unit import nal_length_size
from codec.h264.parameter_sets import ParameterSets
from tests.support import synthetic


def packets(data: bytes) -> tuple[bytes | None, list[bytes]]:
    """Extradata and packets of the video stream."""
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.video[0]
        return stream.codec_context.extradata, [bytes(packet) for packet in file.demux(stream) if packet.size]


@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska", "h264"])
@pytest.mark.parametrize("references", [1, 3, 5])
def test_max_num_ref_frames(container: str, references: int) -> None:
    """`max_num_ref_frames` is x264's option `ref` in every container and with both NAL unit framings."""
    options = synthetic.x264(bframes=0, ref=references)
    extradata, _ = packets(synthetic.encode(synthetic.pan(6).frames, options=options, container=container))
    parameters = parse_extradata(extradata).sps
    assert parameters is not None
    assert parameters.max_num_ref_frames == references


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_reference_flags(container: str) -> None:
    """Without a pyramid, all frames but B frames are references; only the first frame is IDR."""
    options = synthetic.x264(bframes=2, b_pyramid="none", b_adapt=0, open_gop=0)
    extradata, units = packets(synthetic.encode(synthetic.pan(10).frames, options=options, container=container))
    sets = parse_extradata(extradata)
    parsed = [parse_access_unit(unit, nal_length_size(extradata), sets) for unit in units]
    assert [unit.is_idr for unit in parsed] == [True] + [False] * 9
    assert [unit.is_reference for unit in parsed] == [True] + [True, False, False] * 3


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le"])
def test_high_profiles_parse(pixel_format: str) -> None:
    """The additional fields of high profiles are parsed."""
    options = synthetic.x264(bframes=0, ref=2, cqm="jvt")
    extradata, _ = packets(
        synthetic.encode(synthetic.pan(3).frames, options=options, pixel_format=pixel_format, container="mp4")
    )
    parameters = parse_extradata(extradata).sps
    assert parameters is not None
    assert (parameters.max_num_ref_frames, parameters.crop_left, parameters.crop_top) == (2, 0, 0)


def test_cropping_left_and_top() -> None:
    """Crop offsets are in pixels; the bitstream counts units of two in 4:2:0 (clause 7.4.2.1.1)."""
    options = synthetic.x264(bframes=0, ref=1, crop_rect="6,4,2,8")
    extradata, _ = packets(synthetic.encode(synthetic.pan(3).frames, options=options, container="mp4"))
    parameters = parse_extradata(extradata).sps
    assert parameters is not None
    assert (parameters.crop_left, parameters.crop_top) == (6, 4)


def ue(value: int) -> str:
    """Exp-Golomb code of a number as text (clause 9.1)."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def sequence_parameters(size: tuple[int, int], crop: tuple[int, int, int, int], *, has_fields: bool = False) -> bytes:
    """An SPS NAL unit of the baseline profile: size in macroblocks, crop (left, right, top, bottom) in crop units."""
    fields = [*map(ue, (0, 0, 2, 1)), "0", *map(ue, (size[0] - 1, size[1] - 1))]
    shape = "01" if has_fields else "1"
    bits = f"{66:08b}" + "0" * 16 + "".join(fields) + shape + "1" + "1" + "".join(map(ue, crop)) + "01"
    bits += "0" * (-len(bits) % 8)
    return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize(
    ("crop", "has_fields", "expected"),
    [
        ((0, 0, 0, 0), False, (0, 0)),
        ((3, 36, 2, 21), False, (6, 4)),  # of 40x24 units, one column and one row remain
        ((3, 36, 2, 21), True, (6, 8)),  # as many rows per field
        ((39, 0, 0, 0), False, (78, 0)),
        ((40, 0, 0, 0), False, None),
        ((3, 37, 2, 21), False, None),
        ((3, 36, 2, 22), False, None),
        ((0, 0, 24, 0), True, None),
        ((0, 0, 1 << 20, 0), False, None),
        ((1 << 80, 0, 0, 0), False, None),
    ],
)
def test_cropping_the_whole_picture_is_damage(
    crop: tuple[int, int, int, int], has_fields: bool, expected: tuple[int, int] | None
) -> None:
    """A set that crops all of the picture (80x48 pixels per frame or field) is ignored."""
    sets = ParameterSets()
    sets.update(sequence_parameters((5, 3), crop, has_fields=has_fields))
    found = sets.sps and (sets.sps.crop_left, sets.sps.crop_top)
    assert found == expected


@pytest.mark.parametrize("data", [b"", b"\x01\x64", b"\x00\x00\x01", b"\x00\x00\x01\x67\x42", b"\x01" * 40])
def test_damaged_extradata_is_ignored(data: bytes) -> None:
    """Damaged or missing parameter sets leave the sets empty and raise no error."""
    assert parse_extradata(data) == ParameterSets()


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x09\x65", b"\xff\xff\xff\xff\x65\x88"])
def test_damaged_packets_are_read_as_far_as_possible(data: bytes) -> None:
    """A damaged packet has no marking, changes no parameter set and raises no error."""
    sets = ParameterSets()
    assert parse_access_unit(data, 4, sets).marking is None
    assert sets == ParameterSets()
