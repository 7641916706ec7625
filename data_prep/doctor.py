"""`python -m data_prep.doctor --dataset=msrvtt --videos=DIR --annotations=DIR --out=DIR`: check a dataset's files.

Exits with 1 if something would change results: missing or damaged files, counts that differ from the dataset's, splits
that overlap, too little disk space. It reads headers and first frames; damage further on appears only when building.

`python -m data_prep.doctor --video FILE…` reads single files to their end: streams, clock, geometry, rate, damage. A
contact sheet of what would be indexed is written as FILE.png into --out (the current folder). Exits with 1 if one of
the files gives no picture or only a part.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.annotations import first_few
from data_prep.assemble import Assembly, add_dataset_arguments, assemble
from data_prep.cache import FrameSettings
from data_prep.contact_sheet import write_contact_sheet
from data_prep.examination import Examination, examine
from data_prep.flag_checks import check_numbers, refuse_flags
from data_prep.video_facts import examine_video
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.wording import spoken_time

COLUMNS = ("expected", "captions", "present", "missing", "undecodable", "too_short")
# Flags of the examination of a dataset that the report on single files does not use.
OF_DATASETS = (
    *("--dataset", "--annotations", "--videos", "--columns", "--variant", "--no-hold-out"),
    *("--size", "--released-frames", "--workers"),
)


def as_json(assembly: Assembly, found: Examination) -> str:
    """Return everything as JSON, with all ids."""
    head = {
        "dataset": assembly.spec.name,
        "variant": assembly.variant_name,
        "protocol": assembly.variant.test_protocol,
        "is_fake": assembly.is_fake,
        "files": [str(path) for path in assembly.annotations.files],
    }
    return json.dumps(head | dataclasses.asdict(found) | {"is_sound": found.is_sound}, indent=1, ensure_ascii=False)


def as_text(assembly: Assembly, found: Examination) -> Iterator[str]:
    """Generate the lines of the printed report."""
    variant = assembly.variant
    yield f"{assembly.spec.title}, variant {assembly.variant_name}: {variant.about}, {variant.test_protocol}"
    yield f"read: {', '.join(path.name for path in assembly.annotations.files)}"
    yield f"videos in the annotations: {', '.join(f'{count} {split}' for split, count in found.annotated.items())}"
    if assembly.is_fake:
        yield "made by data_prep.fake: counts are not compared with the dataset's"
    yield "".join(f"{name.replace('_', ' '):>13}" for name in ("split", *COLUMNS))
    for split, state in found.splits.items():
        yield "".join(f"{cell:>13}" for cell in (split, *(getattr(state, name) for name in COLUMNS)))
    for name, count in found.facts.items():
        yield f"{name}: {count}"
    if found.estimate:
        estimate = found.estimate
        yield f"{estimate.video_hours:.2f} hours of video, {estimate.frames} frames to store"
        yield f"disk: {estimate.bytes_needed / 1e9:.2f} GB needed, {estimate.bytes_free / 1e9:.1f} GB free"
        yield f"time: about {spoken_time(estimate.seconds)} with {estimate.workers} workers"
    for finding in sorted(found.findings, key=lambda finding: not finding.changes_results):
        kind = "CHANGES RESULTS" if finding.changes_results else "note"
        ids = f": {first_few(finding.ids)}" if finding.ids else ""
        yield f"{kind}: {finding.split + ': ' if finding.split else ''}{finding.what}{ids}"
    yield "sound" if found.is_sound else "not sound: see what changes results"


def _videos(files: Sequence[Path], out: Path, fps: float, as_json: bool) -> int:
    """Report on single files; return 1 if one gives no picture or only a part."""
    found = []
    for file in files:
        facts = examine_video(file, fps)
        found.append(facts)
        sheet = out / f"{file.name}.png"
        if facts.shots:
            write_contact_sheet(sheet, facts.shots)
        if not as_json:
            print(facts.path)
            for line in facts.lines:
                print(f"  {line}")
            for line in facts.warnings:
                print(f"  note: {line}")
            print(f"  NO PICTURE: {facts.error}" if facts.error else f"  contact sheet: {sheet}")
    if as_json:
        print(json.dumps([facts.as_dict() for facts in found], indent=1, ensure_ascii=False))
    return int(any(facts.error or facts.is_incomplete for facts in found))


def main(argv: Sequence[str]) -> int:
    """Print the report; return 1 if something would change results."""
    single = any(word.split("=")[0] == "--video" for word in argv)
    parser = Parser("python -m data_prep.doctor", description=__doc__)
    add_dataset_arguments(parser, required=not single)
    parser.add_argument("--video", nargs="+", type=Path, default=[], metavar="FILE", help="report on single files")
    parser.add_argument("--json", action="store_true", help="everything as JSON, with all ids")
    flags = parser.parse_args(argv)
    check_numbers(flags, parser)
    if single:
        refuse_flags(argv, OF_DATASETS, "--video reads single files, not a dataset")
        return _videos(flags.video, flags.out or Path(), flags.fps, flags.json)
    assembly = assemble(flags.dataset, flags.annotations, flags.videos, flags.variant, flags.hold_out, flags.columns)
    settings = FrameSettings(
        flags.fps, flags.size, assembly.spec.first_seconds, not flags.released_frames, not flags.released_frames
    )
    workers = flags.workers or len(os.sched_getaffinity(0))
    found = examine(assembly, settings, flags.out, workers=workers, progress=not flags.json)
    print(as_json(assembly, found) if flags.json else "\n".join(as_text(assembly, found)))
    return 0 if found.is_sound else 1


if __name__ == "__main__":
    run_command(main)
