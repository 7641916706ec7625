"""Times of all pictures of a video file, without decoding it: from its index, else from its packets."""

from __future__ import annotations

import numpy as np

from eaglenet_jax.data.video_source import VideoSource

# These have an index of every picture in their header, in the order of decoding: the rest of the file is not read.
INDEXED = "mov"


def picture_times(source: VideoSource) -> np.ndarray:
    """Return the seconds of all pictures of an opened file, ascending, [N] float64; not exact where the clock breaks.

    Of an index they are decoding times, whose gaps are those of the pictures.
    """
    stream = source.stream
    base = float(stream.time_base or 0)
    entries = stream.index_entries
    if INDEXED in source.container.format.name and 0 < len(entries) >= stream.frames > 0:
        shown = (entry for entry in entries if not entry.is_discard)
        return np.sort(np.array([entry.timestamp for entry in shown], float)) * base
    kept = (packet for packet in source.packets() if packet.size and not packet.is_discard)
    stamps = [packet.pts if packet.pts is not None else packet.dts for packet in kept]
    return np.sort(np.array([stamp for stamp in stamps if stamp is not None], float)) * base
