"""Yield decoded pictures with motion: the stream's vectors in decode order, or a proxy's in presentation order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av

from codec.decode.decoded_picture import DecodedPicture
from codec.decode.decoder import PresentedPicture, VideoDecoder
from codec.decode.motion_proxy import MotionProxy, ProxyPicture, ReorderingProxy
from codec.decode.packet_info import PacketInfo
from codec.decode.reorder import DecodeOrderBuffer
from codec.decode.scaler import Scaler
from codec.decode.side_data import exported_vectors
from codec.errors import CodecError
from codec.types import FrameType, UInt8Array, VectorArray

_MPEG_REFERENCE_FRAMES = 2
_MAX_REORDERED_FRAMES = 16
"""Largest `max_num_reorder_frames` (H.264 clause E.2.1)."""
_FRAME_TYPES = {
    av.video.frame.PictureType.P: FrameType.P,
    av.video.frame.PictureType.S: FrameType.P,
    av.video.frame.PictureType.SP: FrameType.P,
    av.video.frame.PictureType.B: FrameType.B,
}


def bitstream_pictures(decoder: VideoDecoder) -> Iterator[DecodedPicture]:
    """Yield pictures in decode order with the stream's own vectors.

    Raises:
        BrokenStreamError: Decoding stopped early. All pictures before the break have been yielded.
    """
    order: DecodeOrderBuffer[DecodedPicture] = DecodeOrderBuffer(_MAX_REORDERED_FRAMES + decoder.delay + 1)
    last_number = 0
    try:
        for picture in decoder.pictures():
            for sent in decoder.pop_sent():
                order.expect(sent.number, sent.pts)
            packet = picture.packet or PacketInfo(last_number, picture.frame.pts)
            last_number = packet.number
            yield from order.push(_with_motion(picture, packet), packet.number, picture.frame.pts)
    except CodecError:
        yield from order.flush()
        raise
    yield from order.flush()


def proxy_pictures(pictures: Iterable[PresentedPicture], scaler: Scaler) -> Iterator[DecodedPicture]:
    """Yield pictures in presentation order with a proxy's vectors to the picture before; types are the stream's own.

    Raises:
        BrokenStreamError: Decoding stopped early. All pictures before the break have been yielded.
    """
    proxy = MotionProxy(*scaler.size)
    for picture in pictures:
        luma = scaler.luma(picture.frame)
        yield _with_proxy(picture, luma, proxy.vectors(luma), is_reference=True, references=1)


def reordered_proxy_pictures(pictures: Iterable[PresentedPicture], scaler: Scaler) -> Iterator[DecodedPicture]:
    """Yield pictures in decode order with a proxy's vectors. Only B frames of the stream are B frames of the proxy.

    Masks of the same stream thus take about the same work in both directions, and I and P frames, which may all be key
    frames, are references in both. A B frame of the proxy is no reference.

    Raises:
        BrokenStreamError: Decoding stopped early. All pictures before the break have been yielded.
    """
    proxy = ReorderingProxy(*scaler.size)
    held: dict[int, tuple[PresentedPicture, UInt8Array]] = {}

    def due(found: Iterator[ProxyPicture]) -> Iterator[DecodedPicture]:
        for motion in found:
            picture, luma = held.pop(motion.number)
            yield _with_proxy(picture, luma, motion.vectors, is_reference=motion.is_reference, references=2)

    try:
        for number, picture in enumerate(pictures):
            luma = scaler.luma(picture.frame)
            held[number] = picture, luma
            yield from due(proxy.push(luma, is_b=_coded_type(picture.frame) is FrameType.B))
    except CodecError:
        yield from due(proxy.flush())
        raise
    yield from due(proxy.flush())


def _with_proxy(
    picture: PresentedPicture, luma: UInt8Array, vectors: VectorArray | None, *, is_reference: bool, references: int
) -> DecodedPicture:
    return DecodedPicture(
        frame=picture.frame,
        index=picture.index,
        pts=picture.frame.pts,
        time=picture.time,
        type=_coded_type(picture.frame),
        is_reference=is_reference,
        is_idr=False,
        vectors=vectors,
        vector_size=(luma.shape[1], luma.shape[0]),
        vector_crop=(0, 0),
        max_reference_frames=references,
        luma=luma,
    )


def _coded_type(frame: av.VideoFrame) -> FrameType:
    """Picture type according to the decoder; I for codecs without types."""
    return _FRAME_TYPES.get(av.video.frame.PictureType(frame.pict_type), FrameType.I)


def _with_motion(picture: PresentedPicture, packet: PacketInfo) -> DecodedPicture:
    frame, sps = picture.frame, packet.sps
    vectors = exported_vectors(frame)
    frame_type = _most_general_type(frame, vectors)
    return DecodedPicture(
        frame=frame,
        index=picture.index,
        pts=frame.pts,
        time=picture.time,
        type=frame_type,
        is_reference=frame_type != FrameType.B if packet.is_reference is None else packet.is_reference,
        is_idr=bool(packet.is_idr),
        vectors=vectors,
        vector_size=(frame.width, frame.height),
        vector_crop=(sps.crop_left, sps.crop_top) if sps else (0, 0),
        max_reference_frames=sps.max_num_ref_frames if sps else _MPEG_REFERENCE_FRAMES,
        is_interlaced=frame.interlaced_frame,
        marking=packet.marking,
    )


def _most_general_type(frame: av.VideoFrame, vectors: VectorArray | None) -> FrameType:
    """Type of the most general slice. The decoder names that of the last slice, but a picture with vectors is not I."""
    frame_type = _coded_type(frame)
    if vectors is None or not len(vectors) or frame_type == FrameType.B:
        return frame_type
    return FrameType.B if (vectors["source"] > 0).any() else FrameType.P
