"""`keymask run` refuses bad input with an exit code and one line that says what was given and what is allowed."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec import (
    BrokenStreamError,
    CodecError,
    EncryptedError,
    NoFramesError,
    NoVideoError,
    UnreadableError,
    UnsupportedSizeError,
    open_video,
)
from service.cli.main import main
from tests.support.odd_streams import ODD_STREAMS, cut, encrypted, h264, remux, with_stream
from tests.support.synthetic import pan

WIDTH, HEIGHT = 160, 96


def good_video() -> bytes:
    """A video that can be read."""
    return h264()


def audio() -> bytes:
    """A second of silence."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return buffer.getvalue()


def picture(form: str) -> bytes:
    """A still image."""
    buffer = io.BytesIO()
    Image.fromarray(pan(1).frames[0]).save(buffer, form)
    return buffer.getvalue()


def header_only() -> bytes:
    """An initialization segment: the index of a fragmented file, without any fragment."""
    data = remux(h264(), {"movflags": "frag_keyframe+empty_moov"})
    return data[: data.index(b"moof") - 4]


def huge_header() -> bytes:
    """A small file whose header announces pictures of 12000x12000 (YUV4MPEG2)."""
    return b"YUV4MPEG2 W12000 H12000 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(5000)


def unknown_codec() -> bytes:
    """A file in an unknown codec."""
    return h264().replace(b"avc1", b"zzzz")


def zeroed_pictures() -> bytes:
    """A file whose pictures were overwritten by zeros."""
    data = bytearray(remux(h264(), {"moov_size": "3000"}))
    start = data.index(b"mdat") + 4
    data[start:] = bytes(len(data) - start)
    return bytes(data)


