"""Stretches of videos for a browser: files as they are where it can play them, else a small copy of the moment."""

from __future__ import annotations

import functools
import io
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.stream import Disposition

from data_prep.decode import DecodeError
from eaglenet_jax.search.pictures import VideoReader

# What Chromium, Firefox and Safari all play, by container and codec.
PLAYABLE = {
    **dict.fromkeys((".mp4", ".m4v", ".mov"), ("h264",)),
    ".webm": ("vp8", "vp9", "av1"),
}
MOST_HEIGHT = 360  # of a copy
MOST_SECONDS = 60.0


@functools.lru_cache(maxsize=1024)
def plays_in_browsers(path: str) -> bool:
    """Whether a file needs no copy. False also for one that cannot be opened."""
    codecs = PLAYABLE.get(Path(path).suffix.lower(), ())
    if not codecs:
        return False
    try:
        with av.open(path) as container:
            streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            return bool(streams) and streams[0].codec_context.name in codecs
    except (av.error.FFmpegError, OSError):
        return False


@functools.lru_cache(maxsize=32)
def copy_of_moment(path: str, start: float, end: float) -> bytes:
    """An MP4 file (H.264, no sound) of a stretch of a video, which begins at 0. `DecodeError` if there is none."""
    end = min(end, start + MOST_SECONDS)
    content = io.BytesIO()
    with VideoReader(Path(path)) as video, av.open(content, "w", format="mp4") as copy:
        stream = None
        for time, frame in video.between(start, end):
            if stream is None:
                # Even sizes, as H.264 wants them.
                height = min(MOST_HEIGHT, frame.height) // 2 * 2
                width = max(2, round(frame.width * height / frame.height / 2) * 2)
                stream = copy.add_stream("libx264", rate=30)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = Fraction(1, 1000)
                stream.options = {"preset": "ultrafast", "crf": "23"}
            shown = frame.reformat(stream.width, stream.height, "yuv420p")
            shown.pts, shown.time_base = max(0, round((time - start) * 1000)), Fraction(1, 1000)
            copy.mux(stream.encode(shown))
        if stream is None:
            raise DecodeError(f"{path} has nothing to show between {start:.1f} and {end:.1f} s")
        copy.mux(stream.encode())
    return content.getvalue()
