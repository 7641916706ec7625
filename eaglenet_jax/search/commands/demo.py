"""`search demo`: render clips of three events, index them with the shipped model, and find three of the events."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from pathlib import Path

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.model_formats import DEMO_MODEL
from eaglenet_jax.search.commands.query import as_text
from eaglenet_jax.search.html import Found, results_page
from eaglenet_jax.search.index import SearchIndex

SPLIT = "test"  # the model was trained on none of these clips
EVENTS = 3  # of a clip; a query describes one of them
QUERIES = 3


def run(given: argparse.Namespace) -> int:
    """Render, index and find events under --out."""
    if given.clips < QUERIES:
        raise UserError(f"--clips={given.clips}: give {QUERIES} or more")
    from data_prep.moving_shapes.events import Events  # late: nothing else of search needs the renderer
    from data_prep.moving_shapes.render import render

    started = time.monotonic()
    out = Path(given.out)
    clips = out / f"clips_{given.clips}_of_{EVENTS}_events"
    annotations = json.loads(render(clips, splits={SPLIT: given.clips}, events=Events(EVENTS)).read_text())
    index = SearchIndex.create(out / f"index_{given.clips}_of_{EVENTS}_events", DEMO_MODEL)
    index.add(clips / "videos", progress=True)
    sentences = annotations["sentences"][:: len(annotations["sentences"]) // QUERIES][:QUERIES]
    answers = []
    for sentence in sentences:
        moments = index.calibration.judged(index.query(sentence["caption"], top=5, rerank=index.usual_rerank))
        own = [moment for moment in moments if Path(moment.path).stem == sentence["video_id"]]
        place = "not among the first 5"
        if own:
            seen, true = own[0], sentence["interval"]
            place = f"at rank {seen.rank}; seen from {seen.start:.1f} to {seen.end:.1f} s, "
            place += f"described is {true[0]:.1f} to {true[1]:.1f} s"
        print(f"\n{sentence['caption']}\n{as_text(moments)}\n  its own clip, {sentence['video_id']}, is {place}")
        right = clips / "videos" / f"{sentence['video_id']}.mp4"
        answers.append(Found(sentence["caption"], moments, str(right.absolute())))
    page = out / "results.html"
    write_atomically(page, results_page(answers, index.model.is_demo).encode())
    print(f"\n{len(index)} windows indexed and {QUERIES} queries answered in {time.monotonic() - started:.0f} s")
    print("this small model tells direction poorly: a clip of the same event backwards may come before the right one")
    print(f"the results with pictures: {page}")
    print(f"the model: {DEMO_MODEL / 'README.md'}")
    uri = shlex.quote(index.store.uri)
    found = next((each for each in answers if not each.doubtful), answers[0])  # one that the command finds as well
    print(f"next: python -m eaglenet_jax.search query {shlex.quote(found.query)} --index={uri}")
    print(f"or a page: python -m eaglenet_jax.search serve --index={uri}")
    return 0
