"""Train several configs with several seeds and put them into tables:
python -m eaglenet_jax.sweep --config=configs/ablations/components.py:demo --seeds=0,1,2
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.command import Parser, run_command, whole_numbers


def main(arguments: Sequence[str]) -> None:
    """Train what the flags name and print tables."""
    parser = Parser(
        prog="python -m eaglenet_jax.sweep",
        description="Train a list of configs with several seeds and write tables of mean and standard deviation.",
        epilog="Fields of all configs can be overridden, as --config.steps=100. The same command resumes a sweep.",
    )
    parser.add_argument(
        "--config",
        action="append",
        required=True,
        metavar="NAME[:ARGUMENTS]",
        help="a config, or a table of configs/ablations for all its rows; may be given several times",
    )
    parser.add_argument("--seeds", default="0", type=whole_numbers, help="with commas between them: 0,1,2")
    parser.add_argument("--workdir", type=Path, help="where everything is written; runs/sweep_NAME by default")
    known, overrides = parser.parse_known_args(arguments)

    from eaglenet_jax.runs.sweep import default_folder, expand, run_sweep  # late, so that --help answers at once

    rows = expand(known.config)
    workdir = known.workdir or default_folder(known.config)
    table, file = run_sweep(rows, known.seeds, workdir, overrides)
    print(f"\n{table}\n\n  {file}")


if __name__ == "__main__":
    run_command(main, computes=True)
