"""Where a run on MovingShapes errs: what differs between the right event and that of the clip that was ranked first.

    python -m benchmarks.moving_shapes_errors --workdir=runs/moving_shapes_clip [--split=test] [--json]

Of a clip of several events, the one that differs least from the caption's is compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.moving_shapes_run import open_run
from data_prep.moving_shapes.scenes import Scene
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.runs.evaluate_split import evaluate_split

SUMMARY = "Where a run on MovingShapes errs, by attribute."
KINDS = ("shape", "colour", "size", "background", "second shape", "motion", "direction")


def differences(right: Scene, found: Scene) -> tuple[str, ...]:
    """Return the kinds of `KINDS` in which two events differ; a motion that runs backwards differs in direction."""
    twin = right.twin()
    other = ("relation", "other_shape", "other_color")
    differs = {
        "shape": right.shape != found.shape,
        "colour": right.color != found.color,
        "size": right.size != found.size,
        "background": right.background != found.background,
        "second shape": any(getattr(right, name) != getattr(found, name) for name in other),
        "motion": right.motion != found.motion and (twin is None or twin.motion != found.motion),
        "direction": twin is not None and twin.motion == found.motion,
    }
    return tuple(kind for kind in KINDS if differs[kind])


def count_errors(scores: np.ndarray, right: Sequence[tuple[Scene, int]], clips: Sequence[Sequence[Scene]]) -> dict:
    """Count the differences of all queries whose first clip is wrong.

    Args:
        scores: [Nt, Nv].
        right: By query, the event that it describes and the index of its clip.
        clips: By clip, its events.

    Returns:
        "queries", "errors", and by kind "in": errors that differ in it, and "alone": errors that differ in nothing
        else.
    """
    within, alone, errors = Counter[str](), Counter[str](), 0
    for row, (scene, clip) in zip(scores, right, strict=True):
        first = int(np.argmax(row))
        if first == clip:
            continue
        errors += 1
        kinds = min((differences(scene, event) for event in clips[first]), key=len)
        within.update(kinds)
        if len(kinds) == 1:
            alone.update(kinds)
    return {
        "queries": len(scores),
        "errors": errors,
        "kinds": {kind: {"in": within[kind], "alone": alone[kind]} for kind in KINDS},
    }


def errors_of(workdir: Path, split: str) -> dict[str, Any]:
    """Evaluate the best checkpoint of a run on one split and count its errors."""
    run = open_run(workdir)
    evaluation = evaluate_split(run.experiment, run.params, split)
    told = {f"sen{sentence['sen_id']}": sentence.get("events", [0]) for sentence in run.annotations["sentences"]}
    videos = list(evaluation.encoded.split.video_ids)
    clips = [[shot.scene for shot in run.shots[video]] for video in videos]
    right = [
        (clips[video][told[caption][0]], int(video))
        for caption, video in zip(evaluation.encoded.captions.ids, evaluation.encoded.text_video, strict=True)
    ]
    return count_errors(evaluation.scores, right, clips)


def as_table(found: Mapping[str, Any]) -> str:
    """Format the counts."""
    lines = [
        f"{found['errors']} of {found['queries']} first answers are wrong; they differ in",
        f"{'':14}{'errors':>8}{'in this alone':>15}",
    ]
    lines += [f"{kind:14}{row['in']:8}{row['alone']:15}" for kind, row in found["kinds"].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the table of one run."""
    parser = Parser(prog="python -m benchmarks.moving_shapes_errors", description=SUMMARY)
    parser.add_argument("--workdir", type=Path, required=True, help="work directory of a run on MovingShapes")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    found = errors_of(given.workdir, given.split)
    print(json.dumps(found, indent=1) if given.json else as_table(found))


if __name__ == "__main__":
    run_command(main)