VIDEOS: dict[str, tuple[Callable[[], bytes], type[CodecError], str]] = {
    "empty": (bytes, UnreadableError, r"bad' is empty: 0 bytes"),
    "text": (lambda: b"dog.mp4 is over there\n" * 50, UnreadableError, r"bad' is "),
    "web page": (lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>", UnreadableError, r"bad' is "),
    "random bytes": (lambda: np.random.default_rng(0).bytes(20000), UnreadableError, r"not a video that FFmpeg can"),
    "zeros": (lambda: bytes(20000), UnreadableError, r"not a video that FFmpeg can read"),
    "zip archive": (lambda: b"PK\x03\x04" + bytes(500), UnreadableError, r"not a video that FFmpeg can read"),
    "png picture": (lambda: picture("PNG"), UnreadableError, r"is a still image.*a video is expected"),
    "jpeg picture": (lambda: picture("JPEG"), UnreadableError, r"is a still image.*a video is expected"),
    "webp picture": (lambda: picture("WEBP"), UnreadableError, r"is a still image.*a video is expected"),
    "bmp picture": (lambda: picture("BMP"), UnreadableError, r"is a still image.*a video is expected"),
    "audio only": (audio, NoVideoError, r"has no video stream; its streams: audio"),
    "subtitles": (lambda: b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 9, NoVideoError, r"streams: subtitle"),
    "playlist": (
        lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        UnreadableError,
        r"bad' is ",
    ),
    "concat script": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", UnreadableError, r"bad' is "),
    "session description": (
        lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        UnreadableError,
        r"bad' is ",
    ),
    "index cut off": (lambda: cut(h264()), UnreadableError, r"not a video that FFmpeg can read.*(Invalid|damaged)"),
    "header only": (header_only, NoFramesError, r"a video stream without a single picture"),
    "zeroed pictures": (zeroed_pictures, NoFramesError, r"a video stream"),
    "encrypted": (encrypted, EncryptedError, r"is encrypted \(Common Encryption\); give a decrypted file"),
    "unknown codec": (unknown_codec, UnreadableError, r"in a codec without a decoder"),
    "huge header": (huge_header, UnsupportedSizeError, r"12000x12000; at most 36 million pixels are allowed"),
}


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video that can be read."""
    path = tmp_path / "good.mp4"
    path.write_bytes(good_video())
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """A mask that fits the video."""
    return save_mask(tmp_path / "good.png", box())


def box(width: int = WIDTH, height: int = HEIGHT, color: tuple[int, int, int] = (128, 0, 0)) -> Image.Image:
    """An indexed picture with one object."""
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : height // 2, width // 4 : width // 2] = 1
    picture = Image.fromarray(labels).convert("P")
    picture.putpalette([0, 0, 0, *color])
    return picture


def save_mask(path: Path, picture: Image.Image, form: str = "PNG") -> Path:
    """Write a picture and return its path."""
    picture.save(path, form)
    return path


class Refusal:
    """Runs `keymask run` and checks what it prints."""

    def __init__(self, capsys: pytest.CaptureFixture[str], out: Path) -> None:
        self.capsys = capsys
        self.out = out

    def __call__(self, message: str, *arguments: object, code: int = 2) -> None:
        """Check that the run ends with this exit code and one line that matches `message`, and writes nothing."""
        before = sorted(self.out.parent.rglob("*"))
        given = [str(argument) for argument in arguments]
        assert main(["run", *given]) == code
        said = self.capsys.readouterr()
        assert re.fullmatch(r"keymask: error: [^\n]+\n", said.err), said.err
        assert re.search(message, said.err), said.err
        assert "Traceback" not in said.err
        assert "unexpected" not in said.err
        assert not said.out
        if code == 2:
            assert sorted(self.out.parent.rglob("*")) == before


@pytest.fixture
def refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refusal:
    """A run that must be refused; the output folder is `tmp_path / "out"`."""
    return Refusal(capsys, tmp_path / "out")


@pytest.mark.parametrize("name", VIDEOS)
def test_bad_video_files_are_named(name: str, tmp_path: Path, mask: Path, refuses: Refusal) -> None:
    """A file that is not a readable video is refused with a message that says what it is instead."""
    make, kind, message = VIDEOS[name]
    path = tmp_path / "bad"
    path.write_bytes(make())
    with pytest.raises(kind, match=message), open_video(path) as reader:
        list(reader)
    arguments = (path, "--mask", mask, "--out", tmp_path / "out", "--weights", "seeded")
    refuses(message, *arguments)


def test_a_break_in_the_middle_leaves_the_masks_before_it(tmp_path: Path, mask: Path, refuses: Refusal) -> None:
    """A broken stream leaves the masks before the break, a message that counts the frames, and exit code 1."""
    path = tmp_path / "bad"
    path.write_bytes(ODD_STREAMS["cut mp4"].make())
    with pytest.raises(BrokenStreamError) as caught, open_video(path) as reader:
        list(reader)
    assert caught.value.frames == 5
    message = r"is damaged: decoding stopped after 5 frames"
    refuses(message, path, "--mask", mask, "--out", tmp_path / "out", "--weights", "seeded", code=1)
    assert sorted(file.name for file in tmp_path.glob("out/masks/*")) == [f"{index:05d}.png" for index in range(5)]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["complete"] is False
    assert re.search(message, report["error"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.mp4", r"absent\.mp4' cannot be opened: No such file"),
        ("gone.mp4", r"gone\.mp4' cannot be opened: No such file"),
        ("good.mp4/inside.mp4", r"inside\.mp4' cannot be opened: Not a directory"),
        ("x" * 300, r"cannot be opened: File name too long"),
        ("nul\0.mp4", r"embedded null"),
    ],
)
def test_bad_video_paths_are_named(name: str, message: str, tmp_path: Path, mask: Path, refuses: Refusal) -> None:
    """A path without a readable file is refused with the reason."""
    (tmp_path / "good.mp4").write_bytes(good_video())
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    path = f"{tmp_path}/{name}"
    with pytest.raises(UnreadableError, match=message):
        open_video(path)
    refuses(message, path, "--mask", mask, "--out", tmp_path / "out")


def test_folders_without_pictures_are_named(tmp_path: Path, mask: Path, refuses: Refusal) -> None:
    """A folder is a video only if it holds pictures; the reader of files takes none at all."""
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(UnreadableError, match="is a folder; a video file is expected"):
        open_video(folder)
    refuses(r"empty' .*no .*picture", folder, "--mask", mask, "--out", tmp_path / "out")


def test_devices_are_not_read(mask: Path, tmp_path: Path, refuses: Refusal) -> None:
    """Devices and pipes are refused, since they may never end."""
    refuses(r"'/dev/zero' is not a regular file", "/dev/zero", "--mask", mask, "--out", tmp_path / "out")


def test_addresses_are_not_opened(mask: Path, tmp_path: Path, refuses: Refusal) -> None:
    """No argument makes keymask open a network address."""
    refuses(r"cannot be opened", "http://localhost:9/dog.mp4", "--mask", mask, "--out", tmp_path / "out")


def test_the_content_of_a_file_decides_and_not_its_name(tmp_path: Path, video: Path) -> None:
    """A video with the wrong extension, or behind a link, is read."""
    (tmp_path / "video.txt").write_bytes(video.read_bytes())
    (tmp_path / "link.png").symlink_to(video)
    for name in ("video.txt", "link.png"):
        with open_video(tmp_path / name) as reader:
            assert len(list(reader)) == 24


def bomb() -> bytes:
    """A PNG whose header promises 50000x50000 pixels (PNG specification, 11.2.2)."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", 50000, 50000, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def jpeg(picture: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def transparent() -> Image.Image:
    """A picture that is white only where it is transparent."""
    return Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0))


MASKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "wrong size": (lambda: png(box(80, 48)), r"is 80x48; the video is displayed at 160x96; both must be equal"),
    "turned": (lambda: png(box(HEIGHT, WIDTH)), r"is 96x160; the video is displayed at 160x96"),
    "no object": (lambda: png(Image.new("P", (WIDTH, HEIGHT))), r"marks no object: every pixel is 0"),
    "black": (lambda: png(Image.new("RGB", (WIDTH, HEIGHT))), r"marks no object: every pixel is 0"),
    "black, 16 bit": (lambda: png(Image.new("I;16", (WIDTH, HEIGHT))), r"marks no object: every pixel is 0"),
    "transparent": (lambda: png(transparent()), r"marks no object: every pixel is 0"),
    "empty file": (bytes, r"bad\.png is (empty|not a picture)"),
    "text": (
        lambda: b"not a picture",
        r"is not a picture that can be read; allowed: PNG, JPEG, BMP, WebP, TIFF or NPY",
    ),
    "jpeg of ids": (lambda: jpeg(box(color=(1, 1, 1))), r"its format does not keep small values; save it as PNG"),
    "cut off": (lambda: png(box())[:60], r"is (damaged|not a picture)"),
    "damaged": (lambda: png(box()).replace(b"IDAT", b"IDAX"), r"is (damaged|not a picture)"),
    "bomb": (bomb, r"50000x50000"),
}


@pytest.mark.parametrize("name", MASKS)
def test_bad_masks_are_named(name: str, tmp_path: Path, video: Path, refuses: Refusal) -> None:
    """A mask that cannot be used is refused with what it is and what is expected."""
    make, message = MASKS[name]
    path = tmp_path / "bad.png"
    path.write_bytes(make())
    refuses(message, video, "--mask", path, "--out", tmp_path / "out", "--weights", "seeded")


def test_masks_that_are_not_files_are_named(tmp_path: Path, video: Path, refuses: Refusal) -> None:
    """The message says whether the mask is missing or a folder."""
    refuses(r"absent\.png does not exist", video, "--mask", tmp_path / "absent.png", "--out", tmp_path / "out")
    refuses(r"is not a file; a picture is expected", video, "--mask", tmp_path, "--out", tmp_path / "out")


