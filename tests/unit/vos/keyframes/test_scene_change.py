"""A cut and an I frame within a shot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np

from codec.types import CompressedFrame
from vos.keyframes.scene_change import SceneWatch


def test_a_cut_differs_from_an_i_frame_within_a_shot() -> None:
    """Pictures of another scene are a change, also where B frames arrive later; the next picture of a pan is none."""
    ramp = np.tile(np.linspace(0, 255, 200), (96, 1)).astype(np.uint8)
    shots = [ramp, ramp[:, ::-1]]
    watch = SceneWatch()
    for index in (0, 3, 1, 2, 4, 7, 5, 6, 8, 11, 9, 10):
        picture = np.ascontiguousarray(shots[index // 8][:, index % 8 :][:, :160])
        watch.observe(cast("CompressedFrame", SimpleNamespace(index=index, luma=picture)))
        if index in (3, 4, 7):
            assert not watch.has_changed(index)
        if index == 8:
            assert watch.has_changed(index)
    assert not watch.has_changed(11)
