"""Decoding on Apache Beam, for millions of videos: all workers write records into one shared cache."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.annotations import VideoEntry
from data_prep.cache import FrameSettings, decode_into, record_path
from eaglenet_jax.errors import UserError, first_line

FAILURES = "failures.jsonl"


def fill_cache_on_beam(
    entries: Sequence[VideoEntry],
    cache_dir: Path,
    settings: FrameSettings,
    *,
    options: str,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, str]:
    """Do the same as `fill_cache`, on a Beam runner.

    The videos and `cache_dir` must be at the same path on every worker, as on a shared file system, and this package
    must be installed there.

    Args:
        entries: The videos.
        cache_dir: Folder of the cache.
        settings: Stored frames.
        options: Beam options, such as "--runner=FlinkRunner --flink_master=HOST:8081".
        workers: Not used; the runner decides.
        progress: Not used; the runner decides.

    Raises:
        UserError: Apache Beam is not installed, or the runner cannot run the job.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError("decoding on Beam needs Apache Beam: pip install 'eaglenet_jax[beam]'") from error
    failures = {entry.video_id: f"no file at {entry.path}" for entry in entries if not entry.path.is_file()}
    present = [entry for entry in entries if entry.video_id not in failures]
    jobs = [entry for entry in present if not record_path(cache_dir, entry, settings).exists()]
    if not jobs:
        return failures
    cache_dir.mkdir(parents=True, exist_ok=True)
    failures_file = cache_dir / FAILURES
    task = functools.partial(_failure, cache_dir=cache_dir, settings=settings)
    try:
        with apache_beam.Pipeline(options=PipelineOptions(shlex.split(options))) as pipeline:
            (
                pipeline
                | "Videos" >> apache_beam.Create(jobs)
                | "Spread" >> apache_beam.Reshuffle()
                | "Decode" >> apache_beam.FlatMap(task)
                | "Report" >> apache_beam.io.WriteToText(str(failures_file), num_shards=1, shard_name_template="")
            )
    except Exception as error:  # every runner raises what it likes: no such runner, no cluster there, no Java here
        reason = first_line(error)
        raise UserError(
            f"--beam={options!r}: the runner ended with: {reason.rstrip('.')}. Check its options and its cluster; "
            "the same command continues, since what is decoded stays in the cache"
        ) from error
    lines = failures_file.read_text(encoding="utf-8").splitlines()
    failures_file.unlink()
    return failures | dict(json.loads(line) for line in lines)


def _failure(entry: VideoEntry, cache_dir: Path, settings: FrameSettings) -> Iterator[str]:
    """Decode one video; yield (id, reason) as JSON if that fails."""
    video_id, reason = decode_into(entry, cache_dir, settings)
    if reason is not None:
        yield json.dumps([video_id, reason])
