"""The containers and codecs that the service reads.

FFmpeg has some 350 demuxers and 500 decoders, most of them for files of games and of long gone devices, and most of its
security holes were in those. People upload what is listed here. The command line reads all that FFmpeg reads.
"""

from __future__ import annotations

FORMATS = frozenset(
    {
        *("mov", "mp4", "matroska", "webm", "avi", "flv", "mpegts", "mpeg", "mpegvideo", "ivf", "ogg", "asf", "mxf"),
        *("h264", "hevc", "obu", "av1", "m4v", "h263", "mjpeg", "dv", "yuv4mpegpipe", "gif", "apng"),
    }
)
"""FFmpeg's names of demuxers, one of the names where a demuxer has several."""

_VIDEO = {
    *("h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "libaom-av1", "mpeg4", "mpeg2video", "mpeg1video", "mpegvideo"),
    *("h263", "h263i", "h261", "flv", "msmpeg4", "msmpeg4v2", "msmpeg4v1", "wmv1", "wmv2", "wmv3", "vc1", "theora"),
    *("mjpeg", "prores", "dnxhd", "cfhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "dvvideo", "rawvideo", "v210"),
    *("jpeg2000", "png", "apng", "gif"),
}
_AUDIO = {
    *(
        "aac",
        "aac_latm",
        "mp3",
        "mp3float",
        "mp2",
        "mp2float",
        "mp1",
        "ac3",
        "eac3",
        "dca",
        "opus",
        "libopus",
        "vorbis",
    ),
    *("libvorbis", "flac", "alac", "wmav1", "wmav2", "wmapro", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"),
    *(
        "pcm_s32le",
        "pcm_f32le",
        "pcm_u8",
        "pcm_mulaw",
        "pcm_alaw",
        "pcm_bluray",
        "pcm_dvd",
        "adpcm_ms",
        "adpcm_ima_wav",
    ),
    *("adpcm_swf", "nellymoser", "amrnb", "amrwb"),
}
"""FFmpeg decodes sound to find out its properties, which an overlay's copy of it needs."""

DECODERS = frozenset(_VIDEO | _AUDIO)
"""FFmpeg's names of decoders."""
