"""Evaluation of the best checkpoint of a work directory and of its first stages, or of a config and a file."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eaglenet_jax.config.checking import check_config
from eaglenet_jax.config.loading import config_hash
from eaglenet_jax.data.pipeline import batch_rows, text_batches
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.pointing import with_pointing_chance
from eaglenet_jax.metrics.ranks import RetrievalPlacement, RetrievalScores, chance_metrics
from eaglenet_jax.metrics.saved_scores import SavedScores, save_scores
from eaglenet_jax.progress import Progress, labelled, no_progress
from eaglenet_jax.reports.claims import claimed
from eaglenet_jax.reports.stage_results import Selection, StageResult
from eaglenet_jax.runs.convert import converted_parameters
from eaglenet_jax.runs.evaluate_split import (
    Evaluation,
    encode_split,
    evaluate_split,
    evaluation_draws,
    score_split,
)
from eaglenet_jax.runs.experiment import Experiment, open_experiment
from eaglenet_jax.runs.initial_parameters import check_shapes
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.runs.workdir import LoadedCheckpoint, converted_note, first_stage_folder, load_checkpoint
from eaglenet_jax.runs.zero_shot import ZeroShot, evaluate_zero_shot, saved_zero_shot
from eaglenet_jax.scoring.both_directions import score_both_ways
from eaglenet_jax.scoring.encoding import encode_all, make_encode_text
from eaglenet_jax.scoring.gallery import ScoringOptions
from eaglenet_jax.scoring.leak import check_leak, leak_report, rows_of_gallery
from eaglenet_jax.training.checkpoints import package_versions
from eaglenet_jax.training.sharding import Devices

NOISE_METRICS = ("R@1", "R@5", "R@10", "R@50", "Rsum", "MdR", "MnR", "MRR", "pointing")


@dataclasses.dataclass(frozen=True)
class EvaluatedStage:
    """A stage of a run, evaluated on one split.

    Attributes:
        result: Its metrics, and what they depend on.
        experiment: Its config, system and data.
        params: Of the checkpoint.
        evaluation: Of the split.
        zero_shot: Ranks of CLIP before training on the same queries; None where it was not measured.
    """

    result: StageResult
    experiment: Experiment
    params: Any
    evaluation: Evaluation
    zero_shot: RetrievalPlacement | None = None


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation.

    Attributes:
        split: By default the validation split, where there is one.
        shuffle_frames: Put the frames of every video in random order.
        step: Of the last stage's checkpoint, instead of the best.
        noise_seeds: R, the last stage is scored with R seeds of its noise.
        zero_shot: Measure CLIP before training as well.
    """

    split: str | None = None
    shuffle_frames: bool = False
    step: int | None = None
    noise_seeds: int = 1
    zero_shot: bool = True


def evaluate_run(
    workdir: Path, options: EvaluationOptions | None = None, *, progress: Progress = no_progress, earlier: bool = True
) -> list[EvaluatedStage]:
    """Evaluate the best checkpoint of a run and those of the first stages inside its work directory.

    Args:
        workdir: Of the run.
        options: Options of an evaluation.
        progress: Called with what is being done, how much of it is done, and how much there is.
        earlier: Evaluate the first stages too.

    Returns:
        The stages, the run itself last.

    Raises:
        UserError: a checkpoint, a split or data are not there.
    """
    workdir, options = Path(workdir), options or EvaluationOptions()
    config = saved_config(workdir)
    experiment = open_experiment(config)
    options = dataclasses.replace(options, split=options.split or default_split(experiment))
    stages = []
    if config.first_stage and earlier:
        first = EvaluationOptions(options.split, options.shuffle_frames, zero_shot=False)
        stages = evaluate_run(first_stage_folder(workdir), first, progress=progress)
    loaded = saved_parameters(experiment, workdir, options.step)
    before = None
    if options.split and options.zero_shot and not options.shuffle_frames:
        before = saved_zero_shot(experiment, loaded, workdir, options.split)
    return [*stages, _evaluated(experiment, loaded, str(workdir), options, progress, before)]


