"""Trains what a config describes: python -m eaglenet_jax.train --config=configs/demo.py [--workdir=DIR]
[--config.NAME=VALUE …]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.command import Parser, run_command


def main(arguments: Sequence[str]) -> None:
    """Flags → training run → table of results."""
    parser = Parser(
        prog="python -m eaglenet_jax.train",
        description="Train a text-video retrieval system and evaluate its best checkpoint on the test split.",
        epilog="Any field of the config can be overridden, as --config.batch_size=32. A run that was stopped goes on.",
    )
    parser.add_argument(
        "--config", required=True, metavar="NAME[:ARGUMENTS]", help="a config file or its name, as demo"
    )
    parser.add_argument("--workdir", type=Path, help="where everything is written; runs/NAME by default")
    known, overrides = parser.parse_known_args(arguments)

    from eaglenet_jax.config.loading import load_config  # imported late, so that --help answers at once
    from eaglenet_jax.reports.results import print_results
    from eaglenet_jax.runs.train import train_run
    from eaglenet_jax.runs.workdir import written_files

    config = load_config(known.config, overrides)
    # Every variant of a config has a directory of its own: runs/demo, runs/demo_xpool, …
    variant = known.config.partition(":")[2].replace(",", "_").replace(" ", "")
    workdir = known.workdir or Path("runs") / "_".join(filter(None, [config.name, variant]))
    results = train_run(config, workdir)
    print_results(results, "test", written=written_files(workdir))


if __name__ == "__main__":
    run_command(main)