OPTIONS: dict[str, tuple[Sequence[str], str]] = {
    "prompt past the end": (["--prompt-frame", "24"], r"the prompt frame is 24; the video has 24 frames, 0 to 23"),
    "prompt below 0": (["--prompt-frame", "-1"], r"prompt_frame is -1; it must be 0 or more"),
    "start past the end": (["--start", "99"], r"start is 99; the video has 24 frames, 0 to 23"),
    "start before the prompt": (["--prompt-frame", "5", "--start", "2"], r"start is 2, before the prompt frame 5"),
    "start below 0": (["--start", "-3"], r"start is -3; it must be 0 or more"),
    "end at start": (["--start", "7", "--end", "7"], r"end is 7; it must be more than start, which is 7"),
    "end is 0": (["--end", "0"], r"end is 0; it must be more than start, which is 0"),
    "end before the prompt": (
        ["--prompt-frame", "8", "--end", "4"],
        r"end is 4; it must be more than the prompt frame, which is 8",
    ),
    "every:0": (["--keyframes", "every:0"], r"keyframes is 'every:0'; allowed: adaptive, codec, every:N"),
    "every:x": (["--keyframes", "every:x"], r"keyframes is 'every:x'; allowed: adaptive, codec, every:N"),
    "no such policy": (["--keyframes", "all"], r"keyframes is 'all'; allowed: adaptive, codec, every:N"),
    "no such model": (["--model", "sam"], r"model is 'sam'; it must be one of compact, stm, stcn"),
    "no such device": (["--device", "tpu"], r"device is 'tpu'; it must be auto, cpu, cuda or cuda:N"),
    "no such precision": (["--precision", "int4"], r"precision is 'int4'; allowed: auto, float32, bfloat16, float16"),
    "no such motion": (["--motion", "magic"], r"motion is 'magic'; allowed: auto, bitstream, proxy"),
    "max side 0": (["--max-side", "0"], r"max_side is 0; it must be at least 16"),
    "not a number": (["--prompt-frame", "first"], r"'--prompt-frame': Input should be a valid integer"),
    "no such option": (["--mode", "fast"], r"No such option: --mode"),
    "weights missing": (["--weights", "absent.safetensors"], r"absent\.safetensors.*"),
    "overlay of unknown kind": (["--overlay", "overlay.txt"], r"overlay\.txt"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options_are_named(name: str, tmp_path: Path, video: Path, mask: Path, refuses: Refusal) -> None:
    """An option with a bad value is refused with the value and what is allowed."""
    options, message = OPTIONS[name]
    weights = [] if "--weights" in options else ["--weights", "seeded"]
    refuses(message, video, "--mask", mask, "--out", tmp_path / "out", *weights, *options)


def test_weights_that_were_not_pulled_are_named(
    tmp_path: Path, video: Path, mask: Path, refuses: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message for a network without weights says how to get them."""
    monkeypatch.setenv("KEYMASK_HOME", str(tmp_path / "home"))
    refuses(r"keymask models pull stm", video, "--mask", mask, "--out", tmp_path / "out", "--model", "stm")


def test_a_mask_in_coded_orientation_is_named(tmp_path: Path, mask: Path, refuses: Refusal) -> None:
    """The mask of a rotated video must have its display orientation."""
    path = tmp_path / "turned.mp4"
    path.write_bytes(with_stream("mp4", lambda stream: stream.set_display_rotation(90)))
    refuses(r"is 160x96; the video is displayed at 96x160", path, "--mask", mask, "--out", tmp_path / "out")


def test_a_mask_is_required(tmp_path: Path, video: Path, refuses: Refusal) -> None:
    """Without a mask, a box or points the command is refused."""
    refuses(
        r"nothing says which objects to follow: give --mask FILE, or mark them with --box or --points",
        video,
        "--out",
        tmp_path / "out",
    )


def test_motion_that_the_codec_does_not_export_is_named(tmp_path: Path, mask: Path, refuses: Refusal) -> None:
    """HEVC exports no motion vectors; the message says what is allowed."""
    path = tmp_path / "hevc.mp4"
    path.write_bytes(ODD_STREAMS["hevc"].make())
    arguments = (path, "--mask", mask, "--out", tmp_path / "out", "--motion", "bitstream")
    refuses(r"hevc streams export no motion vectors; allowed here: auto, proxy", *arguments)


def test_files_that_are_not_weights_are_named(tmp_path: Path, video: Path, mask: Path, refuses: Refusal) -> None:
    """A file that holds no weights is refused by name."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not weights")
    refuses(r"weights\.safetensors", video, "--mask", mask, "--out", tmp_path / "out", "--weights", path)


def test_outputs_in_the_way_are_named(tmp_path: Path, video: Path, mask: Path, refuses: Refusal) -> None:
    """No input, no file where a folder is expected, and no earlier result is overwritten."""
    common = (video, "--mask", mask, "--weights", "seeded")
    refuses(r"good\.png is a file; a folder is expected", *common, "--out", mask)
    refuses(r"out cannot be made: .*good\.png is a file", *common, "--out", mask / "out")
    out = ("--out", tmp_path / "out")
    refuses(r"is a folder; a file is expected", *common, *out, "--rle", tmp_path)
    refuses(r"is an input of this run; choose another file", *common, *out, "--overlay", video)
    refuses(r"--json: .*good\.mp4 is an input of this run", *common, *out, "--json", video)
    rle = tmp_path / "masks.ndjson"
    refuses(r"--rle and --json are both", *common, *out, "--rle", rle, "--json", rle)
    refuses(r"absent does not exist", *common, *out, "--json", tmp_path / "absent" / "result.json")
    (tmp_path / "out" / "masks").mkdir(parents=True)
    (tmp_path / "out" / "masks" / "00000.png").write_bytes(mask.read_bytes())
    refuses(r"from an earlier run: choose another place, or replace with --force", *common, *out)
