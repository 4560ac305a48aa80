"""The sound of a written video: the source's packets as they are, or as Opus where the container takes only that."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer

if TYPE_CHECKING:
    from service.writers.video.source_sound import AudioPacket

_OPUS_RATE = 48_000
_OPUS_SAMPLES = 960
"""Samples per packet: 20 ms."""
_SPEAKERS = {1: "mono", 2: "stereo"}


class AudioTrack(Protocol):
    """The audio stream of a written video."""

    def write(self, packet: AudioPacket, time: Fraction, *, from_start: bool) -> None:
        """Write a packet of the source.

        Args:
            packet: The packet.
            time: Seconds at which it begins in the written video.
            from_start: Whether sound before 0 is kept too: what an encoder puts before its first sample.
        """

    def close(self) -> None:
        """Write what is left in the encoder."""


def add_audio(out: OutputContainer, source: AudioStream, container: str) -> AudioTrack | None:
    """Add a track for the sound of the source; None if the container takes neither it nor Opus."""
    if _fits(source, container):
        return CopiedTrack(out, source)
    return OpusTrack(out, source) if container == "webm" else None


class CopiedTrack:
    """Packets with the bytes of the source."""

    def __init__(self, out: OutputContainer, source: AudioStream) -> None:
        self._out = out
        self._stream = out.add_stream_from_template(source)

    def write(self, packet: AudioPacket, time: Fraction, *, from_start: bool) -> None:
        """Copy a packet."""
        pts = round(time / packet.time_base)
        if pts >= 0 or from_start:
            packet.dts = pts + (packet.dts or 0) - (packet.pts or 0)
            packet.pts, packet.stream = pts, self._stream
            self._out.mux(packet)

    def close(self) -> None:
        """Nothing is left."""


class OpusTrack:
    """The sound decoded and encoded again, in mono or stereo."""

    def __init__(self, out: OutputContainer, source: AudioStream) -> None:
        layout = _SPEAKERS[min(2, source.codec_context.channels)]
        self._out = out
        self._stream = out.add_stream("libopus", rate=_OPUS_RATE, layout=layout)
        self._resampler = av.AudioResampler("s16", layout, _OPUS_RATE, _OPUS_SAMPLES)

    def write(self, packet: AudioPacket, time: Fraction, *, from_start: bool) -> None:
        """Decode a packet and encode its samples."""
        shift = time - Fraction(packet.pts or 0) * packet.time_base
        for frame in packet.decode():
            begins = Fraction(frame.pts or 0) * (frame.time_base or packet.time_base) + shift
            if begins >= 0 or from_start:
                frame.pts, frame.time_base = round(begins * _OPUS_RATE), Fraction(1, _OPUS_RATE)
                self._encode(frame)

    def close(self) -> None:
        """Encode the last samples."""
        self._encode(None)
        self._out.mux(self._stream.encode(None))

    def _encode(self, frame: av.AudioFrame | None) -> None:
        for part in self._resampler.resample(frame):
            self._out.mux(self._stream.encode(part))


def _fits(audio: AudioStream, container: str) -> bool:
    """Whether the container accepts this audio unchanged, found by writing a header to memory."""
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(audio)
            assert isinstance(trial, OutputContainer)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
