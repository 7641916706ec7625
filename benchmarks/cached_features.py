"""Benchmark of training a head alone on stored features (config.cached_features): seconds an epoch, system by system.

    python -m benchmarks.cached_features [--systems=eaglenet,xpool] [--captions=180000] [--json]
    python -m benchmarks.cached_features --config=demo --captions=10000 --batch=32 --systems=eaglenet,xpool --whole

By default in MSR-VTT's sizes (9,000 videos with 20 captions each, B/16, 12 frames) and in each system's own batch.
Features are random, and one batch is in host memory; reading another from the disk is not timed, its size is printed.
An epoch is the median step times the number of batches. --whole: a step with both encoders in turn with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.measure import interleaved, machine, median
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.config.systems import SYSTEMS
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.plan import optimizer_settings
from eaglenet_jax.system import OnFeatures, System, build_system
from eaglenet_jax.training.optimizer import make_optimizer
from eaglenet_jax.training.step import Trainable, initial_state, make_train_step

SUMMARY = "How long an epoch of a head alone takes on stored features, at the sizes of a dataset."
FEATURES, WHOLE = "features", "whole"


def random_batch(system: System, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw a batch of frames and captions without padding, as `System.encode` reads it."""
    rng, clip = np.random.default_rng(seed), system.clip.config
    tokens = rng.integers(1, clip.vocab_size - 2, (batch, system.max_words), dtype=np.int32)
    tokens[:, -1] = clip.vocab_size - 1
    frames = (batch, system.max_frames, clip.image_size, clip.image_size, 3)
    ids = np.arange(batch, dtype=np.uint32)
    extra = {"text_extra": system.head.text_extra(batch), "video_extra": system.head.video_extra(batch)}
    return {
        "text_id": ids,
        "tokens": tokens,
        "video_id": ids,
        "frames": rng.integers(0, 256, frames, dtype=np.uint8),
        "frame_mask": np.ones(frames[:2], bool),
        **{name: jax.tree.map(np.asarray, values) for name, values in extra.items() if values},
    }


def random_features(system: System, params: Any, frames: Any, seed: int = 0) -> dict[str, Any]:
    """Draw a batch of `OnFeatures` of the form that the encoders give for a batch of frames; a mask is all True."""
    rng = np.random.default_rng(seed)

    def drawn(leaf: Any) -> np.ndarray:
        if np.issubdtype(leaf.dtype, np.bool_):
            return np.ones(leaf.shape, bool)
        return rng.standard_normal(leaf.shape, np.float32).astype(leaf.dtype)

    text, video = jax.eval_shape(system.encode, params, frames)
    batch = OnFeatures.batch(text, video)
    drawn_sides = {side: jax.tree.map(drawn, batch[side]) for side in ("text", "video")}
    given = {name: frames[name] for name in batch.keys() - drawn_sides.keys()}
    return {**given, **drawn_sides}


class _Step:
    """One update a call, in place, from a batch in host memory."""

    def __init__(self, trainable: Trainable, config: Any, params: Any, batch: Any) -> None:
        optimizer = make_optimizer(optimizer_settings(config, trainable.head.unused_parameters()), params, 1000)
        self._state = initial_state(trainable, optimizer, jax.tree.map(jax.numpy.array, params))  # it is donated
        self._step = make_train_step(trainable, optimizer, pairwise_block=config.pairwise_block or None)
        self._batch, self._key = batch, jax.random.key(1)

    def __call__(self) -> None:
        """Run one step."""
        self._state, _ = self._step(self._state, self._batch, self._key)
        jax.block_until_ready(self._state)


def measure_system(name: str, word: str, batch: int, rounds: int, whole: bool) -> dict[str, Any]:
    """Measure a system → batch size, bytes a batch of features, and median seconds of a step by way.

    Args:
        name: Of the config.
        word: The system, as behind the config's colon.
        batch: Batch size; 0 for the config's own.
        rounds: Timed steps.
        whole: Time a step with both encoders, too.
    """
    path, _, argument = name.partition(":")
    config = load_config(f"{path}:{','.join(filter(None, [argument, word]))}", ["--config.cached_features=True"])
    system, size = build_system(config), batch or config.batch_size
    frames = random_batch(system, size)
    params = system.init(jax.random.key(0))
    features = random_features(system, params, frames)
    steps: dict[str, Callable[[], Any]] = {FEATURES: _Step(OnFeatures(system), config, params, features)}
    if whole:
        steps[WHOLE] = _Step(system, load_config(f"{path}:{','.join(filter(None, [argument, word]))}"), params, frames)
    seconds = {way: median(times) for way, times in interleaved(steps, rounds).items()}
    stored = sum(leaf.nbytes for side in ("text", "video") for leaf in jax.tree.leaves(features[side]))
    return {"batch": size, "bytes": stored, "seconds": seconds}


def table(found: dict[str, dict[str, Any]], captions: int) -> str:
    """Format the measurements. captions: of an epoch."""
    lines = [
        f"{'':18}{'batch':>6}{'MB a batch':>12}{'s a step':>10}{'s an epoch':>12}{'with encoders':>15}{'ratio':>7}"
    ]
    for word, row in found.items():
        step, steps = row["seconds"][FEATURES], captions // row["batch"]
        line = f"{word:18}{row['batch']:6}{row['bytes'] / 1e6:12.1f}{step:10.4f}{step * steps:12.1f}"
        if WHOLE in row["seconds"]:
            line += f"{row['seconds'][WHOLE] * steps:15.1f}{row['seconds'][WHOLE] / step:7.1f}"
        lines.append(line)
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = Parser(prog="python -m benchmarks.cached_features", description=SUMMARY)
    parser.add_argument("--config", default="msrvtt:b16", help="sizes, without a system; default %(default)s")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="with commas; default all")
    parser.add_argument("--captions", type=int, default=180_000, help="of an epoch, default %(default)s")
    parser.add_argument("--batch", type=int, default=0, help="default: each system's own")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps, default %(default)s")
    parser.add_argument("--whole", action="store_true", help="time a step with both encoders, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    words = given.systems.split(",")
    if unknown := [word for word in words if word not in SYSTEMS]:
        raise UserError(f"--systems: {unknown[0]!r} is none of {', '.join(SYSTEMS)}")
    if given.captions < 1 or given.rounds < 1 or given.batch < 0:
        raise UserError("--captions and --rounds must be at least 1, --batch at least 0")
    found = {word: measure_system(given.config, word, given.batch, given.rounds, given.whole) for word in words}
    if given.json:
        print(json.dumps({"machine": machine(), "captions": given.captions, "systems": found}, indent=1))
        return
    print(" ".join(f"{name}={value}" for name, value in machine().items()))
    print(table(found, given.captions))


if __name__ == "__main__":
    run_command(main)
