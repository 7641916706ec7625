"""`python -m data_prep.build --dataset=msrvtt --videos=DIR --annotations=DIR --out=DIR`: a dataset, ready to train on.

Writes shards, captions, `manifest.json` and `report.md` into --out. Interrupted, it goes on where it was when it is run
again; complete, it does nothing. Videos that are missing or cannot be decoded are left out and named; --strict makes
them an error.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.annotations import first_few
from data_prep.assemble import Assembly, add_dataset_arguments, assemble, check_numbers
from data_prep.beam_decoding import fill_cache_on_beam
from data_prep.cache import fill_cache
from data_prep.prepare import prepare
from data_prep.report import report
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError


def build(
    assembly: Assembly,
    out: Path,
    *,
    fps: float = 1,
    size: int = 224,
    timestamps: bool = False,
    workers: int | None = None,
    strict: bool = False,
    progress: bool = True,
    beam: str = "",
) -> dict[str, Any]:
    """Prepares `out` as `prepare` does, adds `report.md`, and returns the manifest.

    The manifest also says the variant and, under "listed", what the annotations have: split → videos, captions and the
    ids without a caption. Raises UserError for unusable videos, with `strict` for every video that is missing, cannot
    be decoded or has no caption. `beam`: options of Apache Beam, which then decodes (`fill_cache_on_beam`).
    """
    uncaptioned = assembly.uncaptioned
    if strict and uncaptioned:
        split, ids = next(iter(uncaptioned.items()))
        raise UserError(f"{len(ids)} videos of {split} have no caption: {first_few(ids)}; get the captions' file")
    listed = {
        split: {
            "videos": len(videos),
            "captions": sum(len(video.captions) for video in videos),
            "uncaptioned": list(uncaptioned.get(split, ())),
        }
        for split, videos in assembly.splits.items()
    }
    about = {
        "variant": assembly.variant_name,
        "protocol": assembly.variant.test_protocol,
        "held_out": assembly.variant.holds_out and "val" in assembly.splits,
        "is_fake": assembly.is_fake,
        "listed": listed,
    }
    manifest = prepare(
        assembly.entries,
        out,
        dataset=assembly.spec.name,
        fps=fps,
        size=size,
        first_seconds=assembly.spec.first_seconds,
        timestamps=timestamps,
        workers=workers,
        progress=progress,
        allow_missing=not strict,
        about=about,
        fill=functools.partial(fill_cache_on_beam, options=beam) if beam else fill_cache,
    )
    text = report(manifest, out).encode()
    file = out / "report.md"
    if not file.is_file() or file.read_bytes() != text:
        write_atomically(file, text)
    return manifest


def main(argv: Sequence[str]) -> int:
    """Builds what the flags name and says what came out."""
    parser = Parser("python -m data_prep.build", description=__doc__)
    add_dataset_arguments(parser)
    parser.add_argument("--strict", action="store_true", help="a missing or undecodable video is an error")
    parser.add_argument(
        "--beam",
        default="",
        metavar="OPTIONS",
        help="decode on Apache Beam with these options, as '--runner=FlinkRunner --flink_master=HOST:8081'; videos and"
        " --out have to be at the same path on every worker (needs the extra beam)",
    )
    flags = parser.parse_args(argv)
    check_numbers(flags, parser)
    assembly = assemble(flags.dataset, flags.annotations, flags.videos, flags.variant, flags.hold_out)
    manifest = build(
        assembly,
        flags.out,
        fps=flags.fps,
        size=flags.size,
        timestamps=flags.timestamps,
        workers=flags.workers,
        strict=flags.strict,
        beam=flags.beam,
    )
    for split, counts in manifest["splits"].items():
        print(f"{split}: {counts['videos']} videos, {counts['captions']} captions")
    for split, counts in manifest["left_out"].items():
        print(f"{split}: {counts['videos']} videos with {counts['captions']} captions are LEFT OUT (see report.md)")
    print(f"prepared in {flags.out}; train with --config.data.prepared={flags.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
