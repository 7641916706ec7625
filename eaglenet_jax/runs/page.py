"""Build the report of an evaluated run: intervals and post-processing of its scores, its pictures, its report.html."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.matched_names import NamedGallery, match_names
from eaglenet_jax.metrics.pointing import with_pointing_chance
from eaglenet_jax.metrics.ranks import RetrievalPlacement, RetrievalScores
from eaglenet_jax.metrics.relevance import shared_captions
from eaglenet_jax.metrics.score_files import read_scores
from eaglenet_jax.metrics.score_report import Baseline, MeasureOptions, ScoreReport, measure_scores
from eaglenet_jax.progress import Progress, no_progress
from eaglenet_jax.reports.notable_queries import Gallery
from eaglenet_jax.reports.page_picture import page_picture
from eaglenet_jax.reports.pair_explanations import ExplainedSplit, explainer
from eaglenet_jax.reports.retrieval_drawing import draw_retrieval
from eaglenet_jax.reports.retrieval_picture import Clips, QueryResult, query_results
from eaglenet_jax.reports.score_page import Context, write_score_page
from eaglenet_jax.reports.stage_results import Selection, StageResult, chosen_on, noise_rows, result_rows
from eaglenet_jax.runs.evaluate import EvaluatedStage, EvaluationOptions, evaluate_run, query_bank, validation_scores
from eaglenet_jax.runs.evaluate_split import evaluation_draws
from eaglenet_jax.runs.experiment import Experiment
from eaglenet_jax.runs.saved_config import has_config
from eaglenet_jax.scoring.frame_weights import frame_weights
from eaglenet_jax.scoring.radius import radius_lengths


def measure_stage(
    stage: EvaluatedStage,
    *,
    baseline: Baseline | None = None,
    options: MeasureOptions | None = None,
    progress: Progress = no_progress,
    share_captions: bool = False,
) -> ScoreReport:
    """Measure the scores of a stage.

    The temperature is chosen on its validation split; the query bank is made of training captions. options: all but the
    tie rule, which is the config's. share_captions: a caption that several videos have is right for each of them.
    Raises UserError as `measure_scores`.
    """
    options = options or MeasureOptions()
    evaluation, settings = stage.evaluation, stage.experiment.config.evaluation
    validation = None
    if "dual_softmax" in options.postprocess and options.temperature is None:
        validation = validation_scores(stage, progress)
    encoded = evaluation.encoded
    relevance = shared_captions(encoded.captions.texts, encoded.text_video) if share_captions else None
    report = measure_scores(
        RetrievalScores(evaluation.scores, encoded.text_video, evaluation.v2t_scores, relevance),
        name=stage_name(stage.result),
        missing=evaluation.missing,
        baseline=baseline,
        query_bank=query_bank(stage, progress) if "qb_norm" in options.postprocess else None,
        validation=validation,
        # Under "released" a query counts as often as it ties, for which there are no intervals.
        options=dataclasses.replace(options, ties="mean" if settings.ties == "released" else settings.ties),
    )
    # Scores alone do not say where a head looks.
    pointing = {name: value for name, value in evaluation.metrics["t2v"].items() if name.startswith("pointing")}
    report.summary["metrics"]["t2v"] |= pointing
    report.summary["chance"] = with_pointing_chance(report.summary["chance"], evaluation.metrics)
    return report


def stage_name(result: StageResult) -> str:
    """The name of a stage in tables."""
    return f"{result.name} ({result.system})"


def check_baseline(path: Path) -> None:
    """Raise a UserError for a baseline that is not there, before the evaluation that is compared with it starts."""
    if not has_config(path):
        read_scores(path)


def baseline_scores(path: Path, stage: EvaluatedStage, progress: Progress = no_progress) -> Baseline:
    """Get the scores of a baseline on a stage's split.

    path: a work directory, a folder that --save wrote, or a file of scores, whose rows and columns are matched by their
    names where it has some. Raises UserError if it is none of these, or is known to be of other queries.
    """
    encoded = stage.evaluation.encoded
    if not has_config(path):
        gallery = NamedGallery(encoded.captions.ids, encoded.split.video_ids, encoded.text_video)
        return Baseline(match_names(read_scores(path), gallery, path), Path(path).stem)
    options = EvaluationOptions(encoded.split.name, encoded.shuffled, zero_shot=False)
    other = evaluate_run(path, options, progress=progress, earlier=False)[-1]
    theirs = other.evaluation.encoded
    ours = list(encoded.captions.ids), list(encoded.split.video_ids)
    if ours != (list(theirs.captions.ids), list(theirs.split.video_ids)):
        raise UserError(f"--baseline={path} is of other texts or videos than the run; compare both on the same split")
    name = stage_name(other.result)
    scores = RetrievalScores(other.evaluation.scores, theirs.text_video, other.evaluation.v2t_scores)
    return Baseline(scores, name if name != stage_name(stage.result) else str(path))


def write_run_page(
    file: Path,
    results: Sequence[StageResult],
    stage: EvaluatedStage,
    report: ScoreReport,
    earlier: Sequence[tuple[str, RetrievalPlacement]] = (),
    strips: Strips | None = None,
) -> Path:
    """Write report.html of the last stage of a run.

    Args:
        file: Path of the page.
        results: Of all its stages.
        stage: The last one.
        report: Of its scores.
        earlier: Names of stages before it and their ranks on the same queries.
        strips: What its picture shows; None to look for it.
    """
    result, split = stage.result, stage.evaluation.encoded.split.name
    strips = strips or strips_of(stage)
    others = list(earlier)
    if stage.zero_shot is not None:
        others.insert(0, (result.zero_shot["name"], stage.zero_shot))
    # Ranks of the others count one right video a text, and a video's captions among videos. Those of a stage before
    # are of other queries where the data were prepared again in between.
    comparable = report.relevance is None and report.summary["v2t_among"] == "videos"
    asked = report.placement.text_video
    others = [each for each in others if comparable and np.array_equal(each[1].text_video, asked)]
    context = Context(
        title=f"{stage_name(result)}, {split} split",
        before=[row for row in result_rows(results, split)[:-1] if row[0] != "chance"],
        after=noise_rows(result, split),
        notes=run_notes(result, split, stage),
        facts=_facts(results[-1], split, stage.experiment),
        picture=page_picture(strips.queries, strips.title, strips.facts),
        others=others,
    )
    return write_score_page(file, report, context, _gallery(stage))


def _gallery(stage: EvaluatedStage) -> Gallery:
    experiment, encoded = stage.experiment, stage.evaluation.encoded

    def frames_of(video: int) -> np.ndarray:
        return encoded.frames_of(video, experiment.config.max_frames)

    explain = explainer(
        experiment.system.head,
        stage.params["head"],
        encoded.texts,
        encoded.videos,
        evaluation_draws(experiment),
        ExplainedSplit(frames_of, encoded.described, lambda text: caption_words(stage, text)),
    )
    radii = radius_lengths(
        experiment.system.head,
        stage.params["head"],
        encoded.texts,
        encoded.videos,
        encoded.text_video,
        draws=evaluation_draws(experiment),
    )
    return Gallery(encoded.captions.texts, encoded.split.video_ids, frames_of, explain, radii=radii)


def caption_words(stage: EvaluatedStage, text: int) -> dict[str, list[str]]:
    """List the verbs and nouns of a caption in the order of a head's nodes; none where captions have no syntax.

    A caption without a verb has one node of verbs, which stands for none.
    """
    encoded = stage.evaluation.encoded
    syntax = encoded.texts.extra.get("syntax")
    if syntax is None:
        return {"verbs": [], "nouns": []}
    tokenizer = stage.experiment.tokenizer
    codes = tokenizer.tokenize([encoded.captions.texts[text]])[0]

    def words(kind: str) -> list[str]:
        spans = np.asarray(syntax[kind][text])
        return [tokenizer.text(codes[first:end]) for first, end in spans if end > first]

    return {"verbs": words("verbs") or ["(no verb)"], "nouns": words("nouns")}


@dataclasses.dataclass(frozen=True)
class Strips:
    """Content of retrieval.png. title, facts: its first two lines."""

    queries: Sequence[QueryResult]
    title: str
    facts: str


def strips_of(stage: EvaluatedStage) -> Strips:
    """Choose some queries spread over the split, with their own video and the best others."""
    experiment, encoded = stage.experiment, stage.evaluation.encoded
    head, params, draws = experiment.system.head, stage.params["head"], evaluation_draws(experiment)

    def weights_of(text: int, videos: Sequence[int]) -> list[np.ndarray] | None:
        pairs = np.full(len(videos), text), np.asarray(videos)
        weights = frame_weights(head, params, encoded.texts, encoded.videos, pairs, draws=draws)
        if weights is None:
            return None
        return [row[encoded.videos.mask[video]] for row, video in zip(weights, videos, strict=True)]

    clips = Clips(
        lambda video: encoded.frames_of(video, experiment.config.max_frames),
        weights_of,
        lambda text: encoded.described(text, int(encoded.text_video[text])),
    )
    queries = query_results(stage.evaluation.scores, encoded.captions.texts, clips, text_video=encoded.text_video)
    metrics = stage.evaluation.metrics["t2v"]
    texts, videos = stage.evaluation.scores.shape
    facts = f"R@1 is {metrics['R@1']:.1f} % over {texts:,} sentences and {videos:,} clips."
    if "pointing" in metrics:
        facts += (
            f" {metrics['pointing']:.0f} % of the frame weight is on the part described"
            f" ({metrics['pointing_chance']:.0f} % by chance)."
        )
    return Strips(queries, f"{stage_name(stage.result)}: a sentence finds its clip, {encoded.split.name} split", facts)


def draw_strips(file: Path, stage: EvaluatedStage, strips: Strips | None = None) -> None:
    """Draw retrieval.png of a stage. strips: what it shows; None to look for it."""
    strips = strips or strips_of(stage)
    draw_retrieval(file, strips.queries, strips.title, strips.facts)


def run_notes(result: StageResult, split: str, stage: EvaluatedStage) -> list[str]:
    """List what a reader must know before the numbers."""
    notes, sentence = [], chosen_on(result)
    if result.selection is Selection.TEST:
        notes.append(
            "The best checkpoint was chosen on the test split itself, as the papers and released programs do: "
            "its test numbers are optimistic."
        )
    elif result.selection is not Selection.VALIDATION:
        notes.append(f"{sentence[0].upper()}{sentence[1:]}.")
    elif split == "val":
        notes.append("The best checkpoint was chosen on this very split; only the test split is untouched.")
    if stage.evaluation.encoded.shuffled:
        notes.append("The frames of every video are in random order: this shows what their order is worth.")
    if stage.experiment.config.evaluation.ties == "released":
        notes.append(
            "Rows of stages count a tied query several times, as the released programs do; intervals, comparisons and "
            "everything else by the rule 'mean'."
        )
    texts, videos = stage.evaluation.missing
    if texts or videos:
        notes.append(f"{texts} captions and {videos} videos are lost; as queries they count as misses.")
    noise = result.noise.get(split)
    if noise and noise["same"]:
        notes.append(f"The system draws no noise: {noise['seeds']} seeds give the same scores.")
    return notes


def _facts(result: StageResult, split: str, experiment: Experiment) -> list[tuple[str, str]]:
    missing: Any = result.missing.get(split, [0, 0])
    facts = [
        ("config", f"{result.name}, preset {result.preset}, hash {result.config_hash}"),
        ("checkpoint", f"step {result.best_step}; {chosen_on(result)}"),
        ("seeds", f"{result.seed} in training, {result.noise_seed} of the evaluation's noise"),
        ("split", f"{split}, hash {result.split_hash.get(split, 'unknown')}"),
        ("missing", f"{missing[0]} captions, {missing[1]} videos"),
        ("data", f"{experiment.config.data.dataset}, fingerprint {experiment.dataset.fingerprint}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in result.versions.items())),
    ]
    return [(name, value) for name, value in facts if value]
