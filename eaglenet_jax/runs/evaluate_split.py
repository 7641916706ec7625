"""Evaluation of parameters on one split: features are encoded once, then scored and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from eaglenet_jax.data.pipeline import batch_rows, text_batches, video_batches
from eaglenet_jax.data.prepared_dataset import Captions, PreparedSplit
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.metrics.pointing import frames_inside, pointing_metrics
from eaglenet_jax.metrics.ranks import RetrievalPlacement, place, placement_metrics, with_misses
from eaglenet_jax.progress import Progress, labelled, no_progress
from eaglenet_jax.runs.cached_features import cached_split
from eaglenet_jax.runs.experiment import Experiment
from eaglenet_jax.scoring.both_directions import score_both_ways
from eaglenet_jax.scoring.encoding import (
    encode_all,
    make_encode_text,
    make_encode_video,
    make_reduce_video,
    reduce_all,
    reduces_videos,
)
from eaglenet_jax.scoring.frame_weights import frame_weights
from eaglenet_jax.scoring.gallery import ScoringOptions
from eaglenet_jax.scoring.host import to_all_devices
from eaglenet_jax.training.sharding import Devices


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """Features of a split's queries [Nt, ...] and videos [Nv, ...]. shuffled: the frames were put in random order."""

    split: PreparedSplit
    captions: Captions
    texts: TextFeatures
    videos: VideoFeatures
    shuffled: bool = False

    def frames_of(self, video: int, max_frames: int) -> np.ndarray:
        """Get the real frames [M, H, W, 3] uint8 of a video, in the order in which they were encoded."""
        frames, mask = self.split.frames(video, max_frames)
        real = frames[mask]
        return real[_random_order(self.videos.id[video], len(real))] if self.shuffled else real

    def frame_times(self, video: int) -> np.ndarray:
        """Get the times in seconds of a video's frames [M], in the order in which they were encoded; NaN at padding."""
        times = self.split.frame_times(video, self.videos.mask.shape[1])
        if self.shuffled:
            times = times[_random_order(self.videos.id[video], len(times))]
        return np.pad(times, (0, self.videos.mask.shape[1] - len(times)), constant_values=np.nan)

    def described(self, text: int, video: int) -> np.ndarray | None:
        """Find the real frames [m] bool of a video that a text describes; None for another video or where not known."""
        interval = self.captions.intervals[text]
        if video != self.text_video[text] or not np.isfinite(interval).all():
            return None
        times = self.frame_times(video)
        return frames_inside(times[None], interval[None])[0][np.isfinite(times)]

    @property
    def text_video(self) -> np.ndarray:
        """[Nt], the video of each text."""
        return np.asarray(self.captions.text_video)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores and metrics of a split.

    scores, v2t_scores: [Nt, Nv]; one matrix unless the system reranks, which depends on the direction. metrics:
    {"t2v": …, "v2t": …, "Rsum": …} in percent, with those of `pointing_metrics` in "t2v". missing: queries without a
    video, both ways, that are counted as misses in them. placement: of all queries, those too.
    """

    encoded: EncodedSplit
    scores: np.ndarray
    v2t_scores: np.ndarray
    metrics: Mapping[str, Any]
    placement: RetrievalPlacement
    missing: tuple[int, int] = (0, 0)

    @property
    def flat(self) -> dict[str, float]:
        """Metrics as "t2v/R@1" and so on."""
        sides = {f"{side}/{name}": value for side in ("t2v", "v2t") for name, value in self.metrics[side].items()}
        return {**sides, "Rsum": self.metrics["Rsum"]}


def evaluate_split(
    experiment: Experiment,
    params: Any,
    name: str,
    shuffle_frames: bool = False,
    mesh: jax.sharding.Mesh | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score every query of a split against all its videos and measure: `encode_split`, then `score_split`."""
    encoded = encode_split(experiment, params, name, shuffle_frames, mesh, progress)
    return score_split(experiment, params, encoded, mesh=mesh, progress=progress)


