"""Scoring of all texts against all videos of a gallery, block by block on the device.

Texts and videos are prepared once; then one compiled program scores blocks of texts × videos. The last block is filled
up with repeated rows, whose scores are dropped. Of the pairs only the score matrix is kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.progress import Progress, no_progress
from eaglenet_jax.scoring.encoding import make_reduce_video
from eaglenet_jax.scoring.host import min_over_processes, padded_rows, row_count, to_all_devices, to_host

PREPARE_BATCH = 256
# Texts × videos to begin with; an accelerator wants more at a time.
CPU_BLOCK, ACCELERATOR_BLOCK = (32, 32), (256, 512)
CPU_MEMORY_BUDGET = 1 << 30
# On CPU a block's temporaries should stay below the 32 MiB from which the C library gives memory back to the system
# after every call: touching fresh pages costs half as much again as EagleNet's arithmetic.
CPU_AIM = 24 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class GalleryScore:
    """The jitted functions that score with one head. `params` are the head's own.

    On a mesh, rows of texts are spread over all devices, so Bt and batches to prepare must divide by their number;
    prepared texts and videos are whole on every device.

    Attributes:
        prepare_text: (params, TextFeatures) → T, the head's own pytree, example axis first.
        reduce_video: (params, VideoFeatures, draws) → VideoFeatures, what is to be prepared of them.
        prepare_video: (params, VideoFeatures) → V, likewise.
        block: (params, T, V, draws) → similarity [Bt, Bv].
        take_texts: (T, rows) → those rows.
        take_videos: (V, rows) → those rows.
        mesh: The devices, None for one.
        chosen_blocks: Block sizes chosen before, by everything that they depend on.
    """

    prepare_text: Callable[[Any, TextFeatures], Any]
    reduce_video: Callable[[Any, VideoFeatures, Draws], VideoFeatures]
    prepare_video: Callable[[Any, VideoFeatures], Any]
    block: Any  # the jitted function itself, for its lower()
    take_texts: Callable[[Any, np.ndarray], Any]
    take_videos: Callable[[Any, np.ndarray], Any]
    mesh: Mesh | None
    chosen_blocks: dict[Any, tuple[int, int]] = field(default_factory=dict, compare=False)

    @property
    def devices(self) -> int:
        """The number of devices that the texts are spread over."""
        return 1 if self.mesh is None else self.mesh.size


@dataclass(frozen=True)
class ScoringOptions:
    """How a gallery is scored. None of it changes the scores, beyond the tolerance of the head's compute type.

    Attributes:
        block: Texts of a block, per device. None: chosen by `memory_budget`.
        video_block: Videos of a block. None: likewise.
        memory_budget: Bytes per device for the temporaries and scores of a block. None: half of what the device has
            free, 1 GiB on CPU.
        mesh: Devices that the texts are spread over. None: the default device.
        progress: Called after each block with "scoring pairs" and numbers of pairs.
        kernel: "triton" scores with the head's kernel for NVIDIA GPUs, where it has one; "none" without; "auto" with
            it where a GPU has shown it faster, in bfloat16 (docs/scoring.md). "interpret" computes what it does on any
            device, slowly.
    """

    block: int | None = None
    video_block: int | None = None
    memory_budget: int | None = None
    mesh: Mesh | None = None
    progress: Progress = no_progress
    kernel: str = "auto"


@functools.lru_cache(maxsize=16)
def make_score(head: Head, mesh: Mesh | None = None) -> GalleryScore:
    """Make the jitted functions that score with a head.

    Args:
        head: Of the system.
        mesh: Devices that the texts are spread over. None: the default device.

    Returns:
        The functions. The same head and mesh give the same object, so that repeated evaluation compiles once.
    """

    def prepare(method: str) -> Callable[[Any, Any], Any]:
        return lambda params, features: head.apply({"params": params}, features, method=method)

    def score(params: Any, text: Any, video: Any, draws: Draws) -> jax.Array:
        scores: Any = head.apply({"params": params}, text, video, draws, method="score")
        return scores.similarity

    def take(tree: Any, rows: jax.Array) -> Any:
        return jax.tree.map(lambda leaf: leaf[rows], tree)

    prepare_text, prepare_video = prepare("prepare_text"), prepare("prepare_video")
    if mesh is None:
        taken = jax.jit(take)
        prepared = jax.jit(prepare_text), make_reduce_video(head), jax.jit(prepare_video)
        return GalleryScore(*prepared, jax.jit(score), taken, taken, None)
    whole, by_row = PartitionSpec(), PartitionSpec(mesh.axis_names)

    def spread(function: Callable[..., Any], *specs: PartitionSpec) -> Callable[..., Any]:
        # check_vma=False: a head may scan with a carry that starts as plain zeros, which the check would refuse.
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=by_row, check_vma=False)

    def spread_reduction(reduce: Callable[..., Any]) -> Any:
        return jax.jit(spread(reduce, whole, by_row, whole))

    everywhere, over_rows = NamedSharding(mesh, whole), NamedSharding(mesh, by_row)
    return GalleryScore(
        prepare_text=jax.jit(spread(prepare_text, whole, by_row), out_shardings=everywhere),
        reduce_video=make_reduce_video(head, spread_reduction),
        prepare_video=jax.jit(spread(prepare_video, whole, by_row), out_shardings=everywhere),
        block=jax.jit(spread(score, whole, by_row, whole, whole)),
        take_texts=jax.jit(take, out_shardings=over_rows),
        take_videos=jax.jit(take, out_shardings=everywhere),
        mesh=mesh,
    )


def score_gallery(
    head: Head,
    head_params: Any,
    texts: TextFeatures,
    videos: VideoFeatures,
    *,
    draws: Draws,
    options: ScoringOptions | None = None,
) -> np.ndarray:
    """Score every text with every video.

    Block sizes that are not given are chosen so that the temporaries and scores of a block fit the memory budget, and
    on CPU 24 MiB if they can, by the compiler's own memory analysis. Scores do not depend on the blocks or devices, to
    float tolerance (the sums of a matrix product may be ordered differently).

    Args:
        head: Of the system.
        head_params: Parameters of the head.
        texts: Features [Nt, ...] of any number of texts.
        videos: Features [Nv, ...] of any number of videos.
        draws: Evaluation noise, which belongs to the texts (or pairs) and not to their places in the gallery.
        options: Blocks, memory, devices and progress; by default one device and blocks that fit it.

    Returns:
        Similarities [Nt, Nv], higher is better, in the dtype of the head's similarity.

    Raises:
        UserError: If there is nothing to score, if one pair alone does not fit the memory budget, or if the kernel of
            the options cannot be used.
    """
    options = options or ScoringOptions()
    block, video_block, mesh = options.block, options.video_block, options.mesh
    counts = row_count(texts), row_count(videos)
    if 0 in counts:
        raise UserError(f"nothing to score: {counts[0]} texts and {counts[1]} videos")
    if any(size is not None and size < 1 for size in (block, video_block)):
        raise UserError(f"block={block}, video_block={video_block}: a block holds at least one text and one video")
    score = make_score(head.with_scoring_kernel(options.kernel), mesh)
    if mesh is not None:
        head_params, draws = to_all_devices((head_params, draws), mesh)
    prepared_texts = prepare_all(score.prepare_text, head_params, texts, devices=score.devices)
    prepared_videos = prepare_videos(score, head_params, videos, draws)

    def texts_at(start: int, rows: int) -> Any:
        return score.take_texts(prepared_texts, padded_rows(start, rows * score.devices, counts[0]))

    def videos_at(start: int, columns: int) -> Any:
        return score.take_videos(prepared_videos, padded_rows(start, columns, counts[1]))

    def needed_bytes(size: tuple[int, int]) -> int:
        return temporary_bytes(score.block.lower(head_params, texts_at(0, size[0]), videos_at(0, size[1]), draws))

    per_device = -(-counts[0] // score.devices)
    if jax.default_backend() == "cpu":  # blocks are small, and one program serves galleries of all sizes
        size = block or min(CPU_BLOCK[0], per_device), video_block or min(CPU_BLOCK[1], counts[1])
    else:
        rows, columns = even_part(per_device, ACCELERATOR_BLOCK[0]), even_part(counts[1], ACCELERATOR_BLOCK[1])
        size = block or rows, video_block or columns
    if block is None or video_block is None:
        budget = options.memory_budget
        if budget is None:
            budget = min_over_processes(default_memory_budget())
        leaves = [(leaf.shape[1:], leaf.dtype) for leaf in jax.tree.leaves((prepared_texts, prepared_videos))]
        case = (size, block, video_block, budget, tuple(leaves), jax.tree.structure(draws))
        if case not in score.chosen_blocks:
            free = block is None, video_block is None
            score.chosen_blocks[case] = chosen_block(size, free, needed_bytes, budget)
        size = score.chosen_blocks[case]

    def strip(start: int) -> Callable[[int], jax.Array]:
        """A function that scores one strip of videos with the block of texts that starts at a row."""
        taken = videos_at(start, size[1])
        return lambda row: score.block(head_params, texts_at(row, size[0]), taken, draws)

    dtype = jax.eval_shape(score.block, head_params, texts_at(0, size[0]), videos_at(0, size[1]), draws).dtype
    return _score_blocks(strip, counts, (size[0] * score.devices, size[1]), dtype, options.progress)


def prepare_videos(score: GalleryScore, params: Any, videos: Any, draws: Draws) -> Any:
    """Reduce and prepare all videos in batches, as `prepare_all`; what is reduced already stays as it is."""

    def prepare(params: Any, features: Any) -> Any:
        return score.prepare_video(params, score.reduce_video(params, features, draws))

    return prepare_all(prepare, params, videos, devices=score.devices)


def prepare_all(
    prepare: Callable[[Any, Any], Any], params: Any, features: Any, *, devices: int = 1, batch: int = PREPARE_BATCH
) -> Any:
    """Prepare all examples in batches of one size. The last batch is filled up, so there may be more rows."""
    features = to_host(features)
    count = row_count(features)
    batch = -(-min(batch, count) // devices) * devices
    parts = []
    for start in range(0, count, batch):
        rows = padded_rows(start, batch, count)
        parts.append(prepare(params, jax.tree.map(lambda leaf, rows=rows: leaf[rows], features)))
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def even_part(count: int, largest: int) -> int:
    """Return the rows of a block so that the fewest blocks of at most `largest` rows hold `count`, evenly filled."""
    return -(-count // -(-count // largest))


def temporary_bytes(lowered: Any) -> int:
    """Return the bytes that a program needs besides its arguments, by the compiler's memory analysis."""
    memory = lowered.compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


