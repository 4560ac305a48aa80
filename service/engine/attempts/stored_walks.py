"""Keeps the walks of a job until it has ended, so that an attempt that takes it over does not repeat them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

from service.engine.attempts.publishing import PublishedFile
from service.run.resume.kept_walk import KeptWalk
from service.storage.objects.object_store import BLOCK
from service.storage.walk_files import WalkFiles


class StoredWalks:
    """The walks of one attempt, which go on where earlier attempts left them.

    Args:
        files: Files of the walks.
        fence: Fence of the attempt.
        fingerprint: Digest of everything that the masks depend on.
        min_seconds: Shortest time between two saved states.
        check_claim: Raises an error if another worker may have the job.
        check_size: Called after each mask; it raises an error if all masks together are too large.

    Attributes:
        resumed: Whether a walk went on where an earlier attempt left it.
    """

    def __init__(
        self,
        files: WalkFiles,
        fence: int,
        *,
        fingerprint: str,
        min_seconds: float,
        check_claim: Callable[[], None],
        check_size: Callable[[], None],
    ) -> None:
        self._files, self._fence = files, fence
        self._fingerprint, self._min_seconds = fingerprint, min_seconds
        self._check_claim, self._check_size = check_claim, check_size
        self._sizes: Counter[int] = Counter()
        self._published: defaultdict[int, PublishedFile] = defaultdict(PublishedFile)
        self.resumed = False

    @property
    def size(self) -> int:
        """Bytes of the masks of all walks."""
        return self._sizes.total()

    def walk(self, number: int, begin: int = 0) -> KeptWalk:
        """Return a walk that is about to begin, or to go on.

        Args:
            number: Its place among the walks of the job, from 0.
            begin: As for `KeptWalk`.
        """
        earlier = [
            (self._files.masks(number, fence), self._files.state(number, fence))
            for fence in self._files.fences(number, before=self._fence)
        ]
        kept = KeptWalk(
            self._files.masks(number, self._fence),
            self._files.state(number, self._fence),
            fingerprint=self._fingerprint,
            min_seconds=self._min_seconds,
            earlier=earlier,
            begin=begin,
            on_begin=self._check_claim,
            on_mask=partial(self._note, number),
            before_save=self._check_claim,
            on_saved=partial(self._publish, number),
        )
        self.resumed = self.resumed or kept.state is not None
        return kept

    def _note(self, number: int, size: int) -> None:
        self._sizes[number] = size
        self._check_size()

    def _publish(self, number: int, size: int) -> None:
        """Let other machines see the masks and the state, which takes the place of those of earlier attempts."""
        self._published[number].grow(size, partial(self._files.publish_masks, number, self._fence), BLOCK)
        self._files.publish_state(number, self._fence)
        if self._files.fences(number, before=self._fence):
            self._files.discard(self._fence, number)
