"""`python -m data_prep.build --dataset=msrvtt --videos=DIR --annotations=DIR --out=DIR`: prepare a dataset.

Writes shards, captions, `manifest.json` and `report.md` into --out. Run it again after an interruption to continue; a
complete folder is left alone. Videos that are missing or cannot be decoded are left out and listed; --strict makes
them an error.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.annotations import first_few
from data_prep.assemble import Assembly, add_dataset_arguments, assemble
from data_prep.beam_decoding import fill_cache_on_beam
from data_prep.cache import FrameSettings, fill_cache
from data_prep.flag_checks import check_numbers, refuse_flags
from data_prep.prepare import Decoding, prepare, read_manifest
from data_prep.report import report
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError
from eaglenet_jax.wording import counted


def build(assembly: Assembly, out: Path, settings: FrameSettings, decoding: Decoding) -> dict[str, Any]:
    """Prepare `out` as `prepare` does and add `report.md`.

    The manifest also says the variant and, under "listed", what the annotations have: split → videos, captions and the
    ids without a caption.

    Args:
        assembly: Annotations and files.
        out: Folder to prepare.
        settings: Which frames are stored, and how; the dataset decides `first_seconds`.
        decoding: How videos are decoded. Without `allow_missing` a video that is missing, cannot be decoded or has no
            caption is an error.

    Returns:
        The manifest.

    Raises:
        UserError: for unusable videos.
    """
    uncaptioned = assembly.uncaptioned
    if not decoding.allow_missing and uncaptioned:
        split, ids = next(iter(uncaptioned.items()))
        raise UserError(
            f"{split}: {counted(len(ids), 'video')} without a caption: {first_few(ids)}; get the captions' file"
        )
    listed = {
        split: {
            "videos": len(videos),
            "captions": sum(len(video.captions) for video in videos),
            "uncaptioned": list(uncaptioned.get(split, ())),
        }
        for split, videos in assembly.splits.items()
    }
    about = {
        "dataset": assembly.spec.name,
        "variant": assembly.variant_name,
        "protocol": assembly.variant.test_protocol,
        "held_out": bool(assembly.held_out),
        "is_fake": assembly.is_fake,
        "listed": listed,
    }
    if assembly.spec.is_table:
        about["held_out_splits"] = list(assembly.held_out)
    settings = dataclasses.replace(settings, first_seconds=assembly.spec.first_seconds)
    if replaced := _replaced(out, settings):
        print(f"{out} holds other frames, which are replaced: {', '.join(replaced)}")
    manifest = prepare(assembly.entries, out, about, settings, decoding)
    text = report(manifest, out).encode()
    file = out / "report.md"
    if not file.is_file() or file.read_bytes() != text:
        write_atomically(file, text)
    return manifest


def _replaced(out: Path, settings: FrameSettings) -> list[str]:
    """What differs between the frames of a prepared folder and these settings, as "size 48 → 64"."""
    before, now = (read_manifest(out) or {}).get("settings"), settings.as_dict()
    if not before:
        return []
    changed = [f"{name} {before[name]:g} → {now[name]:g}" for name in ("fps", "size") if before[name] != now[name]]
    as_released = [not (kept.get("timestamps") or kept.get("as_shown")) for kept in (before, now)]
    if as_released[0] != as_released[1]:
        changed.append("frames as released" if as_released[1] else "no longer frames as released")
    return changed


def main(argv: Sequence[str]) -> int:
    """Build the dataset that the flags name and print a summary."""
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
    if flags.beam:
        refuse_flags(argv, ["--workers"], "with --beam the options of the runner say how many processes decode")
    assembly = assemble(flags.dataset, flags.annotations, flags.videos, flags.variant, flags.hold_out, flags.columns)
    fill = functools.partial(fill_cache_on_beam, options=flags.beam) if flags.beam else fill_cache
    decoding = Decoding(workers=flags.workers, allow_missing=not flags.strict, fill=fill)
    settings = FrameSettings(
        flags.fps, flags.size, timestamps=not flags.released_frames, as_shown=not flags.released_frames
    )
    manifest = build(assembly, flags.out, settings, decoding)
    for split, counts in manifest["splits"].items():
        print(f"{split}: {counted(counts['videos'], 'video')}, {counted(counts['captions'], 'caption')}")
    if assembly.several_files:
        taken = tuple(f"{name} ({files[0]})" for name, files in assembly.several_files.items())
        print(f"{counted(len(taken), 'video')} with several files; taken is the first readable one: {first_few(taken)}")
    for folder, reason in assembly.unreadable.items():
        print(f"{folder} cannot be read and is passed over: {reason}")
    for split, counts in manifest["left_out"].items():
        left_out = f"{counted(counts['videos'], 'video')} with {counted(counts['captions'], 'caption')}"
        print(f"{split}: LEFT OUT {left_out} (see report.md)")
    if manifest["incomplete"]:
        cut = tuple(f"{name} ({why})" for name, why in manifest["incomplete"].items())
        print(f"{counted(len(cut), 'video')} with a part lost, used as far as it goes: {first_few(cut)}")
    if assembly.held_out:
        print(f"{' and '.join(assembly.held_out)} held out of the training videos by the hash of their ids")
    lacking = [split for split in ("train", "val") if split not in manifest["splits"]]
    if assembly.spec.is_table and flags.hold_out and lacking:
        print(
            f"prepared in {flags.out}, which is not enough to train: no video of {' and of '.join(lacking)} is left; "
            "add videos and give the same command"
        )
        return 0
    config = "own" if assembly.spec.is_table else assembly.spec.name
    print(f"prepared in {flags.out}; train with --config={config} --config.data.prepared={flags.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
