"""`python -m data_prep.moving_shapes --out=DIR [--splits=test_1k] [--seed=0]`: render the demo data as video files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_prep.flag_checks import check_numbers
from data_prep.moving_shapes.flags import add_events_arguments, events_of, splits_of
from data_prep.moving_shapes.render import render
from eaglenet_jax.command import Parser, run_command


def main(arguments: Sequence[str]) -> int:
    """Render what the flags ask for."""
    parser = Parser("python -m data_prep.moving_shapes", description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="folder for videos/ and annotations.json")
    parser.add_argument(
        "--splits", default="train,validate,test", help="as NAME or NAME=COUNT, with commas (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the data are a function of this number")
    add_events_arguments(parser)
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    flags = parser.parse_args(arguments)
    check_numbers(flags, parser)
    splits, events = splits_of(flags.splits), events_of(flags)
    path = render(flags.out, seed=flags.seed, splits=splits, events=events, workers=flags.workers)
    print(f"MovingShapes is in {path.parent}")
    return 0


if __name__ == "__main__":
    run_command(main)
