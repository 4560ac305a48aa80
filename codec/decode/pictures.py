"""Decoded pictures with motion: in decode order with the stream's vectors, or in presentation order with a proxy's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av

from codec.decode.decoded_picture import DecodedPicture
from codec.decode.decoder import Packet, PresentedPicture, VideoDecoder
from codec.decode.motion_proxy import MotionProxy
from codec.decode.reorder import DecodeOrder
from codec.decode.scaler import Scaler
from codec.decode.side_data import exported_vectors
from codec.errors import CodecError
from codec.types import FrameType, VectorArray

_MPEG_REACH = 2
_MOST_REORDERED = 16
_TYPES = {
    av.video.frame.PictureType.P: FrameType.P,
    av.video.frame.PictureType.S: FrameType.P,
    av.video.frame.PictureType.SP: FrameType.P,
    av.video.frame.PictureType.B: FrameType.B,
}


def bitstream_pictures(decoder: VideoDecoder) -> Iterator[DecodedPicture]:
    """Pictures in decode order, with the stream's own vectors.

    Raises:
        BrokenStreamError: Decoding stopped in the middle; what came before has been given.
    """
    order: DecodeOrder[DecodedPicture] = DecodeOrder(_MOST_REORDERED + decoder.delay + 1)
    last = 0
    try:
        for picture in decoder.pictures():
            for packet in decoder.pop_sent():
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
        is_idr=bool(packet.is_idr),
        vectors=vectors,
        vector_size=(frame.width, frame.height),
        vector_crop=(parameters.crop_left, parameters.crop_top) if parameters else (0, 0),
        max_reference_frames=parameters.max_reference_frames if parameters else _MPEG_REACH,
        has_fields=frame.interlaced_frame,
        marking=packet.marking,
    )


def proxy_pictures(pictures: Iterable[PresentedPicture], scaler: Scaler) -> Iterator[DecodedPicture]:
    """Pictures in presentation order, each with a proxy's vectors to the one before; types are the stream's own.

    Raises:
        BrokenStreamError: The pictures end in the middle; what came before has been yielded.
    """
    proxy = MotionProxy(*scaler.size)
    for picture in pictures:
        luma = scaler.luma(picture.frame)
        yield DecodedPicture(
            frame=picture.frame,
            index=picture.index,
            pts=picture.frame.pts,
            time=picture.time,
            type=coded_type(picture.frame),
            is_reference=True,
            is_idr=False,
            vectors=proxy.vectors(luma),
            vector_size=scaler.size,
            vector_crop=(0, 0),
            max_reference_frames=1,
            luma=luma,
        )


def coded_type(frame: av.VideoFrame) -> FrameType:
    """The type that the decoder names; I where the codec has no types."""
    return _TYPES.get(av.video.frame.PictureType(frame.pict_type), FrameType.I)


def _type_of(frame: av.VideoFrame, vectors: VectorArray | None) -> FrameType:
    """The type of the most general slice: a picture with vectors is not intra, whatever its last slice was."""
    kind = coded_type(frame)
    if vectors is None or not len(vectors) or kind == FrameType.B:
        return kind
    return FrameType.B if (vectors["source"] > 0).any() else FrameType.P
