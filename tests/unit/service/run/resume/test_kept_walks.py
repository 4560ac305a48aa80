"""A correction that was cut off goes on with its walks, with a network whose masks depend on its whole memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codec.types import CompressedFrame, FrameType
from service.config import Settings
from service.engine.attempts.stored_walks import StoredWalks
from service.errors import LostJobError
from service.run.directions.resegment import resegment
from service.run.options import RunOptions
from service.storage.walk_files import WalkFiles
from service.writers.mask_line import encode_line
from tests.support.networks import MemoryNetwork
from tests.support.resumable import load_memory
from tests.support.squares import coded, moving_square, true_masks
from vos.types import FrameMask, MaskSource

COUNT = 24
PROMPTS = (0, 20)
CORRECTED = 12
OPTIONS = RunOptions(motion="proxy", keyframes="every:2", direction="both")


class CutOffError(Exception):
    """The worker has to exit."""


class Correction:
    """A correction of a clip with a prompt on either side of the corrected frame."""

    def __init__(self) -> None:
        self.truth, self.read = true_masks(COUNT), 0
        self.clip = coded(moving_square(COUNT), keyint=6, bframes=2)
        upper = self.truth.copy()
        upper[:, 32:] = 0
        self.prompts = {index: upper[index] for index in PROMPTS}
        wrong = np.roll(upper, 30, axis=1)
        self.masks = {
            i: FrameMask(i, i, i / 25, FrameType.P, MaskSource.PROPAGATED, wrong[i], {1: 0.1}) for i in range(COUNT)
        }

    def mask(self, index: int) -> FrameMask | None:
        """Return the stored mask of a frame."""
        return self.masks.get(index)

    def attempt(self, folder: Path, fence: int, cut_at: int | None = None) -> list[bytes]:
        """Return the lines of the frames that change; an attempt may be cut off when it has read some frames."""
        self.read = 0

        def on_frame(_frame: CompressedFrame) -> None:
            self.read += 1
            if self.read == cut_at:
                raise CutOffError

        given = {CORRECTED: self.truth[CORRECTED]}
        with resegment(
            self.clip, self, self.prompts, given, OPTIONS, settings=Settings(), load=load_memory, on_frame=on_frame
        ) as run:
            run.keep_walks(walks_of(folder, fence).walk)
            return [encode_line(mask) for mask in run]


def walks_of(folder: Path, fence: int) -> StoredWalks:
    """Return the walks of an attempt at one job."""
    folder.mkdir(exist_ok=True)
    return StoredWalks(
        WalkFiles(folder),
        fence,
        fingerprint="same",
        min_seconds=0.0,
        check_claim=lambda: None,
        check_size=lambda: None,
    )


@pytest.fixture(scope="module")
def correction() -> Correction:
    """A correction that travels both ways."""
    return Correction()


@pytest.mark.parametrize("cuts", [(0.3,), (0.8,), (0.4, 0.6, 0.9)])
def test_a_correction_goes_on_in_mid_walk(
    cuts: tuple[float, ...], correction: Correction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is cut off, its masks are those of an uninterrupted one, and less is segmented in the end."""
    calls: list[str] = []
    real = MemoryNetwork.segment
    monkeypatch.setattr(MemoryNetwork, "segment", lambda *given: calls.append("") or real(*given))
    whole = correction.attempt(tmp_path / "whole", 1)
    in_whole, read = len(calls), correction.read
    for fence, share in enumerate(cuts, 1):
        with pytest.raises(CutOffError):
            correction.attempt(tmp_path / "cut", fence, int(share * read))
    calls.clear()
    assert correction.attempt(tmp_path / "cut", len(cuts) + 1) == whole
    assert len(calls) < in_whole


def test_a_lost_worker_keeps_no_walk(correction: Correction, tmp_path: Path) -> None:
    """Once another worker has the job, the files of its walks stay as they are."""
    lost = False

    def check_claim() -> None:
        if lost:
            raise LostJobError("another worker has the job")

    walks = StoredWalks(
        WalkFiles(tmp_path), 1, fingerprint="same", min_seconds=0.0, check_claim=check_claim, check_size=lambda: None
    )
    mask = correction.masks[CORRECTED]
    spool = walks.walk(0).open(CORRECTED, mask.labels.shape[1], mask.labels.shape[0])
    lost = True
    with pytest.raises(LostJobError):
        walks.walk(0).open(CORRECTED, 1, 1)
    spool.close()
    assert not WalkFiles(tmp_path).state(0, 1).exists()
