"""Decoding on Apache Beam, for millions of videos: every worker writes records into one cache that all of them see."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.annotations import VideoEntry
from data_prep.cache import FrameSettings, decode_into, record_path
from eaglenet_jax.errors import UserError

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
    """As `fill_cache`, on the runner that `options` names, such as "--runner=FlinkRunner --flink_master=HOST:8081".

    The videos and `cache_dir` have to be at the same path on every worker, as on a shared file system, and this package
    installed there. How many workers there are and what is shown meanwhile is the runner's affair: `workers` and
    `progress` are not used. UserError where Apache Beam is not installed.
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
    told = cache_dir / FAILURES
    task = functools.partial(_failure, cache_dir=cache_dir, settings=settings)
    with apache_beam.Pipeline(options=PipelineOptions(shlex.split(options))) as pipeline:
        (
            pipeline
            | "Videos" >> apache_beam.Create(jobs)
            | "Spread" >> apache_beam.Reshuffle()
            | "Decode" >> apache_beam.FlatMap(task)
            | "Tell" >> apache_beam.io.WriteToText(str(told), num_shards=1, shard_name_template="")
        )
    lines = told.read_text(encoding="utf-8").splitlines()
    told.unlink()
    return failures | dict(json.loads(line) for line in lines)


def _failure(entry: VideoEntry, cache_dir: Path, settings: FrameSettings) -> Iterator[str]:
    """Decodes one video; (id, reason) as JSON if that fails."""
    video_id, reason = decode_into(entry, cache_dir, settings)
    if reason is not None:
        yield json.dumps([video_id, reason])
