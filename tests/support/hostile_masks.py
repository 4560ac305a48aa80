"""Hostile masks: files that do not fit, are no pictures, or would be far larger once decoded."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from service.writers.png import encode_mask
from tests.support.media import square

WIDTH, HEIGHT = 64, 48


def good_mask() -> bytes:
    """Return a mask that fits the clips."""
    return encode_mask(square(WIDTH, HEIGHT))


def masks() -> Iterator[tuple[str, bytes]]:
    """Yield the masks, each with a description."""
    png = good_mask()
    yield "no mask", b""
    yield "a mask of noise", np.random.default_rng(1).bytes(3000)
    yield "a mask of text", b"\x89PNG\r\n\x1a\nnot really"
    yield "a mask cut off", png[:-20]
    yield "a mask without pixels", png[: png.index(b"IDAT") - 4] + _chunk(b"IEND", b"")
    yield "a mask with a wrong checksum", png.replace(b"IDAT", b"IDAX")
    for kind in ("JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        yield f"a mask as {kind}", picture_file(kind)
    for width, height in (
        (20_000, 20_000),
        (65_535, 65_535),
        (2**31 - 1, 2**31 - 1),
        (0, 0),
        (1, 1),
        (48, 64),
        (640, 480),
    ):
        yield f"a mask that says {width}x{height}", _claimed(width, height)
    yield "a mask of 20,000x20,000 black pixels", _bomb(20_000, 20_000)
    yield (
        "a mask with text that unpacks to 200 MB",
        _with_chunk(png, b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9)),
    )
    yield (
        "a mask with a profile that unpacks to 100 MB",
        _with_chunk(png, b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000), 9)),
    )
    yield (
        "a mask with 300 objects",
        encode_mask((np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % 300).astype(np.uint8)),
    )
    yield (
        "a mask with 51 objects",
        encode_mask(np.kron(np.arange(64).reshape(8, 8) % 52, np.ones((HEIGHT // 8, WIDTH // 8))).astype(np.uint8)),
    )
    yield (
        "a mask with 300 grey levels",
        _saved(Image.fromarray(np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH))),
    )
    for objects in (1, 50, 255):
        noise = np.random.default_rng(objects).integers(0, objects + 1, (HEIGHT, WIDTH), np.uint8)
        yield f"a mask of noise with {objects} objects", encode_mask(noise)
    yield "a mask without an object", encode_mask(np.zeros((HEIGHT, WIDTH), np.uint8))
    yield "a mask that is all object", encode_mask(np.full((HEIGHT, WIDTH), 9, np.uint8))
    yield "a transparent mask", _saved(Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0)))
    yield "a mask of one bit", _saved(Image.new("1", (WIDTH, HEIGHT), 1))
    yield "a mask with a short palette", _with_palette(png, 3)
    yield (
        "a mask of one pixel",
        encode_mask(np.eye(HEIGHT, WIDTH, dtype=np.uint8) * (np.arange(WIDTH) == 0).astype(np.uint8)),
    )


def picture_file(kind: str) -> bytes:
    """Return a picture in one of Pillow's formats."""
    out = io.BytesIO()
    picture = Image.new("RGB", (WIDTH, HEIGHT), "navy")
    ImageDraw.Draw(picture).ellipse((10, 10, 40, 40), "white")
    picture.save(out, kind)
    return out.getvalue()


def _saved(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def _claimed(width: int, height: int) -> bytes:
    return _header(width, height) + _chunk(b"IDAT", zlib.compress(bytes(100))) + _chunk(b"IEND", b"")


def _bomb(width: int, height: int) -> bytes:
    packer = zlib.compressobj(9)
    line = bytes(width + 1)
    data = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    return _header(width, height) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    place = png.index(b"IDAT") - 4
    return png[:place] + _chunk(kind, data) + png[place:]


def _with_palette(png: bytes, colours: int) -> bytes:
    start = png.index(b"PLTE") - 4
    end = start + 12 + struct.unpack(">I", png[start : start + 4])[0]
    return png[:start] + _chunk(b"PLTE", bytes(3 * colours)) + png[end:]
