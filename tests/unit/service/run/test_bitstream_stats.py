"""What a report says of the bitstream: the same as the probe, which sees every frame by itself."""

from __future__ import annotations

from collections import deque

import pytest

from codec import open_video
from service.run.bitstream_stats import BitstreamStats
from tests.support.odd_streams import ODD_STREAMS
from vos.probe.probe import probe


@pytest.mark.parametrize("name", ["mjpeg", "prores", "hevc", "B pyramid", "ffv1"])
def test_coverage_is_that_of_the_probe(name: str) -> None:
    """Also where all frames of the stream are intra coded and a proxy gives their motion."""
    data = ODD_STREAMS[name].make()
    tally = BitstreamStats()
    with open_video(data) as reader:
        deque(tally.watch(reader), maxlen=0)
        report = tally.report(reader.info)
    expected = probe(data)
    assert expected.motion_coverage is not None
    assert report["motion_coverage"] == pytest.approx(expected.motion_coverage, abs=1e-4)
    assert report["intra_share"] == pytest.approx(1 - expected.motion_coverage, abs=1e-4)
    assert (report["frames_read"], report["motion_source"]) == (expected.frames, expected.video.motion_source)


def test_a_stream_without_motion_has_no_coverage() -> None:
    """Intra frames read for their own vectors, of which there are none, cover nothing: the report says null."""
    tally = BitstreamStats()
    with open_video(ODD_STREAMS["one frame"].make()) as reader:
        deque(tally.watch(reader), maxlen=0)
        report = tally.report(reader.info)
    assert (report["motion_coverage"], report["intra_share"]) == (None, None)
