"""Hostile videos: damaged ones, files that are no videos, playlists that name other files, and lying headers."""

from __future__ import annotations

import io
import struct
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from service.writers.png import encode_mask
from tests.support.hostile_masks import HEIGHT, WIDTH, good_mask, picture_file
from tests.support.odd_streams import h264, pictures, with_stated_seconds
from tests.support.synthetic import encode, x264

SECRET = "keymask-secret-9f3c"
"""Content of a file that no playlist may make the service read."""


def good_clips() -> dict[str, bytes]:
    """Return small valid videos, one per container."""
    drawn = pictures(10, WIDTH, HEIGHT)
    return {
        "mp4": encode(drawn, "libx264", x264(bframes=2), container="mp4"),
        "mkv": encode(drawn, "libx264", x264(bframes=2)),
        "ts": encode(drawn, "mpeg2video", container="mpegts"),
        "avi": encode(drawn, "mpeg4", container="avi"),
        "webm": encode(drawn, "libvpx", {"deadline": "realtime"}, container="webm"),
        "flv": encode(drawn, "flv", container="flv"),
        "h264": encode(drawn, "libx264", x264(bframes=0), container="h264"),
    }


def damaged(kind: str, clip: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Yield a clip cut off, with flipped bits, and with bytes removed, repeated or zeroed."""
    for share in (0.01, 0.1, 0.3, 0.5, 0.8, 0.97):
        yield f"{kind} cut at {share:.0%}", clip[: max(1, int(len(clip) * share))]
    yield f"{kind} without its last byte", clip[:-1]
    for number, count in enumerate((1, 1, 3, 10, 50, 300)):
        yield f"{kind} with {count} bits flipped ({number})", _flipped(clip, count, rng)
    for number in range(4):
        yield f"{kind} with bits of its header flipped ({number})", _flipped(clip[:200], 4, rng) + clip[200:]
    middle = len(clip) // 2
    yield f"{kind} without its middle", clip[: middle - 200] + clip[middle + 200 :]
    yield f"{kind} with zeros in its middle", clip[: middle - 200] + bytes(400) + clip[middle + 200 :]
    yield f"{kind} twice", clip + clip
    yield f"{kind} from its middle on", clip[middle:]
    yield f"{kind} after a kilobyte of noise", rng.bytes(1024) + clip


def _flipped(data: bytes, count: int, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    for place in rng.integers(0, len(changed), count):
        changed[place] ^= 1 << int(rng.integers(8))
    return changed.tobytes()


def not_videos(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Yield files of other kinds."""
    yield "nothing", b""
    yield "one byte", b"\x00"
    yield "zeros", bytes(100_000)
    yield "noise", rng.bytes(50_000)
    yield "text", b"just some words\n" * 100
    yield "a page", b"<!doctype html><html><body><video src='clip.mp4'></video></body></html>"
    yield "a drawing", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "subtitles", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"
    for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "ICO"):
        yield f"a {kind} picture", picture_file(kind)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr(zipfile.ZipInfo("clip.mp4"), bytes(10_000_000), zipfile.ZIP_DEFLATED)
    yield "a zip bomb", archive.getvalue()
    sound = io.BytesIO()
    with wave.open(sound, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(8000)
        wav.writeframes(bytes(8000))
    yield "sound", sound.getvalue()


def pointers(secret: Path) -> Iterator[tuple[str, bytes]]:
    """Yield playlists and other files that name files and addresses to read instead."""
    path = str(secret)
    targets = (
        path, f"file://{path}", f"concat:{path}|{path}", f"subfile,,start,0,end,9,,:{path}", f"crypto:{path}",
        "http://127.0.0.1:9/x.ts", "tcp://127.0.0.1:9", "data:text/plain;base64,AAAA", "pipe:0",
    )  # fmt: skip
    for target in targets:
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
        yield f"a playlist of {target[:12]}", playlist.encode()
    yield (
        "a playlist whose map is a file",
        (
            f'#EXTM3U\n#EXT-X-MAP:URI="{path}"\n#EXT-X-KEY:METHOD=AES-128,URI="file://{path}"\n#EXTINF:1,\n{path}\n'
        ).encode(),
    )
    yield "a list to concatenate", f"ffconcat version 1.0\nfile '{path}'\nduration 1\n".encode()
    yield (
        "a manifest",
        (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
            '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>'
            f"file://{path}</BaseURL></Representation></AdaptationSet></Period></MPD>"
        ).encode(),
    )
    yield (
        "a session description",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={path}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n".encode(),
    )
    yield "a script", f"<ASX version='3.0'><Entry><Ref href='file://{path}'/></Entry></ASX>".encode()
    yield "an entity that names a file", f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{path}">]><x>&e;</x>'.encode()
    # QuickTime data reference of type "url " with an address instead of "in this file" (ISO/IEC 14496-12, 8.7.2)
    clip = h264(bframes=0)
    address = f"file://{path}\0".encode()
    yield (
        "a movie whose samples lie in another file",
        clip.replace(
            struct.pack(">I4sI", 12, b"url ", 1), struct.pack(">I4sI", 12 + len(address), b"url ", 0) + address
        ),
    )


def lying_headers(clip: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield videos whose headers do not match their content."""
    for size in ((16384, 16384), (65535, 65535), (2**31 - 1, 2), (0, 0), (1, 1), (-1, 48)):
        yield (
            f"a raw film of {size[0]}x{size[1]}",
            f"YUV4MPEG2 W{size[0]} H{size[1]} F25:1 C420\nFRAME\n".encode() + bytes(99),
        )
    for rate in ("10000:1", "1:0", "0:0", "1:100000", "2147483647:1"):
        frames = b"".join(b"FRAME\n" + bytes([i]) * (WIDTH * HEIGHT * 3 // 2) for i in range(9))
        yield (
            f"a raw film at {rate} pictures a second",
            f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{rate} C420\n".encode() + frames,
        )
    size = struct.pack(">HH", WIDTH, HEIGHT)
    for width, height in ((16384, 16384), (65535, 65535), (1, 1), (0, 0)):
        yield f"an mp4 that claims {width}x{height}", clip.replace(size, struct.pack(">HH", width, height))
    for box in (
        b"mdhd",
        b"stsz",
        b"stts",
        b"stsc",
        b"stco",
        b"ctts",
        b"avcC",
        b"trak",
        b"moov",
        b"mdat",
        b"ftyp",
        b"hdlr",
    ):
        place = clip.find(box)
        yield f"an mp4 whose {box.decode()} is huge", clip[: place - 4] + b"\x7f\xff\xff\xff" + clip[place:]
        yield (
            f"an mp4 whose {box.decode()} counts up to 2^31",
            clip[: place + 8] + b"\x7f\xff\xff\xff" + clip[place + 12 :],
        )
    ivf = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"VP90", 16384, 16384, 25, 1, 3, 0)
    yield "an ivf of 16k", ivf + struct.pack("<IQ", 20, 0) + bytes(20)
    yield "an ivf whose frame is 2 GB", ivf + struct.pack("<IQ", 2**31, 0) + bytes(20)


def lying_durations() -> Iterator[tuple[str, bytes]]:
    """Yield videos of less than a second whose headers state other durations."""
    for container in ("matroska", "flv"):
        clip = encode(pictures(10, WIDTH, HEIGHT), "libx264", x264(bframes=0), container=container)
        for seconds in (0.0, -5.0, 1e-300, 5000.0, 1e15, float("inf"), float("nan")):
            yield f"a {container} that lasts {seconds} s", with_stated_seconds(clip, container, seconds)


def odd_videos() -> Iterator[tuple[str, bytes, bytes]]:
    """Yield valid but unusual videos, each with a mask that fits."""
    small = pictures(6, WIDTH, HEIGHT)
    mask = good_mask()
    yield "10,000 pictures a second", encode(small, "libx264", x264(), container="mp4", rate=10_000), mask
    yield "no times", encode(small, "libx264", x264(), container="h264"), mask
    yield "times far apart", encode(small, "libx264", x264(bframes=0), pts=[0, 1, 2, 10**6, 10**6 + 1, 10**6 + 2]), mask
    yield "one picture", encode(small[:1], "libx264", x264(), container="mp4"), mask
    yield "1x1", encode(pictures(4, 1, 1), "ffv1", pixel_format="yuv444p"), encode_mask(np.ones((1, 1), np.uint8))
    yield "2x2", encode(pictures(4, 2, 2), "libx264", x264()), encode_mask(np.ones((2, 2), np.uint8))
    yield "one line", encode(pictures(4, 400, 2), "libx264", x264()), encode_mask(np.ones((2, 400), np.uint8))
    large = np.zeros((1, 2400, 4400, 3), np.uint8)
    yield "more pixels than allowed", encode(large, "mpeg4", container="mp4"), mask
    yield "a moving GIF", encode(small, "gif", container="gif", pixel_format="rgb8"), mask
    empty = io.BytesIO()
    with av.open(empty, "w", format="matroska", options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        output.start_encoding()
    yield "a film without a picture", empty.getvalue(), mask
