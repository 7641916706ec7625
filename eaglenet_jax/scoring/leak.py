"""Leak check: whether the score of a pair depends on the other texts and videos of the gallery, which it must not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.scoring.gallery import ScoringOptions, score_gallery
from eaglenet_jax.scoring.host import to_host

ScoreRows = Callable[[np.ndarray, np.ndarray], np.ndarray]
TOLERANCE = 1e-3  # in standard deviations of the scores; it covers sums in another order, not a leak
LEAK_BLOCK = 32, 64  # the same for every size of gallery: one compilation, and sums in the same order


@dataclass(frozen=True)
class LeakFinding:
    """The effect of one change of the gallery.

    Attributes:
        change: What was changed.
        difference: Largest absolute change of a score that should be the same.
        text: Row of that score.
        video: Column of that score.
        ok: Whether it is within the tolerance.
    """

    change: str
    difference: float
    text: int
    video: int
    ok: bool


def check_leak(score_rows: ScoreRows, texts: int, videos: int) -> list[LeakFinding]:
    """Compare the scores of pairs while other captions and videos are dropped, added and permuted.

    A system without leaks passes every change; one that pools a video with its own caption, centres by the batch, or
    draws noise by the row fails.

    Args:
        score_rows: score_rows(text_rows [n], video_rows [m]) → scores [n, m] of a gallery of these rows alone, in this
            order.
        texts: Number of texts, at least 4.
        videos: Number of videos, at least 2.

    Returns:
        One finding for each change.

    Raises:
        UserError: If there are fewer texts or videos, or if the scores have another shape.
    """
    if texts < 4 or videos < 2:
        raise UserError(f"a leak check needs at least 4 texts and 2 videos, not {texts} and {videos}")
    rng = np.random.default_rng(0)
    all_texts, all_videos = np.arange(texts), np.arange(videos)
    some_texts = np.sort(rng.choice(texts, texts // 2, replace=False))
    some_videos = np.sort(rng.choice(videos, max(1, videos // 2), replace=False))
    repeated = np.concatenate([some_texts, some_texts[:1], np.setdiff1d(all_texts, some_texts)])
    changes = [
        ("half of the captions dropped", some_texts, all_videos),
        ("all captions but one dropped", some_texts[:1], all_videos),
        ("captions added behind others, one of them twice", repeated, all_videos),
        ("captions permuted", rng.permutation(texts), all_videos),
        ("half of the videos dropped", all_texts, some_videos),
        ("all videos but one dropped", all_texts, some_videos[:1]),
        ("videos permuted", all_texts, rng.permutation(videos)),
        ("captions and videos permuted and dropped", rng.permutation(some_texts), rng.permutation(some_videos)),
    ]
    reference = _scores(score_rows, all_texts, all_videos)
    spread = float(reference.std()) or 1.0
    findings = []
    for change, text_rows, video_rows in changes:
        moved = np.abs(_scores(score_rows, text_rows, video_rows) - reference[np.ix_(text_rows, video_rows)])
        at = np.unravel_index(np.argmax(moved), moved.shape)
        relative = float(moved[at]) / spread
        findings.append(
            LeakFinding(
                change,
                difference=float(moved[at]),
                text=int(text_rows[at[0]]),
                video=int(video_rows[at[1]]),
                ok=bool(relative <= TOLERANCE),  # False for NaN
            )
        )
    return findings


def rows_of_gallery(
    head: Head, head_params: Any, texts: TextFeatures, videos: VideoFeatures, *, draws: Draws
) -> ScoreRows:
    """Make the `score_rows` of `check_leak` for a head and encoded features; each call scores a gallery of its own."""
    texts, videos = to_host(texts), to_host(videos)

    def score_rows(text_rows: np.ndarray, video_rows: np.ndarray) -> np.ndarray:
        return score_gallery(
            head,
            head_params,
            jax.tree.map(lambda leaf: leaf[text_rows], texts),
            jax.tree.map(lambda leaf: leaf[video_rows], videos),
            draws=draws,
            options=ScoringOptions(*LEAK_BLOCK),
        )

    return score_rows


def leak_report(findings: list[LeakFinding]) -> str:
    """Format the findings as lines of text, with a verdict."""
    lines = []
    for finding in findings:
        verdict = "same scores" if finding.ok else f"CHANGED at text {finding.text}, video {finding.video}"
        lines.append(f"{finding.change:48} largest change {finding.difference:.1e}  {verdict}")
    leaks = sum(not finding.ok for finding in findings)
    lines.append(
        f"LEAK: scores depend on the rest of the gallery in {leaks} of {len(findings)} changes"
        if leaks
        else "no leak: a pair has the same score whatever else is in the gallery"
    )
    return "\n".join(lines)


def _scores(score_rows: ScoreRows, text_rows: np.ndarray, video_rows: np.ndarray) -> np.ndarray:
    scores = np.asarray(score_rows(text_rows, video_rows), np.float64)
    if scores.shape != (len(text_rows), len(video_rows)):
        raise UserError(f"scores of {len(text_rows)} texts × {len(video_rows)} videos have shape {scores.shape}")
    return scores
