"""Benchmark of the limits of moments: events of MovingShapes found in clips of 2 to 6 events and in films of them.

    python -m benchmarks.moments [--clips=40] [--films=4] [--folder=DIR] [--json]

A query is the full caption of one event. R@k at an overlap is the share of queries, in percent, for which one of the
first k results lies in the right file and overlaps the event by at least so much (intersection over union). Compared
are whole windows, windows that overlap merged by their limits alone, and moments, each with and without the head.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from benchmarks.scratch import temporary_folder
from data_prep.moving_shapes.events import Events
from data_prep.moving_shapes.render import Shot, describe, write_video
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.search.index import RERANK, SearchIndex
from eaglenet_jax.search.moments import Moment, merge_overlapping

SUMMARY = "How well the limits of moments fit events in clips and in films."
COUNTS = (2, 3, 4, 5, 6)
FILM_SECONDS = 120.0
FILM_EVENTS = 3  # of the clips that a film is made of
OVERLAPS, DEPTHS = (0.5, 0.7), (1, 5)
SEARCHED = 20  # results that are merged, where windows are merged by their limits


@dataclasses.dataclass(frozen=True)
class Query:
    """A caption and what it describes.

    Attributes:
        text: The caption.
        file: Name of the file.
        start: Seconds.
        end: Seconds.
    """

    text: str
    file: str
    start: float
    end: float


def make_clips(folder: Path, count: int) -> list[Query]:
    """Write `count` clips of each number of events; return one query for each clip."""
    queries = []
    for events in COUNTS:
        content, shots = describe({"test": count}, 0, Events(events))
        for video_id, filmed in shots.items():
            write_video(folder / f"{events}_{video_id}.mp4", filmed)
        first = {sentence["video_id"]: sentence for sentence in reversed(content["sentences"])}
        queries += [
            Query(sentence["caption"], f"{events}_{video_id}.mp4", *sentence["interval"])
            for video_id, sentence in first.items()
        ]
    return queries


def make_films(folder: Path, count: int) -> list[Query]:
    """Write `count` films, clips one after the other in the shape of the first; return one query for each clip."""
    content, shots = describe({"test": count * 60}, 1, Events(FILM_EVENTS))
    first = {sentence["video_id"]: sentence for sentence in reversed(content["sentences"])}
    clips = iter(shots.items())
    queries = []
    for number in range(count):
        film: list[Shot] = []
        length = 0.0
        while length < FILM_SECONDS:
            video_id, filmed = next(clips)
            shape = (film or filmed)[0].clip
            here = [
                dataclasses.replace(
                    shot,
                    clip=dataclasses.replace(shot.clip, width=shape.width, height=shape.height, rate=shape.rate),
                )
                for shot in filmed
            ]
            ends = [length + sum(shot.seconds for shot in here[: k + 1]) for k in range(len(here))]
            event = first[video_id]["events"][0]
            start = ends[event] - here[event].seconds
            queries.append(Query(first[video_id]["caption"], f"film_{number}.mp4", start, ends[event]))
            film += here
            length = ends[-1]
        write_video(folder / f"film_{number}.mp4", film)
    return queries


def overlap(query: Query, moment: Moment) -> float:
    """Return intersection over union of a moment with what is asked for; 0 in another file."""
    if Path(moment.path).name != query.file:
        return 0.0
    shared = min(query.end, moment.end) - max(query.start, moment.start)
    return max(0.0, shared) / (max(query.end, moment.end) - min(query.start, moment.start))


def recalls(index: SearchIndex, queries: Sequence[Query], rerank: int) -> dict[str, dict[str, float]]:
    """Return recalls in percent, by what is returned and then by name."""
    hits: dict[str, dict[str, int]] = {}
    for query in queries:
        windows = index.query(query.text, top=SEARCHED, rerank=rerank, merge=False)
        answers = {
            "windows": windows,
            "merged windows": merge_overlapping(windows),
            "moments": index.query(query.text, top=max(DEPTHS), rerank=rerank),
        }
        for kind, moments in answers.items():
            counted = hits.setdefault(kind, {})
            for depth in DEPTHS:
                best = max((overlap(query, moment) for moment in moments[:depth]), default=0.0)
                for least in OVERLAPS:
                    name = f"R@{depth} at {least}"
                    counted[name] = counted.get(name, 0) + (best >= least)
    return {
        kind: {name: round(100 * count / len(queries), 1) for name, count in counted.items()}
        for kind, counted in hits.items()
    }


def measure(folder: Path, queries: Sequence[Query]) -> dict[str, Any]:
    """Index a folder with the demo's model and return its recalls without and with the head."""
    index = SearchIndex.create(folder / "index", "demo")
    index.add(folder)
    return {
        "queries": len(queries),
        "windows": len(index),
        "mean of frames": recalls(index, queries, 0),
        "head": recalls(index, queries, RERANK),
    }


def as_text(report: dict[str, Any]) -> str:
    """Format the report."""
    lines = [f"{report['machine']}", f"{report['seconds']:.0f} s"]
    for place in ("clips", "films"):
        found = report[place]
        lines.append(f"\n{place}: {found['queries']} queries, {found['windows']} windows, percent")
        for scored in ("mean of frames", "head"):
            for kind, recall in found[scored].items():
                numbers = "   ".join(f"{name} {value:5.1f}" for name, value in recall.items())
                lines.append(f"  {scored:15s} {kind:15s} {numbers}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the report."""
    parser = Parser(prog="python -m benchmarks.moments", description=SUMMARY)
    parser.add_argument("--clips", type=int, default=40, help="clips of each number of events, default %(default)s")
    parser.add_argument("--films", type=int, default=4, help="films of two minutes, default %(default)s")
    parser.add_argument("--folder", type=Path, help="where the videos are made, by default a temporary folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    report: dict[str, Any] = {"machine": machine()}
    with temporary_folder(given.folder) as folder:
        for place, make, count in (("clips", make_clips, given.clips), ("films", make_films, given.films)):
            videos = Path(folder) / place
            videos.mkdir()
            report[place] = measure(videos, make(videos, count))
    report["seconds"] = time.monotonic() - started
    print(json.dumps(report, indent=1) if given.json else as_text(report))


if __name__ == "__main__":
    run_command(main)
