"""Features of a key frame before its turn: the backbone needs no mask, and repairs leave a core idle.

Which frame will be key is foretold from the stream and the policy alone, and features are the same whoever computes
them, so that masks do not depend on what was ready in time. A frame that was foretold and is not key after all costs
the work and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from codec.types import CompressedFrame
from vos.modeling.network import Features
from vos.workers import Workers


class Ahead:
    """The features of one frame to come.

    Args:
        encode: The base network's features of a frame.
        workers: Gives the core to compute them on.
    """

    def __init__(self, encode: Callable[[CompressedFrame], Features], workers: Workers) -> None:
        self._encode = encode
        self._workers = workers
        self._frame: CompressedFrame | None = None
        self._features: Future[Features] | None = None

    def begin(self, frame: CompressedFrame) -> None:
        """Begin a frame that will be key as things stand; what was begun for another one is given up."""
        if frame is not self._frame:
            self._give_up()
            self._frame, self._features = frame, self._workers.beside(self._encode, frame)

    def take(self, frame: CompressedFrame) -> Features | None:
        """The features of a frame that was begun, waited for if need be; None for any other."""
        if frame is not self._frame or self._features is None:
            return None
        features = self._features.result()
        self._frame = self._features = None
        return features

    def _give_up(self) -> None:
        if self._features is not None:
            self._features.cancel()
