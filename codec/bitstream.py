"""Decode a file once: pictures in decode order with the stream's vectors, or in presentation order with a proxy's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import av.error

from codec.container import OpenFile, check_size, reason_of
from codec.decoded import DecodedPicture
from codec.errors import BrokenStreamError, CodecError, EncryptedError, NoFramesError
from codec.h264 import SequenceParameters, access_unit, length_size, parameter_sets
from codec.h264_marking import Marking
from codec.ordering import DecodeOrder
from codec.picture import Scaler
from codec.proxy import MotionProxy
from codec.types import FrameType, VectorArray

_MPEG_REACH = 2
_MOST_REORDERED = 16
_TYPES = {
    av.video.frame.PictureType.P: FrameType.P,
    av.video.frame.PictureType.S: FrameType.P,
    av.video.frame.PictureType.SP: FrameType.P,
    av.video.frame.PictureType.B: FrameType.B,
}


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """What is known of a packet before it is decoded; travels through the decoder with it (`opaque`).

    Attributes:
        number: Position in decode order, from 0.
        pts: Presentation time in stream units, None if unknown.
        is_reference, is_refresh: As in `DecodedPicture`; None where the picture's type decides.
        parameters: H.264 sequence parameters in force.
        marking: As in `DecodedPicture`.
    """

    number: int
    pts: int | None
    is_reference: bool | None = None
    is_refresh: bool | None = None
    parameters: SequenceParameters | None = None
    marking: Marking | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PresentedPicture:
    """A decoded picture in presentation order.

    Attributes:
        frame: The picture.
        index: Position in presentation order, from 0.
        time: Presentation time in seconds, from pts; by rate and index where there is none.
        packet: The packet it came from; None where the decoder does not say.
    """

    frame: av.VideoFrame
    index: int
    time: float
    packet: Packet | None


class Decoder:
    """Decodes a file's video stream once, from start to end.

    Args:
        file: The opened file.
        vectors: Whether to export motion vectors. They are only right with one thread.
    """

    def __init__(self, file: OpenFile, *, vectors: bool) -> None:
        self.file = file
        self._context = file.stream.codec_context
        self._context.copy_opaque = True
        self._is_h264 = self._context.name == "h264"
        self._context.thread_type = "AUTO"
        if vectors:
            self._context.options = {"flags2": "+export_mvs"}
        if vectors or self._is_h264:
            # Frame threads corrupt exported vectors and hide the error at the end of a cut H.264 stream; slice threads
            # turn off the repair of damaged pictures.
            self._context.thread_count = 1
        self._length_size = length_size(self._context.extradata) if self._is_h264 else 0
        self._sets = parameter_sets(self._context.extradata if self._is_h264 else None)
        self._sent: list[Packet] = []
        self._count = 0
        self._pictures = self._decode()
        self._peeked: list[PresentedPicture] = []

    def peek(self) -> PresentedPicture:
        """The first picture; `pictures` will give it again.

        Raises:
            NoFramesError: The stream has no picture.
            EncryptedError: The stream is encrypted.
        """
        if not self._peeked:
            self._peeked.append(next(self._pictures))
        return self._peeked[0]

    def pictures(self) -> Iterator[PresentedPicture]:
        """Pictures in presentation order, exactly those that a plain full decode gives.

        Raises:
            BrokenStreamError: Decoding stopped in the middle; what came before has been given.
        """
        while self._peeked:
            yield self._peeked.pop()
        yield from self._pictures

    @property
    def delay(self) -> int:
        """Pictures that the decoder holds back to reorder them."""
        return max(self._context.has_b_frames, 0)

    def take_sent(self) -> list[Packet]:
        """Packets that went into the decoder since the last call."""
        sent, self._sent = self._sent, []
        return sent

    def _decode(self) -> Iterator[PresentedPicture]:
        number = 0
        try:
            for packet in self.file.packets:
                if packet.has_sidedata("encryption_info"):
                    raise self._encrypted()
                if packet.size:
                    packet.opaque = self._describe(packet, number)
                    self._sent.append(packet.opaque)
                    number += 1
                for frame in packet.decode():
                    assert isinstance(frame, av.VideoFrame)
                    check_size(frame.width, frame.height, self.file.name)
                    yield self._present(frame)
        except av.error.FFmpegError as error:
            raise self._failure(error) from error
        if not self._count:
            raise NoFramesError(f"{self.file.name} has a video stream without a single picture")

    def _describe(self, packet: av.Packet[Any], number: int) -> Packet:
        if not self._is_h264:
            return Packet(number, packet.pts)
        unit = access_unit(bytes(packet), self._length_size, self._sets)
        return Packet(number, packet.pts, unit.is_reference, unit.is_idr, self._sets.sequence, unit.marking)

    def _present(self, frame: av.VideoFrame) -> PresentedPicture:
        index, self._count = self._count, self._count + 1
        time = frame.time
        if time is None:
            time = float(index / (self.file.stream.average_rate or 25))
        packet = frame.opaque
        return PresentedPicture(frame, index, time, packet if isinstance(packet, Packet) else None)

    def _encrypted(self) -> CodecError:
        if self._count:
            return BrokenStreamError(f"{self.file.name} is encrypted after its first {self._count} frames", self._count)
        return EncryptedError(f"{self.file.name} is encrypted (Common Encryption); give a decrypted file")

    def _failure(self, error: av.error.FFmpegError) -> CodecError:
        name, reason = self.file.name, reason_of(error)
        if self._count:
            return BrokenStreamError(
                f"{name} is damaged: decoding stopped after {self._count} frames ({reason})", self._count
            )
        return NoFramesError(f"{name} has a video stream, but its first picture cannot be decoded ({reason})")


def bitstream_pictures(decoder: Decoder) -> Iterator[DecodedPicture]:
    """Pictures in decode order, with the stream's own vectors.

    Raises:
        BrokenStreamError: Decoding stopped in the middle; what came before has been given.
    """
    order: DecodeOrder[DecodedPicture] = DecodeOrder(_MOST_REORDERED + decoder.delay + 1)
    last = 0
    try:
        for picture in decoder.pictures():
            for packet in decoder.take_sent():
                order.sent(packet.number, packet.pts)
            packet = picture.packet or Packet(last, picture.frame.pts)
            last = packet.number
            yield from order.push(_with_motion(picture, packet), packet.number, picture.frame.pts)
    except CodecError:
        yield from order.flush()
        raise
    yield from order.flush()


def _with_motion(picture: PresentedPicture, packet: Packet) -> DecodedPicture:
    frame = picture.frame
    vectors = exported_vectors(frame)
    kind = _type_of(frame, vectors)
    parameters = packet.parameters
    return DecodedPicture(
        frame=frame,
        index=picture.index,
        pts=frame.pts,
        time=picture.time,
        type=kind,
        is_reference=kind != FrameType.B if packet.is_reference is None else packet.is_reference,
        is_refresh=bool(packet.is_refresh),
        vectors=vectors,
        vector_size=(frame.width, frame.height),
        vector_crop=(parameters.crop_left, parameters.crop_top) if parameters else (0, 0),
        reach=parameters.max_reference_frames if parameters else _MPEG_REACH,
        has_fields=frame.interlaced_frame,
        marking=packet.marking,
    )


def proxy_pictures(decoder: Decoder, scaler: Scaler) -> Iterator[DecodedPicture]:
    """Pictures in presentation order, each with a proxy's vectors to the one before; types are the stream's own.

    Raises:
        BrokenStreamError: Decoding stopped in the middle; what came before has been given.
    """
    proxy = MotionProxy(*scaler.size)
    for picture in decoder.pictures():
        decoder.take_sent()
        luma = scaler.luma(picture.frame)
        yield DecodedPicture(
            frame=picture.frame,
            index=picture.index,
            pts=picture.frame.pts,
            time=picture.time,
            type=coded_type(picture.frame),
            is_reference=True,
            is_refresh=False,
            vectors=proxy.vectors(luma),
            vector_size=scaler.size,
            vector_crop=(0, 0),
            reach=1,
            luma=luma,
        )


def exported_vectors(frame: av.VideoFrame) -> VectorArray | None:
    """AVMotionVector records [n] of a decoded picture, None if it has none."""
    try:
        side_data = frame.side_data.get("MOTION_VECTORS")
    except ValueError:  # a kind of side data that PyAV has no name for hides the others
        return None
    return None if side_data is None else side_data.to_ndarray()


def coded_type(frame: av.VideoFrame) -> FrameType:
    """The type that the decoder names; I where the codec has no types."""
    return _TYPES.get(av.video.frame.PictureType(frame.pict_type), FrameType.I)


def _type_of(frame: av.VideoFrame, vectors: VectorArray | None) -> FrameType:
    """The type of the most general slice: a picture with vectors is not intra, whatever its last slice was."""
    kind = coded_type(frame)
    if vectors is None or not len(vectors) or kind == FrameType.B:
        return kind
    return FrameType.B if (vectors["source"] > 0).any() else FrameType.P
