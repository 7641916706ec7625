"""`python -m data_prep --annotations=FILE --videos=DIR --out=DIR`: prepare a video dataset for training.

Reads MSR-VTT's JSON format. Run it again after an interruption: finished videos are not decoded twice.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from data_prep.prepare import prepare
from data_prep.readers.msrvtt import read_msrvtt_json
from eaglenet_jax.errors import UserError

_ANNOTATIONS = flags.DEFINE_string("annotations", None, "JSON file of videos and sentences.", required=True)
_VIDEOS = flags.DEFINE_string("videos", None, "Folder of the video files.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder to prepare.", required=True)
_FPS = flags.DEFINE_float("fps", 1.0, "Frames to store a second.", lower_bound=0.001)
_SIZE = flags.DEFINE_integer("size", 224, "Side of the stored square frames in pixels.", lower_bound=1)
_WORKERS = flags.DEFINE_integer("workers", None, "Decoding processes; default: one a core.", lower_bound=1)
_ALLOW_MISSING = flags.DEFINE_bool("allow_missing", False, "Leave out videos that are missing or cannot be decoded.")


def main(argv: list[str]) -> None:
    """Prepare the dataset that the flags name and print a summary."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
    annotations_json, out = Path(_ANNOTATIONS.value), Path(_OUT.value)
    try:
        manifest = prepare(
            read_msrvtt_json(annotations_json, Path(_VIDEOS.value)),
            out,
            dataset=annotations_json.stem,
            fps=_FPS.value,
            size=_SIZE.value,
            workers=_WORKERS.value,
            allow_missing=_ALLOW_MISSING.value,
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    for split, counts in manifest["splits"].items():
        print(f"{split}: {counts['videos']} videos, {counts['captions']} captions")
    for kind in ("failed", "incomplete"):
        for video_id, reason in manifest[kind].items():
            print(f"{kind}: {video_id} ({reason})")
    print(f"prepared in {out}")


if __name__ == "__main__":
    app.run(main)