def chosen_block(
    size: tuple[int, int],
    free: tuple[bool, bool],
    needed_bytes: Callable[[tuple[int, int]], int],
    memory_budget: int | None = None,
) -> tuple[int, int]:
    """Choose a block by `fitting_block` for a budget, by default the device's; on CPU the aim is `CPU_AIM`."""
    budget = default_memory_budget() if memory_budget is None else memory_budget
    aim = min(budget, CPU_AIM) if jax.default_backend() == "cpu" else budget
    return fitting_block(size, free, needed_bytes, budget, aim)


def fitting_block(
    size: tuple[int, int],
    free: tuple[bool, bool],
    needed_bytes: Callable[[tuple[int, int]], int],
    budget: int,
    aim: int | None = None,
) -> tuple[int, int]:
    """Halve a block until its temporaries fit.

    Args:
        size: Block to start with, (texts, videos).
        free: Which of the two may become smaller.
        needed_bytes: needed_bytes(size) → bytes of temporaries and scores.
        budget: Bytes that a block must not exceed.
        aim: Bytes that it should not exceed; by default the budget.

    Returns:
        The first size that fits the aim; where none does, the smallest.

    Raises:
        UserError: If the smallest size exceeds the budget.
    """
    aim = budget if aim is None else aim
    while (needed := needed_bytes(size)) > aim:
        texts, videos = size
        fitting_pairs = texts * videos * aim / needed  # memory is close to proportional; the next round checks
        while texts * videos > fitting_pairs:
            # Prefer few texts: what belongs to a text alone, such as its noise, is computed again for every block.
            if free[0] and texts > 1 and (4 * texts >= videos or not free[1] or videos == 1):
                texts = -(-texts // 2)
            elif free[1] and videos > 1:
                videos = -(-videos // 2)
            else:
                break
        if (texts, videos) == size:
            if needed <= budget:
                return size
            raise UserError(
                f"a block of {texts} texts × {videos} videos needs {needed:,} bytes, more than the memory budget of "
                f"{budget:,}: give a larger budget or a smaller block"
            )
        size = texts, videos
    return size


def default_memory_budget() -> int:
    """Return half of the free memory of this process's first device, in bytes; 1 GiB where it is unknown."""
    stats = jax.local_devices()[0].memory_stats()
    if not stats or "bytes_limit" not in stats:
        return CPU_MEMORY_BUDGET
    return (stats["bytes_limit"] - stats["bytes_in_use"]) // 2


def _score_blocks(
    strip: Callable[[int], Callable[[int], jax.Array]],
    counts: tuple[int, int],
    step: tuple[int, int],
    dtype: Any,
    progress: Progress,
) -> np.ndarray:
    """Collect the scores [Nt, Nv] of all blocks. One is computed while the one before is copied to the host."""

    def blocks() -> Iterator[tuple[int, int, jax.Array]]:
        for column in range(0, counts[1], step[1]):
            block_at = strip(column)
            yield from ((row, column, block_at(row)) for row in range(0, counts[0], step[0]))

    scores, done = np.empty(counts, dtype), 0
    for row, column, result in _one_ahead(blocks()):
        target = scores[row : row + step[0], column : column + step[1]]
        target[:] = to_host(result)[: target.shape[0], : target.shape[1]]
        done += target.size
        progress("scoring pairs", done, scores.size)
    return scores


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items in order, each after the next was requested. There is at least one."""
    current = next(items)
    for following in items:
        yield current
        current = following
    yield current
