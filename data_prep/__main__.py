"""`python -m data_prep --annotations=FILE --videos=DIR --out=DIR`: prepare a video dataset for training.

Reads MSR-VTT's JSON format. Run it again after an interruption: finished videos are not decoded twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_prep.cache import FrameSettings
from data_prep.flag_checks import check_numbers
from data_prep.prepare import Decoding, prepare
from data_prep.readers.msrvtt import read_msrvtt_json
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.wording import counted


def main(arguments: Sequence[str]) -> int:
    """Prepare the dataset that the flags name and print a summary."""
    parser = Parser("python -m data_prep", description=__doc__)
    parser.add_argument("--annotations", required=True, type=Path, help="JSON file of videos and sentences")
    parser.add_argument("--videos", required=True, type=Path, help="folder of the video files")
    parser.add_argument("--out", required=True, type=Path, help="folder to prepare")
    parser.add_argument("--fps", type=float, default=1.0, help="frames to store a second (default 1)")
    parser.add_argument("--size", type=int, default=224, help="side of the stored frames in pixels (default 224)")
    parser.add_argument("--workers", type=int, help="decoding processes (default: one a core)")
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave out videos that are missing or cannot be decoded"
    )
    flags = parser.parse_args(arguments)
    check_numbers(flags, parser)
    manifest = prepare(
        read_msrvtt_json(flags.annotations, flags.videos),
        flags.out,
        {"dataset": flags.annotations.stem},
        FrameSettings(flags.fps, flags.size, timestamps=True, as_shown=True),
        Decoding(workers=flags.workers, allow_missing=flags.allow_missing),
    )
    for split, counts in manifest["splits"].items():
        print(f"{split}: {counted(counts['videos'], 'video')}, {counted(counts['captions'], 'caption')}")
    for kind in ("failed", "incomplete"):
        for video_id, reason in manifest[kind].items():
            print(f"{kind}: {video_id} ({reason})")
    print(f"prepared in {flags.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
