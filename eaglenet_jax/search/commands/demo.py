"""`search demo`: render clips, index them with the model that ships with the package, and answer three queries."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.model_formats import DEMO_MODEL
from eaglenet_jax.search.commands.query import as_text
from eaglenet_jax.search.html import results_page
from eaglenet_jax.search.index import SearchIndex

SPLIT = "test"  # the model was trained on none of these clips
QUERIES = 3


def run(given: argparse.Namespace) -> int:
    """Render, index and find clips under --out."""
    if given.clips < QUERIES:
        raise UserError(f"--clips={given.clips}: give {QUERIES} or more")
    from data_prep.moving_shapes.render import render  # late: nothing else of search needs the renderer

    started = time.monotonic()
    out = Path(given.out)
    clips = out / f"clips_{given.clips}"
    annotations = json.loads(render(clips, splits={SPLIT: given.clips}).read_text())
    index = SearchIndex.create(out / f"index_{given.clips}", DEMO_MODEL)
    index.add(clips / "videos", progress=True)
    sentences = annotations["sentences"][:: len(annotations["sentences"]) // QUERIES][:QUERIES]
    answers = []
    for sentence in sentences:
        moments = index.query(sentence["caption"], top=5, rerank=100)
        ranks = [moment.rank for moment in moments if Path(moment.path).stem == sentence["video_id"]]
        place = f"at rank {ranks[0]}" if ranks else "not among the first 5"
        print(f"\n{sentence['caption']}\n{as_text(moments)}\n  its own clip, {sentence['video_id']}, is {place}")
        answers.append((sentence["caption"], moments))
    page = out / "results.html"
    write_atomically(page, results_page(answers).encode())
    print(f"\n{len(index)} windows indexed and {QUERIES} queries answered in {time.monotonic() - started:.0f} s")
    print(f"the results with pictures: {page}")
    print(f"the model: {DEMO_MODEL / 'README.md'}")
    print(f'next: python -m eaglenet_jax.search query "a red circle moves left" --index={index.store.uri}')
    return 0
