"""Checkpoints evaluated: of a work directory with the runs that it started from, or of a config and a file."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eaglenet_jax.configuration import as_plain, config_hash, saved_config
from eaglenet_jax.conversion import converted_parameters
from eaglenet_jax.data.pipeline import text_batches
from eaglenet_jax.errors import UserError
from eaglenet_jax.evaluation import (
    Evaluation,
    Told,
    encode_split,
    evaluate_split,
    evaluation_draws,
    score_split,
    silent,
)
from eaglenet_jax.experiment import Experiment, open_experiment
from eaglenet_jax.initial_parameters import CHECKPOINTS, CONFIG_FILE, PRETRAIN, check_shapes
from eaglenet_jax.results import StageResult
from eaglenet_jax.retrieval.encoding import encode_all, make_encode_text
from eaglenet_jax.retrieval.leak import check_leak, leak_report, rows_of_gallery
from eaglenet_jax.retrieval.saved_scores import save_scores
from eaglenet_jax.retrieval.two_stages import score_both_ways
from eaglenet_jax.training.checkpoints import Checkpoints, package_versions
from eaglenet_jax.training.sharding import Devices
from eaglenet_jax.zero_shot import zero_shot_clip

NOISE_METRICS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "MRR")


@dataclasses.dataclass(frozen=True)
class EvaluatedStage:
    """A stage of a run with what was made of it on one split. params: of the checkpoint."""

    result: StageResult
    experiment: Experiment
    params: Any
    evaluation: Evaluation


def evaluate_run(
    workdir: Path,
    split: str | None = None,
    *,
    shuffle_frames: bool = False,
    step: int | None = None,
    noise_seeds: int = 1,
    told: Told = silent,
) -> list[EvaluatedStage]:
    """Evaluates the best checkpoints of a run and of the runs it started from, anew, earlier stages first.

    split: by default the one that a config chooses its best checkpoint on. step: of the last stage's checkpoint,
    instead of the best. noise_seeds: R, the last stage is scored with R seeds of its noise. Raises UserError for what
    is not there.
    """
    workdir = Path(workdir)
    config = saved_config(workdir / CONFIG_FILE)
    split = split or "val"
    stages = []
    if config.pretrain:
        stages = evaluate_run(workdir / PRETRAIN, split, shuffle_frames=shuffle_frames, told=told)
    experiment = open_experiment(config)
    params, step = saved_parameters(experiment, workdir / CHECKPOINTS, step)
    stage = _evaluated(experiment, params, split, str(workdir), step, shuffle_frames, noise_seeds, told)
    return [*stages, stage]


def evaluate_checkpoint(
    config: Any,
    checkpoint: Path,
    split: str | None = None,
    *,
    source: str | None = None,
    shuffle_frames: bool = False,
    noise_seeds: int = 1,
    told: Told = silent,
) -> list[EvaluatedStage]:
    """Evaluates parameters that belong to no work directory, as `evaluate_run` does; nothing is written.

    checkpoint: a folder of checkpoints of ours or one of them, or, with `source`, a file, folder or hub name that
    `eaglenet_jax.convert` reads. Raises UserError if it cannot be read or does not fit the config.
    """
    experiment = open_experiment(config)
    path, step = Path(checkpoint), None
    if source is not None:
        params, step = converted_parameters(source, str(checkpoint), config), 0
    else:
        path = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
        if path.name.isdigit() and path.is_dir():
            path, step = path.parent, int(path.name)
        if not path.is_dir():
            raise UserError(f"--checkpoint={checkpoint}: no folder of checkpoints; files of other programs need --from")
        params, step = saved_parameters(experiment, path, step)
    stage = _evaluated(experiment, params, split or "val", str(checkpoint), step, shuffle_frames, noise_seeds, told)
    return [stage]


def saved_parameters(experiment: Experiment, folder: Path, step: int | None) -> tuple[Any, int]:
    """Parameters of the checkpoint of a step, by default the best, checked against the config, and its step."""
    with Checkpoints(folder) as saves:
        step = saves.best() if step is None else step
        averaged = bool(experiment.config.ema_decay)
        params = saves.restore_params("best" if step is None else step, averaged)
        assert step is not None  # else there was nothing to restore
        if saves.metadata(step).get("data_fingerprint") not in (None, experiment.dataset.fingerprint):
            print(f"warning: {folder} was trained on other data than those that are there now", file=sys.stderr)
    expected = jax.eval_shape(experiment.system.init, jax.random.key(0))
    check_shapes(expected, params, f"{folder}: the checkpoint of step {step} is of another config")
    return params, step


def _evaluated(
    experiment: Experiment,
    params: Any,
    split: str,
    where: str,
    step: int,
    shuffle_frames: bool,
    noise_seeds: int,
    told: Told,
) -> EvaluatedStage:
    mesh = Devices.of_all(experiment.config.sharding.params).mesh
    encoded = encode_split(experiment, params, split, shuffle_frames, mesh, told)
    seed = experiment.config.evaluation.seed
    evaluations = [
        score_split(experiment, params, encoded, seed=seed + number, mesh=mesh, told=told)
        for number in range(noise_seeds)
    ]
    result = stage_result(experiment, where, {split: evaluations[0]}, step, seconds=0.0)
    noise = {split: noise_spread(evaluations)} if noise_seeds > 1 else {}
    result = dataclasses.replace(result, noise=noise, zero_shot=zero_shot_metrics(experiment, [split], told))
    return EvaluatedStage(result, experiment, params, evaluations[0])


def zero_shot_metrics(experiment: Experiment, splits: Sequence[str], told: Told = silent) -> dict[str, Any]:
    """{"name": …, split: metrics} of CLIP before any training; empty, with a warning, where it cannot be had."""
    try:
        name, before, params = zero_shot_clip(experiment)
    except UserError as error:
        if jax.process_index() == 0:
            print(f"warning: no zero-shot row: {error}", file=sys.stderr)
        return {}
    mesh = Devices.of_all(experiment.config.sharding.params).mesh
    metrics = {split: dict(evaluate_split(before, params, split, mesh=mesh, told=told).metrics) for split in splits}
    return {"name": name, **metrics}


def noise_spread(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Mean and standard deviation (n − 1) of metrics over seeds of the noise: {"seeds": R, "mean": …, "deviation": …}.

    "same": the scores are those of the first seed for every seed, so the system draws nothing.
    """

    def over(function: Any) -> dict[str, Any]:
        sides = {
            side: {name: function([each.metrics[side][name] for each in evaluations]) for name in NOISE_METRICS}
            for side in ("t2v", "v2t")
        }
        return {**sides, "Rsum": function([each.metrics["Rsum"] for each in evaluations])}

    same = all(np.array_equal(evaluations[0].scores, each.scores) for each in evaluations[1:])
    return {
        "seeds": len(evaluations),
        "mean": over(statistics.fmean),
        "deviation": over(statistics.stdev),
        "same": same,
    }