def evaluate_checkpoint(
    config: Any,
    checkpoint: Path,
    options: EvaluationOptions | None = None,
    *,
    source: str | None = None,
    progress: Progress = no_progress,
) -> list[EvaluatedStage]:
    """Evaluate parameters that belong to no work directory; nothing is written.

    Args:
        config: What the parameters belong to.
        checkpoint: A folder of checkpoints of ours or one of them, or, with `source`, a file, folder or hub name that
            `eaglenet_jax.convert` reads.
        options: Options of an evaluation.
        source: The program that wrote the checkpoint.
        progress: As in `evaluate_run`.

    Returns:
        One stage.

    Raises:
        UserError: the checkpoint cannot be read or does not fit the config, or data are not there.
    """
    options = options or EvaluationOptions()
    check_config(config)
    experiment = open_experiment(config)
    path = Path(checkpoint)
    if source is not None:
        if options.step is not None:
            raise UserError("--step goes with checkpoints of ours; a file of another program has none")
        loaded = LoadedCheckpoint(
            folder=path,
            step=0,
            selection=Selection.UNKNOWN,
            selection_note=converted_note(source),
            seed=config.seed,
            converted_from=source,
            fps=None,
            sampling={},
            data_fingerprint=None,
            config=config,
            params=converted_parameters(source, str(checkpoint), config),
        )
    else:
        if not path.is_dir():
            raise UserError(f"--checkpoint={checkpoint}: no folder of checkpoints; files of other programs need --from")
        loaded = saved_parameters(experiment, path, options.step)
    options = dataclasses.replace(options, split=options.split or default_split(experiment))
    return [_evaluated(experiment, loaded, str(checkpoint), options, progress)]


def default_split(experiment: Experiment) -> str:
    """Return "val"; where there is none, warn and return "test"."""
    if "val" in experiment.dataset.manifest["splits"]:
        return "val"
    print("warning: the data have no validation split; this is the test split", file=sys.stderr)
    return "test"


def saved_parameters(experiment: Experiment, source: Path, step: int | None = None) -> LoadedCheckpoint:
    """Load the checkpoint of a step, by default the best, and check it against an experiment.

    source: as of `load_checkpoint`. Prints a warning where the data changed since the checkpoint was trained. Raises
    UserError where the parameters do not fit the experiment's config.
    """
    loaded = load_checkpoint(source, step, experiment.config)
    if loaded.data_fingerprint not in (None, experiment.dataset.fingerprint):
        print(f"warning: {source} was trained on other data than those that are there now", file=sys.stderr)
    expected = experiment.system.shapes()
    check_shapes(expected, loaded.params, f"{source}: the checkpoint of step {loaded.step} is of another config")
    return loaded


def _evaluated(
    experiment: Experiment,
    loaded: LoadedCheckpoint,
    where: str,
    options: EvaluationOptions,
    progress: Progress,
    before: ZeroShot | None = None,
) -> EvaluatedStage:
    """Evaluate a checkpoint. before: what is known of CLIP before training, which else is measured."""
    assert options.split is not None
    split, mesh = options.split, Devices.of_all(experiment.config.sharding.params).mesh
    encoded = encode_split(experiment, loaded.params, split, options.shuffle_frames, mesh, progress)
    seed = experiment.config.evaluation.seed

    def scored(number: int) -> Evaluation:
        videos = encoded
        if number and experiment.system.head.noisy_videos():  # features of other noise
            again = options.shuffle_frames, mesh, progress, seed + number
            videos = encode_split(experiment, loaded.params, split, *again)
        return score_split(experiment, loaded.params, videos, seed=seed + number, mesh=mesh, progress=progress)

    each = map(scored, range(options.noise_seeds))
    evaluation = next(each)
    result = stage_result(experiment, where, {split: evaluation}, loaded, seconds=0.0)
    if options.noise_seeds > 1:
        result = dataclasses.replace(result, noise={split: noise_spread(evaluation, each)})
    if not options.zero_shot:
        return EvaluatedStage(result, experiment, loaded.params, evaluation)
    if before is None:
        before = evaluate_zero_shot(experiment, loaded, [split], options.shuffle_frames, progress)
    result = dataclasses.replace(result, zero_shot=before.as_result())
    return EvaluatedStage(result, experiment, loaded.params, evaluation, before.ranks.get(split))


def noise_spread(first: Evaluation, others: Iterable[Evaluation]) -> dict[str, Any]:
    """Compute mean and standard deviation (n − 1) over seeds of the noise → {"seeds": R, "mean": …, "deviation": …}.

    first: evaluation of the first seed. others: of the further seeds; one at a time is in memory. "same": every seed
    gives the scores of the first one, so the system draws no noise.
    """
    metrics, same = [first.metrics], True
    for evaluation in others:
        metrics.append(evaluation.metrics)
        same = same and np.array_equal(first.scores, evaluation.scores)

    def over(function: Callable[[list[float]], float]) -> dict[str, Any]:
        sides = {
            side: {
                name: function([each[side][name] for each in metrics])
                for name in NOISE_METRICS
                if name in first.metrics[side]
            }
            for side in ("t2v", "v2t")
        }
        return {**sides, "Rsum": function([each["Rsum"] for each in metrics])}

    return {"seeds": len(metrics), "mean": over(statistics.fmean), "deviation": over(statistics.stdev), "same": same}


