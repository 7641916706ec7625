"""Benchmark of reading training batches from frame shards, by worker processes, compared with PIL and a training step.

    python -m benchmarks.input [--json] [--clip=tiny|b32|b16] [--prepared=DIR] [--batch=8 --frames=12 …]

Read are shuffled training batches of uint8 frames. PIL decodes the same kind of frames one after the other in this
process, from JPEG bytes that are in memory already. All ways take turns in every round, and medians are compared.
Without --prepared a temporary folder of MovingShapes clips is rendered, at 224 px and at the image size of the CLIP.
The step is timed alone: on the CPU, workers would share the cores with it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from benchmarks.measure import interleaved, machine, median
from benchmarks.train_step_ours import CLIPS, OurStep, StepSizes, measured_system, random_batch
from data_prep.demo import DemoData, ensure_moving_shapes
from eaglenet_jax.clip.vision import PIXEL_MEAN, PIXEL_STD, normalised_pixels
from eaglenet_jax.command import Parser, run_command, whole_numbers
from eaglenet_jax.data.frame_sampling import pick_frames
from eaglenet_jax.data.pipeline import batches, train_dataset
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.data.tokenizer import Tokenizer
from eaglenet_jax.errors import UserError

SUMMARY = "How fast frame shards become training batches, against PIL and against what a training step consumes."
CLIP_SIZE = 224
MADE_CLIPS = 48
MADE_FPS = 6.0  # MovingShapes clips last 2 to 4 seconds: 12 frames or more
PIL = "PIL, one process"
BATCHES_WARM = 6


@dataclasses.dataclass(frozen=True)
class Reading:
    """Data to read: a prepared folder, B clips a batch, M frames a clip; `batches` of them a round."""

    folder: Path
    batch: int = 8
    frames: int = 12
    batches: int = 100


def read_speeds(reading: Reading, workers: Sequence[int], rounds: int) -> dict[str, Any]:
    """Measure frames/s and clips/s of the pipeline by number of workers, and of PIL. Padding is not counted."""
    dataset = PreparedDataset.open(reading.folder)
    split = dataset.split("train")
    source = train_dataset(split, Tokenizer(), batch_size=reading.batch, max_frames=reading.frames, seed=0)
    pil = _PilDecoding(reading)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in (PIL, *map(str, workers))}
    for _ in range(rounds):
        measured[PIL].append(pil())
        for count in workers:
            measured[str(count)].append(_read(source, count, reading.batches))
    frames = {name: median([found[0] for found in rows]) for name, rows in measured.items()}
    rows = [
        {
            "workers": count,
            "frames_per_second": frames[str(count)],
            "clips_per_second": median([found[1] for found in measured[str(count)]]),
            "times_pil": frames[str(count)] / frames[PIL],
        }
        for count in workers
    ]
    return {"size": dataset.size, "pil_frames_per_second": frames[PIL], "pipeline": rows}


def _read(source: Any, workers: int, count: int) -> tuple[float, float]:
    """Measure frames/s and clips/s after the first batches, which wait for workers to start or were read ahead."""
    with contextlib.closing(batches(source, stop=BATCHES_WARM + count, workers=workers)) as stream:
        for _ in range(BATCHES_WARM):
            next(stream)
        start = time.perf_counter()
        frames, clips = np.sum([(batch["frame_mask"].sum(), len(batch["frames"])) for batch in stream], axis=0)
        seconds = time.perf_counter() - start
    return float(frames / seconds), float(clips / seconds)


class _PilDecoding:
    """Decode the frames of the first clips one by one; return frames and clips a second."""

    def __init__(self, reading: Reading) -> None:
        records = tfds.builder_from_directory(reading.folder / "shards").as_data_source("train")
        clips = range(min(len(records), reading.batch * reading.batches))
        stored = (records[clip]["frames"] for clip in clips)
        self.clips = [[frames[i] for i in pick_frames(len(frames), reading.frames)] for frames in stored]

    def __call__(self) -> tuple[float, float]:
        start = time.perf_counter()
        for clip in self.clips:
            for jpeg in clip:
                np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        seconds = time.perf_counter() - start
        return sum(map(len, self.clips)) / seconds, len(self.clips) / seconds


def to_device(batch: int, frames: int, size: int, rounds: int) -> dict[str, float]:
    """Measure seconds from uint8 frames on the host to normalised frames on the device, both ways."""
    shape = (batch, frames, size, size, 3)
    pixels, mask = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), np.ones(shape[:2], bool)
    normalise = jax.jit(lambda pixels: normalised_pixels(pixels, jnp.asarray(mask), "float32"))
    mean, deviation = np.array(PIXEL_MEAN, np.float32), np.array(PIXEL_STD, np.float32)
    ways: dict[str, Callable[[], Any]] = {
        "uint8": lambda: jax.block_until_ready(normalise(jax.device_put(pixels))),
        "float32": lambda: jax.block_until_ready(jax.device_put((pixels.astype(np.float32) / 255 - mean) / deviation)),
    }
    seconds = {name: median(times) for name, times in interleaved(ways, rounds).items()}
    return {
        "uint8_seconds": seconds["uint8"],
        "float32_seconds": seconds["float32"],
        "times_faster": seconds["float32"] / seconds["uint8"],
        "uint8_megabytes": pixels.nbytes / 1e6,
        "float32_megabytes": 4 * pixels.nbytes / 1e6,
    }


def consumption(sizes: StepSizes, steps: int) -> dict[str, Any]:
    """Measure frames/s and clips/s that the whole training step consumes; also return its image size."""
    measured = measured_system(sizes)
    batch = random_batch(sizes, measured.clip, measured.system.max_words)
    step = OurStep(measured.system, measured.params, measured.settings, batch)
    seconds = median(interleaved({"step": step}, steps)["step"])
    return {
        "clip": sizes.clip,
        "size": measured.clip.image_size,
        "seconds": seconds,
        "frames_per_second": sizes.batch * sizes.frames / seconds,
        "clips_per_second": sizes.batch / seconds,
    }


@contextlib.contextmanager
def _folders(prepared: Path | None, size: int) -> Iterator[list[Path]]:
    """Yield the given folder, or folders of MovingShapes at 224 px and at `size`, deleted afterwards."""
    if prepared is not None:
        yield [prepared]
        return
    with tempfile.TemporaryDirectory() as root:
        yield [
            ensure_moving_shapes(
                DemoData(Path(root), splits={"train": MADE_CLIPS}, fps=MADE_FPS, size=side), progress=False
            )
            for side in dict.fromkeys((CLIP_SIZE, size))
        ]


def table(result: dict[str, Any]) -> str:
    """Format the measurements."""
    lines = []
    for read in result["read"]:
        lines.append(f"{read['size']} px{'':20}{'frames/s':>10}{'clips/s':>10}{'× PIL':>8}{'× step':>8}")
        lines.append(f"  {PIL:24}{read['pil_frames_per_second']:10.0f}")
        for row in read["pipeline"]:
            times = f"{row['times_step']:8.1f}" if row["times_step"] is not None else f"{'–':>8}"
            speeds = f"{row['frames_per_second']:10.0f}{row['clips_per_second']:10.1f}{row['times_pil']:8.1f}"
            lines.append(f"  pipeline, {row['workers']} workers{'':5}{speeds}{times}")
    step, moved = result["step"], result["to_device"]
    lines.append(
        f"the step with CLIP {step['clip']} takes {step['frames_per_second']:.0f} frames/s of {step['size']} px, "
        f"{step['clips_per_second']:.1f} clips/s"
    )
    lines.append(
        f"to the device: as uint8, normalised there, {1e3 * moved['uint8_seconds']:.1f} ms "
        f"({moved['uint8_megabytes']:.0f} MB); as float32 from the host {1e3 * moved['float32_seconds']:.1f} ms "
        f"({moved['float32_megabytes']:.0f} MB): {moved['times_faster']:.1f} times faster"
    )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Parse the command line."""
    found = Parser(prog="python -m benchmarks.input", description=SUMMARY)
    found.add_argument(
        "--prepared", type=Path, help="a prepared folder to read; default: MovingShapes, rendered for this"
    )
    found.add_argument(
        "--workers", default="0,1,2", type=whole_numbers, help="numbers of worker processes, default %(default)s"
    )
    found.add_argument("--clip", choices=list(CLIPS), default="tiny", help="of the step; tiny: the demo's")
    found.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="compute type of the step")
    found.add_argument("--batch", type=int, default=8, help="default %(default)s")
    found.add_argument("--frames", type=int, default=12, help="default %(default)s")
    found.add_argument("--batches", type=int, default=100, help="batches read in a round, default %(default)s")
    found.add_argument("--rounds", type=int, default=3, help="of reading, default %(default)s")
    found.add_argument("--steps", type=int, default=3, help="training steps that are timed, default %(default)s")
    found.add_argument("--json", action="store_true", help="print one JSON object")
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    given = parser().parse_args(arguments)
    if min(given.batch, given.frames, given.batches, given.rounds, given.steps) < 1:
        raise UserError("--batch, --frames, --batches, --rounds and --steps must be at least 1")
    result: dict[str, Any] = {"machine": machine(), "batch": given.batch, "frames": given.frames}
    step = consumption(StepSizes(given.clip, given.batch, given.frames, given.dtype), given.steps)
    with _folders(given.prepared, step["size"]) as folders:
        result["read"] = [
            read_speeds(Reading(folder, given.batch, given.frames, given.batches), given.workers, given.rounds)
            for folder in folders
        ]
    for read in result["read"]:
        for row in read["pipeline"]:  # frames of another size than the step's say nothing about it
            fits = read["size"] == step["size"]
            row["times_step"] = row["clips_per_second"] / step["clips_per_second"] if fits else None
    result["step"] = step
    result["to_device"] = to_device(given.batch, given.frames, step["size"], given.rounds)
    print(json.dumps(result, indent=1) if given.json else table(result))


if __name__ == "__main__":
    run_command(main)
