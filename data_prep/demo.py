"""The demo data, ready to train on: renders and prepares MovingShapes where that has not been done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data_prep.lock import alone_in
from data_prep.moving_shapes.render import DEFAULT_SPLITS, RENDERER_VERSION, render
from data_prep.prepare import prepare, read_manifest
from data_prep.readers.msrvtt import read_msrvtt_json
from data_prep.syntax.storing import ensure_grammar_syntax


def ensure_moving_shapes(
    root: Path,
    *,
    splits: Mapping[str, int] | None = None,
    seed: int = 0,
    fps: float = 3,
    size: int = 48,
    workers: int | None = None,
    progress: bool = True,
    syntax: bool = False,
) -> Path:
    """The prepared folder under `root` for these arguments (its name tells them); returns at once when it is complete.

    `splits` as in `render` (default: train, validate, test; "validate" is called "val" in the prepared data). syntax:
    also the captions' syntax, by the grammar that made them where none is stored.
    """
    splits = dict(DEFAULT_SPLITS if splits is None else splits)
    amounts = "_".join(f"{split}{count}" for split, count in splits.items())
    source = root / f"moving_shapes_v{RENDERER_VERSION}_seed{seed}_{amounts}"
    prepared = source / f"prepared_{size}px_{fps:g}fps"
    if read_manifest(prepared) is None:
        with alone_in(source):
            annotation_file = render(source, seed=seed, splits=splits, workers=workers, progress=progress)
            entries = read_msrvtt_json(annotation_file, source / "videos")
            prepare(entries, prepared, dataset="moving_shapes", fps=fps, size=size, workers=workers, progress=progress)
    if syntax:
        with alone_in(source):
            ensure_grammar_syntax(prepared)
    return prepared