def stage_result(
    experiment: Experiment, where: str, evaluations: Mapping[str, Evaluation], loaded: LoadedCheckpoint, seconds: float
) -> StageResult:
    """Put together the result of a stage that was evaluated on some splits. where: its work directory."""
    config = experiment.config
    hashes = experiment.dataset.manifest.get("split_hashes", {})
    return StageResult(
        name=config.name,
        system=config.system,
        workdir=where,
        metrics={split: dict(evaluation.metrics) for split, evaluation in evaluations.items()},
        missing={split: list(evaluation.missing) for split, evaluation in evaluations.items()},
        gallery={split: list(evaluation.scores.shape) for split, evaluation in evaluations.items()},
        chance={
            split: with_pointing_chance(
                chance_metrics(evaluation.scores.shape, evaluation.encoded.text_video), evaluation.metrics
            )
            for split, evaluation in evaluations.items()
        },
        best_step=loaded.step,
        selection=loaded.selection,
        selection_note=loaded.selection_note,
        preset=config.preset,
        config_hash=config_hash(config),
        seconds=seconds,
        seed=loaded.seed,
        noise_seed=config.evaluation.seed,
        split_hash={split: hashes[split] for split in evaluations if split in hashes},
        versions=package_versions(),
        claimed=claimed(config.claim),
    )


def save_stage(stage: EvaluatedStage, folder: Path) -> None:
    """Write scores, ids and features of a stage into a folder, see `save_scores`."""
    evaluation = stage.evaluation
    encoded = evaluation.encoded
    texts, videos = encoded.texts, encoded.videos
    saved = SavedScores(
        evaluation.scores,
        encoded.captions.ids,
        encoded.split.video_ids,
        encoded.text_video,
        v2t_scores=None if evaluation.v2t_scores is evaluation.scores else evaluation.v2t_scores,
    )
    # Without word and patch states, which are large and can be encoded again.
    save_scores(
        folder,
        saved,
        texts={"id": texts.id, "pooled": texts.pooled, "mask": texts.mask},
        videos={"id": videos.id, "frames": videos.frames, "mask": videos.mask},
    )


def validation_scores(stage: EvaluatedStage, progress: Progress = no_progress) -> RetrievalScores | None:
    """Score a stage's validation split, None where there is none."""
    encoded = stage.evaluation.encoded
    if encoded.split.name == "val":
        return RetrievalScores(stage.evaluation.scores, encoded.text_video, stage.evaluation.v2t_scores)
    if "val" not in stage.experiment.dataset.manifest["splits"]:
        return None
    evaluation = evaluate_split(stage.experiment, stage.params, "val", encoded.shuffled, progress=progress)
    return RetrievalScores(evaluation.scores, evaluation.encoded.text_video, evaluation.v2t_scores)


QUERY_BANK, BANK_BATCH = 2048, 64  # most training captions of a query bank, and how many are encoded at a time


def query_bank(stage: EvaluatedStage, progress: Progress = no_progress) -> np.ndarray:
    """Score training captions, the first of each of at most QUERY_BANK videos, with the stage's videos → [Nb, Nv]."""
    experiment = stage.experiment
    split = experiment.dataset.split("train")
    size = batch_rows(len(split.video_ids), BANK_BATCH)
    batches = text_batches(split, experiment.tokenizer, batch_size=size, queries="first")
    encode = make_encode_text(experiment.system)
    bank = encode_all(lambda batch: encode(stage.params, batch), itertools.islice(batches, QUERY_BANK // BANK_BATCH))
    return score_both_ways(
        experiment.system.head,
        stage.params["head"],
        bank,
        stage.evaluation.encoded.videos,
        draws=evaluation_draws(experiment),
        options=ScoringOptions(
            memory_budget=experiment.config.evaluation.memory_budget,
            progress=labelled(progress, "scoring the query bank"),
        ),
    ).t2v


LEAK_SIZE = 128  # most captions and videos of a leak check; a leak shows in a few


def check_run_leak(workdir: Path, split: str | None = None, step: int | None = None) -> tuple[str, bool]:
    """Check whether a pair's score depends on the rest of the gallery → (report, whether it does).

    Takes the best checkpoint, or that of `step`, and the first captions and videos of a split. Raises UserError if a
    checkpoint, a split or data are not there.
    """
    config = saved_config(Path(workdir))
    experiment = open_experiment(config)
    params = saved_parameters(experiment, Path(workdir), step).params
    encoded = encode_split(experiment, params, split or default_split(experiment))
    texts, videos = (
        jax.tree.map(lambda leaf: leaf[:LEAK_SIZE], features) for features in (encoded.texts, encoded.videos)
    )
    rows = rows_of_gallery(experiment.system.head, params["head"], texts, videos, draws=evaluation_draws(experiment))
    findings = check_leak(rows, len(texts.id), len(videos.id))
    return leak_report(findings), not all(finding.ok for finding in findings)
