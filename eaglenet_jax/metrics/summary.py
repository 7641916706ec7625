"""Metrics as a small table of plain text, with the level of chance beside them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from eaglenet_jax.metrics.ranks import RECALL_DEPTHS, Metrics, check_relevance, recall_sum

COLUMNS = {"R@1": 6, "R@5": 6, "R@10": 6, "MdR": 7, "MnR": 7}  # and their widths
NAME_WIDTH = 22  # a line then has 95 characters


def results_table(
    rows: Sequence[tuple[str, Metrics]], *, shape: tuple[int, int] | None = None, text_video: np.ndarray | None = None
) -> str:
    """Rows (name, metrics of `retrieval_metrics`) as lines of at most 95 characters, recalls in percent.

    A row may lack a direction and Rsum; a dash stands there. shape: (Nt, Nv) of the gallery, adds a row with the
    level of chance. text_video: its relevance, None: the diagonal.
    """
    if shape is not None:
        rows = [("chance", chance_metrics(shape, text_video)), *rows]
    width = sum(COLUMNS.values())
    titles = _cells({column: column for column in COLUMNS})
    lines = [
        f"{'':{NAME_WIDTH}}{'text → video':^{width}}  {'video → text':^{width}}",
        f"{'':{NAME_WIDTH}}{titles}  {titles}{'Rsum':>7}",
    ]
    lines.append("─" * len(lines[1]))
    for name, metrics in rows:
        *above, last = textwrap.wrap(name, NAME_WIDTH - 1, subsequent_indent="  ") or [""]
        t2v, v2t = (_cells({c: _short(metrics.get(side, {}).get(c), c) for c in COLUMNS}) for side in ("t2v", "v2t"))
        lines += [*above, f"{last:{NAME_WIDTH}}{t2v}  {v2t}{_short(metrics.get('Rsum'), 'Rsum'):>7}"]
    return "\n".join(line.rstrip() for line in lines)


def chance_metrics(shape: tuple[int, int], text_video: np.ndarray | None = None) -> Metrics:
    """What random scores would give on average, in the layout of `retrieval_metrics`.

    Text→video: the right video is equally likely at each of Nv places. Video→text: among the best captions of the
    videos one with more captions stands higher, but over all videos every place is taken equally often.
    """
    captioned = len(np.unique(check_relevance(shape, text_video)))
    t2v, v2t = _uniform_rank(shape[1], queries=shape[0]), _uniform_rank(captioned, queries=captioned)
    return {"t2v": t2v, "v2t": v2t, "Rsum": recall_sum(t2v, v2t)}


def _uniform_rank(gallery: int, queries: int) -> Metrics:
    middle = (gallery + 1) / 2
    recalls = {f"R@{k}": 100.0 * min(k, gallery) / gallery for k in RECALL_DEPTHS}
    reciprocal = float(np.mean(1.0 / np.arange(1, gallery + 1)))
    return recalls | {"MdR": middle, "MnR": middle, "MRR": 100.0 * reciprocal, "queries": queries}


def _cells(texts: Mapping[str, str]) -> str:
    return "".join(f"{text:>{COLUMNS[column]}}" for column, text in texts.items())


def _short(number: float | None, column: str) -> str:
    if number is None:
        return "–"
    if number >= 1000:
        return f"{number:.0f}"
    return f"{number:.2f}" if column == "MnR" and number < 100 else f"{number:.1f}"
