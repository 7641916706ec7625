"""Evaluates the best checkpoint of a work directory: python -m eaglenet_jax.evaluate --workdir=runs/demo
--split=test
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.command import Parser, run_command


def main(arguments: Sequence[str]) -> None:
    """Flags → evaluation → table."""
    parser = Parser(
        prog="python -m eaglenet_jax.evaluate",
        description="Evaluate the best checkpoint of a run, and of the runs that it started from.",
    )
    parser.add_argument("--workdir", type=Path, required=True, help="work directory of a run")
    parser.add_argument("--split", default="test", help="split to evaluate: test (default), val, train")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write scores, ids and features into DIR")
    parser.add_argument(
        "--shuffle_frames", action="store_true", help="with every video's frames in random order: what is order worth?"
    )
    parser.add_argument("--step", type=int, help="evaluate the checkpoint of this step instead of the best")
    known = parser.parse_args(arguments)

    from eaglenet_jax.results import print_results  # imported late, so that --help answers at once
    from eaglenet_jax.run import evaluate_run

    print_results(evaluate_run(known.workdir, known.split, known.save, known.shuffle_frames, known.step), known.split)


if __name__ == "__main__":
    run_command(main)