def stage_result(
    experiment: Experiment, where: str, evaluations: Mapping[str, Evaluation], best_step: int, seconds: float
) -> StageResult:
    """The result of a stage whose checkpoint of `best_step` was evaluated on some splits. where: its work directory."""
    config = experiment.config
    hashes = experiment.dataset.manifest.get("split_hashes", {})
    return StageResult(
        name=config.name,
        system=config.system,
        workdir=where,
        metrics={split: dict(evaluation.metrics) for split, evaluation in evaluations.items()},
        missing={split: list(evaluation.missing) for split, evaluation in evaluations.items()},
        gallery={split: list(evaluation.scores.shape) for split, evaluation in evaluations.items()},
        best_step=best_step,
        selection=config.selection,
        preset=config.preset,
        config_hash=config_hash(config),
        seconds=seconds,
        seed=config.seed,
        noise_seed=config.evaluation.seed,
        split_hash={split: hashes[split] for split in evaluations if split in hashes},
        versions=package_versions(),
        claimed=as_plain(config.claimed),
    )


def save_stage(stage: EvaluatedStage, folder: Path) -> None:
    """Writes scores, ids and features of a stage into a folder, see `save_scores`."""
    encoded = stage.evaluation.encoded
    save_scores(
        folder,
        stage.evaluation.scores,
        encoded.captions.ids,
        encoded.split.video_ids,
        encoded.text_video,
        texts=encoded.texts,
        videos=encoded.videos,
    )


def scores_of(stage: EvaluatedStage, split: str, told: Told = silent) -> tuple[np.ndarray, np.ndarray]:
    """(scores [Nt, Nv], text_video [Nt]) of a stage's checkpoint on another split, as its validation split."""
    if split == stage.evaluation.encoded.split.name:
        return stage.evaluation.scores, stage.evaluation.encoded.text_video
    evaluation = evaluate_split(stage.experiment, stage.params, split, told=told)
    return evaluation.scores, evaluation.encoded.text_video


QUERY_BANK, BANK_BATCH = 2048, 64  # most training captions of a query bank, and how many are encoded at a time


def query_bank(stage: EvaluatedStage, told: Told = silent) -> np.ndarray:
    """Scores [Nb, Nv] of training captions, the first of each of at most QUERY_BANK videos, with the stage's videos."""
    experiment = stage.experiment
    batches = text_batches(
        experiment.dataset.split("train"), experiment.tokenizer, batch_size=BANK_BATCH, queries="first"
    )
    encode = make_encode_text(experiment.system)
    bank = encode_all(lambda batch: encode(stage.params, batch), itertools.islice(batches, QUERY_BANK // BANK_BATCH))
    return score_both_ways(
        experiment.system.head,
        stage.params["head"],
        bank,
        stage.evaluation.encoded.videos,
        draws=evaluation_draws(experiment),
        memory_budget=experiment.config.evaluation.memory_budget,
        progress=lambda done, total: told("scoring the query bank", done, total),
    ).t2v


LEAK_SIZE = 128  # most captions and videos of a leak check; a leak shows in a few


def check_run_leak(workdir: Path, split: str | None = None, step: int | None = None) -> tuple[str, bool]:
    """Whether a run's system scores a pair by what else is in the gallery → (report, whether it does).

    The best checkpoint, or that of `step`, on the first captions and videos of a split. Raises UserError for what is
    not there.
    """
    config = saved_config(Path(workdir) / CONFIG_FILE)
    experiment = open_experiment(config)
    params, _ = saved_parameters(experiment, Path(workdir) / CHECKPOINTS, step)
    encoded = encode_split(experiment, params, split or "val")
    texts, videos = (
        jax.tree.map(lambda leaf: leaf[:LEAK_SIZE], features) for features in (encoded.texts, encoded.videos)
    )
    rows = rows_of_gallery(experiment.system.head, params["head"], texts, videos, draws=evaluation_draws(experiment))
    findings = check_leak(rows, len(texts.id), len(videos.id))
    return leak_report(findings), not all(finding.ok for finding in findings)
