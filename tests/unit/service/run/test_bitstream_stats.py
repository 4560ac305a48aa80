"""The report's part on the bitstream."""

from __future__ import annotations

from collections import deque

import pytest

from codec import open_video
from service.run.bitstream_stats import BitstreamStats
from tests.support.odd_streams import ODD_STREAMS
from vos.probe.probe import probe


@pytest.mark.parametrize("name", ["mjpeg", "prores", "hevc", "B pyramid", "ffv1"])
def test_coverage_equals_that_of_the_probe(name: str) -> None:
    """The probe looks at every frame by itself; both agree, also where the proxy gives the motion."""
    data = ODD_STREAMS[name].make()
    stats = BitstreamStats()
    with open_video(data) as reader:
        deque(stats.count(reader), maxlen=0)
        report = stats.to_json(reader.info)
    expected = probe(data)
    assert expected.motion_coverage is not None
    assert report["motion_coverage"] == pytest.approx(expected.motion_coverage, abs=1e-4)
    assert report["intra_share"] == pytest.approx(1 - expected.motion_coverage, abs=1e-4)
    assert (report["frames_read"], report["motion_source"]) == (expected.frames, expected.video.motion_source)


def test_a_stream_without_motion_has_no_coverage() -> None:
    """Without predicted frames, coverage and intra share are null."""
    stats = BitstreamStats()
    with open_video(ODD_STREAMS["one frame"].make()) as reader:
        deque(stats.count(reader), maxlen=0)
        report = stats.to_json(reader.info)
    assert (report["motion_coverage"], report["intra_share"]) == (None, None)
