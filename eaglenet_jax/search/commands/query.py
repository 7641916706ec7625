"""`search query`: find moments by sentences, a picture or a video; print text or JSON, or write a page."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.errors import UserError, first_line
from eaglenet_jax.search.confidence import WEAK
from eaglenet_jax.search.html import Found, clock, results_page
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.model import DEMO_ONLY
from eaglenet_jax.search.moments import Moment
from eaglenet_jax.wording import counted


def run(given: argparse.Namespace) -> int:
    """Answer every query."""
    queries: list[dict[str, Any]] = [{"text": text} for text in given.text]
    queries += [{name: getattr(given, name)} for name in ("video", "image") if getattr(given, name)]
    if not queries:
        raise UserError("nothing to search for; give a sentence in quotes, --video=FILE or --image=FILE")
    index = SearchIndex.open(given.index, given.checkpoint)
    if index.model.is_demo:
        print(DEMO_ONLY, file=sys.stderr)
    answers = []
    for query in queries:
        ((kind, content),) = query.items()
        if kind == "text" and (cut := index.model.words_cut(content)):
            print(f"warning: the last {cut} tokens of {content!r} are cut: it is too long", file=sys.stderr)
        rerank = given.rerank
        if rerank is None:  # as the page does
            rerank = index.usual_rerank if kind == "text" else 0
        started = time.perf_counter()
        moments = index.query(**query, top=given.top, rerank=rerank, merge=not given.windows)
        seconds = time.perf_counter() - started
        if kind == "text" and moments:  # words are for sentences
            moments = _judged(index, moments)
        answers.append((content, moments, seconds))
    if index.gone:
        count = len(index.gone)
        files = f"{counted(count, 'file is', 'files are')} gone and left out"
        command = f"python -m eaglenet_jax.search index --prune --index={shlex.quote(str(given.index))}"
        print(f"{files}; if it is for good, `{command}` drops the rows of all missing files", file=sys.stderr)
    if given.html:
        found = [
            Found(query, moments, of_file="text" not in asked)
            for asked, (query, moments, _) in zip(queries, answers, strict=True)
        ]
        write_atomically(Path(given.html), results_page(found, index.model.is_demo).encode())
    if given.json:
        model = index.store.settings.model_id
        results = [
            {"query": query, "seconds": round(seconds, 4), "results": [moment.as_json() for moment in moments]}
            for query, moments, seconds in answers
        ]
        print(json.dumps({"index": given.index, "model": model, "queries": results}, indent=1))
    else:
        print("\n\n".join(f"{query}  ({seconds:.2f} s)\n{as_text(moments)}" for query, moments, seconds in answers))
        if given.html:
            print(f"\n{given.html}")
    return 0


def _judged(index: SearchIndex, moments: list[Moment]) -> list[Moment]:
    """Return the moments with words of confidence, or as they are where these cannot be measured."""
    try:
        if index.is_calibrated:
            return index.calibration.judged(moments)
        print("measuring what random sentences score on this index …", file=sys.stderr, flush=True)
        judged = index.calibration.judged(moments)
    except (UserError, RuntimeError) as error:  # RuntimeError is JAX's, as for lack of memory
        print(f"warning: the words of confidence could not be measured: {first_line(error)}", file=sys.stderr)
        return moments
    if index.unkept:
        print(
            f"the levels are not kept in the index ({index.unkept}); the next command may measure again",
            file=sys.stderr,
        )
    return judged


def as_text(moments: Sequence[Moment]) -> str:
    """Format moments as text, one line each: rank, score, word of confidence, file, start and end."""
    if not moments:
        return "  nothing: the index is empty"
    doubt = ["  nothing here clearly fits: random sentences score as high"] if all(map(_is_weak, moments)) else []
    lines = [
        f"{moment.rank:3d}  {moment.score:6.3f}{'  reranked' if moment.reranked else ''}  "
        f"{f'{moment.confidence:8s}  ' if moment.confidence else ''}{moment.path}  "
        f"{clock(moment.start)}–{clock(moment.end)}"
        for moment in moments
    ]
    return "\n".join(doubt + lines)


def _is_weak(moment: Moment) -> bool:
    return moment.confidence == WEAK
