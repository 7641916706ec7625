"""What a run's encoders allow on MovingShapes: R@1 where the described event's frames were known.

    python -m benchmarks.moving_shapes_oracle --workdir=runs/moving_shapes_xpool_frozen [--split=test]

The similarity of a caption and a clip is the largest cosine between the caption and the mean of one event's frames,
with the true cuts between events. No head that weighs frames can do better by choosing frames; what it loses against
this row it loses there, and what this row loses is the encoders'. Captions of several events are compared with each one
alone. The encoders are those of the run; with `cached_features` they are as they were before training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.moving_shapes_run import open_run
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.metrics.ranks import retrieval_metrics
from eaglenet_jax.runs.evaluate_split import encode_split

SUMMARY = "R@1 of a run's encoders on MovingShapes where the frames of every event are known."


def event_means(frames: np.ndarray, times: np.ndarray, lengths: Sequence[float]) -> np.ndarray:
    """Average the frames of every event of one clip.

    Args:
        frames: [M, d] features of the real frames.
        times: [M] seconds.
        lengths: Seconds of the events, in their order; the first one starts at 0.

    Returns:
        [events with a frame, d], unit length.
    """
    event = np.searchsorted(np.cumsum(lengths)[:-1], times, side="right")
    means = [_unit(_unit(frames[event == number]).mean(0)) for number in np.unique(event)]
    return np.stack(means)


def best_event_scores(texts: np.ndarray, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the largest cosine of each text [Nt, d] with an event [E, d] of each clip: [Nt, Nv]."""
    return np.stack([(_unit(texts) @ events.T).max(1) for events in clips], axis=1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def oracle_metrics(workdir: Path, split: str) -> dict[str, Any]:
    """Encode a split by the best checkpoint of a run and measure the retrieval by the best event."""
    run = open_run(workdir)
    encoded = encode_split(run.experiment, run.params, split)
    clips = []
    for number, name in enumerate(encoded.split.video_ids):
        real = np.asarray(encoded.videos.mask[number])
        frames = np.asarray(encoded.videos.frames[number], np.float64)[real]
        times = encoded.frame_times(number)[real]
        clips.append(event_means(frames, times, [shot.seconds for shot in run.shots[name]]))
    scores = best_event_scores(np.asarray(encoded.texts.pooled, np.float64), clips)
    return retrieval_metrics(scores, encoded.text_video)


def main(arguments: Sequence[str]) -> None:
    """Print the metrics of one run."""
    parser = Parser(prog="python -m benchmarks.moving_shapes_oracle", description=SUMMARY)
    parser.add_argument("--workdir", type=Path, required=True, help="work directory of a run on MovingShapes")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    found = oracle_metrics(given.workdir, given.split)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    t2v, v2t = found["t2v"], found["v2t"]
    print(
        f"frames of the best event: t2v R@1 {t2v['R@1']:.1f}, R@5 {t2v['R@5']:.1f}, MnR {t2v['MnR']:.2f}; "
        f"v2t R@1 {v2t['R@1']:.1f}; Rsum {found['Rsum']:.1f}"
    )


if __name__ == "__main__":
    run_command(main)
