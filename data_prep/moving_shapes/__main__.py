"""`python -m data_prep.moving_shapes --out=DIR [--splits=test_1k] [--seed=0]`: render the demo data as video files."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from data_prep.moving_shapes.render import DEFAULT_COUNTS, render
from eaglenet_jax.errors import UserError

_OUT = flags.DEFINE_string("out", None, "Folder for videos/ and annotations.json.", required=True)
_SPLITS = flags.DEFINE_list("splits", ["train", "validate", "test"], "Splits to render, as NAME or NAME=COUNT.")
_SEED = flags.DEFINE_integer("seed", 0, "The data are a function of this number.")
_WORKERS = flags.DEFINE_integer("workers", None, "Processes; default: one a core.")


def parse_splits(names: list[str]) -> dict[str, int]:
    """Parse `["train", "test=5"]` to `{"train": 2000, "test": 5}`."""
    splits = {}
    for name in names:
        split, _, count = name.partition("=")
        if split not in DEFAULT_COUNTS or (count and not count.isdigit()):
            raise UserError(f"--splits: {name!r} is not one of {', '.join(DEFAULT_COUNTS)}, alone or as NAME=COUNT.")
        splits[split] = int(count) if count else DEFAULT_COUNTS[split]
    return splits


def main(argv: list[str]) -> None:
    """Render what the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
    try:
        path = render(Path(_OUT.value), seed=_SEED.value, splits=parse_splits(_SPLITS.value), workers=_WORKERS.value)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"MovingShapes is in {path.parent}")


if __name__ == "__main__":
    app.run(main)
