"""A report of made-up scores with everything that a page can show."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eaglenet_jax.metrics.ranks import RetrievalScores, place, placement_metrics
from eaglenet_jax.metrics.score_report import Baseline, MeasureOptions, measure_scores
from eaglenet_jax.reports.attended_pictures import WordPictures, brightened
from eaglenet_jax.reports.frame_thumbnails import data_uri
from eaglenet_jax.reports.notable_queries import Gallery
from eaglenet_jax.reports.page_picture import page_picture
from eaglenet_jax.reports.pair_explanations import PairExplanation, WeightedFrame
from eaglenet_jax.reports.retrieval_picture import FoundVideo, QueryResult
from eaglenet_jax.reports.score_page import Context, write_score_page

VIDEOS = 30
ATTACK = "<script>document.title = 'owned'</script>"


def write_made_page(file: Path) -> Path:
    """Thirty videos with a caption each, two of them the same and one that tries to be a script."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(VIDEOS, VIDEOS)) + 2 * np.eye(VIDEOS)
    captions = [
        f"a person walks a dog number {row} through a rather long sentence about a park" for row in range(VIDEOS)
    ]
    captions[3], captions[7] = "The same words", "the  same words"
    captions[0] = ATTACK

    def frames_of(video: int) -> np.ndarray:
        return np.full((12, 60, 80, 3), 8 * video, np.uint8)

    def explain(text: int, videos: list[int]) -> list[PairExplanation]:
        weights = np.linspace(0.2, 1.0, 12)
        frames = [WeightedFrame(data_uri(frames_of(0)[0]), weight, weight) for weight in weights]
        words = [
            WordPictures("walks", "verb", [data_uri(frames_of(20)[0])] * 2),
            WordPictures("dog", "noun", [data_uri(brightened(frames_of(28)[0], np.arange(9.0)))] * 2),
        ]
        candidates = [(weight, weight) for weight in weights]
        # Of the first and the last query shown a wrong video has the lowest energy.
        lowest = text if text not in (0, VIDEOS - 1) else next(video for video in videos if video != text)
        energies = [-0.5 if video == lowest else 0.5 for video in videos]
        return [PairExplanation(frames, candidates, energy, 64.02, words, attended=True) for energy in energies]

    report = measure_scores(
        RetrievalScores(scores),
        baseline=Baseline(RetrievalScores(scores + rng.normal(size=scores.shape)), "other run"),
        options=MeasureOptions(["dual_softmax"], resamples=50),
    )
    before = place(rng.normal(size=scores.shape) + 0.5 * np.eye(VIDEOS))
    strips = [
        QueryResult(caption, FoundVideo(frames_of(row), 1.0, 1, np.full(12, 1 / 12)), [], VIDEOS)
        for row, caption in enumerate(captions[:2])
    ]
    context = Context(
        "A made-up run, test split",
        [("zero-shot CLIP", placement_metrics(before))],
        notes=["A note."],
        facts=[("config", "hash 0123456789")],
        picture=page_picture(strips, "A sentence finds its clip", ""),
        others=[("zero-shot CLIP", before)],
    )
    radii = rng.normal(3, 0.2, 32), rng.normal(3.4, 0.3, 900)
    gallery = Gallery(captions, [f"v{i}" for i in range(VIDEOS)], frames_of, explain, radii=radii)
    return write_score_page(file, report, context, gallery)