def encode_split(
    experiment: Experiment,
    params: Any,
    name: str,
    shuffle_frames: bool = False,
    mesh: jax.sharding.Mesh | None = None,
    progress: Progress = no_progress,
    seed: int | None = None,
) -> EncodedSplit:
    """Encode the queries and videos of a split.

    name: "val", "test" or another split. shuffle_frames: put the frames of every video in random order, to measure how
    much a system depends on it. mesh: devices that share the work; with several processes each reads its videos alone,
    and all get the same features. seed: of the noise that belongs to a video, instead of the config's. With
    `config.cached_features` they are read where they are stored, and stored where they are not, unless frames are
    shuffled.
    """
    config, system = experiment.config, experiment.system
    if config.cached_features and not shuffle_frames:
        stored = cached_split(experiment, params, name, config.queries, mesh=mesh, progress=progress)
        videos = stored.video_features
        if reduces_videos(system.head):
            reduce, draws = make_reduce_video(system.head), evaluation_draws(experiment, seed)
            videos = reduce_all(lambda part: reduce(params["head"], part, draws), videos, config.evaluation.batch_size)
        return EncodedSplit(stored.split, stored.captions, stored.text_features, videos)
    split = experiment.dataset.split(name)
    captions = split.queries(config.queries)
    devices = Devices(mesh)
    parts = 1 if mesh is None else mesh.size
    most = config.evaluation.batch_size
    process = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    params = params if mesh is None else to_all_devices(params, mesh)
    encode_text, encode_video = make_encode_text(system), make_encode_video(system)
    reduce_video, draws = make_reduce_video(system.head), evaluation_draws(experiment, seed)
    draws = draws if mesh is None else to_all_devices(draws, mesh)
    texts = encode_all(
        lambda batch: encode_text(params, batch),
        map(
            devices.batch,
            text_batches(
                split,
                experiment.tokenizer,
                batch_size=batch_rows(len(captions), most, parts),
                queries=config.queries,
                **process,
            ),
        ),
        progress=labelled(progress, "encoding captions", len(captions)),
    )
    size = batch_rows(len(split.video_ids), most, parts)
    clips = video_batches(split, batch_size=size, max_frames=config.max_frames, workers=config.data.workers, **process)
    videos = encode_all(
        lambda batch: reduce_video(params["head"], encode_video(params, batch), draws),
        map(devices.batch, _shuffled(clips) if shuffle_frames else clips),
        progress=labelled(progress, "encoding videos", len(split.video_ids)),
    )
    return EncodedSplit(split, captions, texts, videos, shuffle_frames)


def evaluation_draws(experiment: Experiment, seed: int | None = None) -> Draws:
    """Make the noise of an evaluation. seed: instead of the config's."""
    settings = experiment.config.evaluation
    return Draws(jax.random.key(settings.seed if seed is None else seed), noise=settings.noise)


def score_split(
    experiment: Experiment,
    params: Any,
    encoded: EncodedSplit,
    *,
    seed: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score and measure encoded queries and videos. seed: of the noise, instead of the config's."""
    config, draws = experiment.config, evaluation_draws(experiment, seed)
    scores = score_both_ways(
        experiment.system.head,
        params["head"],
        encoded.texts,
        encoded.videos,
        draws=draws,
        options=ScoringOptions(
            memory_budget=config.evaluation.memory_budget,
            mesh=mesh,
            progress=progress,
        ),
    )
    missing = (0, 0)
    if config.evaluation.count_missing:
        missing = experiment.dataset.left_out(encoded.split.name, config.queries)
    placement = with_misses(place(scores.t2v, encoded.text_video, v2t_scores=scores.v2t), scores.t2v.shape, missing)
    metrics = placement_metrics(placement, config.evaluation.ties)
    placed = params["head"], draws
    placed = placed if mesh is None else to_all_devices(placed, mesh)
    metrics["t2v"] |= _pointing(experiment.system.head, placed[0], placed[1], encoded)
    return Evaluation(encoded, *scores, metrics, placement, missing)


def _pointing(head: Head, head_params: Any, draws: Draws, encoded: EncodedSplit) -> dict[str, Any]:
    """Measure what the head looks at in the right videos, see `pointing_metrics`; empty without intervals."""
    texts = np.flatnonzero(np.isfinite(encoded.captions.intervals).all(axis=1))
    if not len(texts):
        return {}
    videos = encoded.text_video[texts]
    weights = frame_weights(head, head_params, encoded.texts, encoded.videos, (texts, videos), draws=draws)
    times = np.stack([encoded.frame_times(video) for video in videos])
    return pointing_metrics(weights, times, encoded.captions.intervals[texts])


def _shuffled(batches: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Batches with the real frames of every video in a random order that depends on the video alone."""
    for batch in batches:
        order = np.tile(np.arange(batch["frame_mask"].shape[1]), (len(batch["frame_mask"]), 1))
        for row, (video_id, mask) in enumerate(zip(batch["video_id"], batch["frame_mask"], strict=True)):
            real = np.flatnonzero(mask)
            order[row, real] = real[_random_order(video_id, len(real))]
        rows = np.arange(len(order))[:, None]
        extra = {name: by_frame[rows, order] for name, by_frame in batch.get("video_extra", {}).items()}
        yield {**batch, "frames": batch["frames"][rows, order]} | ({"video_extra": extra} if extra else {})


def _random_order(video_id: Any, frames: int) -> np.ndarray:
    """A random order of a video's frames that depends on the video alone."""
    return np.random.default_rng(int(video_id)).permutation(frames)
