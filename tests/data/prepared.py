"""A tiny prepared dataset, written by data_prep's own packing from frames made here."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.annotations import VideoEntry
from data_prep.cache import FrameSettings, record_path, write_record
from data_prep.pack import pack
from eaglenet_jax.data.decode import DecodedVideo

SIZE = 16
# Stored frames and captions of each video: fewer and more frames than a model takes, one and several captions.
FRAME_COUNTS = {"train": (1, 3, 4, 5, 9, 2, 6), "test": (2, 8, 4, 1, 3)}
CAPTION_COUNTS = {"train": (3, 1, 2, 3, 1, 2, 2), "test": (2, 1, 3, 1, 1)}


def flat_frame(split: str, video: int, frame: int) -> np.ndarray:
    """Return a colour that encodes split, video and frame; JPEG preserves it to within a few levels."""
    return np.full((SIZE, SIZE, 3), [20 + 30 * video, 20 + 20 * frame, 200 if split == "train" else 50], np.uint8)


def jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_prepared(out: Path) -> Path:
    settings = FrameSettings(fps=1, size=SIZE)
    splits: dict[str, list[VideoEntry]] = {}
    rows: dict[str, list[dict]] = {}
    (out / "captions").mkdir(parents=True)
    for split in FRAME_COUNTS:
        for video, (frames, captions) in enumerate(zip(FRAME_COUNTS[split], CAPTION_COUNTS[split], strict=True)):
            video_id = f"{split}{video}"
            path = out / f"{video_id}.mp4"
            path.touch()
            texts = tuple((f"{video_id}#{i}", f"clip {video} told in way {i}") for i in range(captions))
            entry = VideoEntry(video_id, path, split, texts)
            stored = tuple(jpeg(flat_frame(split, video, frame)) for frame in range(frames))
            write_record(record_path(out / "cache", entry, settings), DecodedVideo(stored, {"note": "made in a test"}))
            splits.setdefault(split, []).append(entry)
            listed = [{"id": caption_id, "text": text} for caption_id, text in texts]
            rows.setdefault(split, []).append({"video_id": video_id, "frames": frames, "captions": listed})
        (out / "captions" / f"{split}.json").write_text(json.dumps(rows[split]))
    pack(splits, out / "cache", settings, out / "shards")
    manifest = {
        "format": 1,
        "dataset": "tiny",
        "settings": settings.as_dict(),
        "splits": {
            split: {"videos": len(listed), "captions": sum(len(row["captions"]) for row in listed)}
            for split, listed in rows.items()
        },
        "failed": {},
        "fingerprint": "abc",
    }
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out
