"""Train what a config describes:
python -m eaglenet_jax.train --config=demo [--workdir=DIR] [--config.FIELD=VALUE …]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.command import Parser, run_command


def _parser() -> Parser:
    parser = Parser(
        prog="python -m eaglenet_jax.train",
        description="Train a text-video retrieval system and evaluate its best checkpoint on the test split.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", required=True, metavar="NAME[:ARGUMENTS]", help="a config file or its name, as demo"
    )
    parser.add_argument(
        "--workdir", type=Path, metavar="DIR", help="where everything is written; runs/NAME_WORDS by default"
    )
    parser.add_argument("--print-config", action="store_true", help="print every field of the resolved config and exit")
    parser.add_argument("--dry-run", action="store_true", help="check everything, print what would be trained and exit")
    return parser


def default_workdir(name: str, words: Sequence[str]) -> Path:
    """The folder of a variant of a config: runs/demo, runs/demo_xpool, …

    An ablation's name begins with its dataset and ends with its row, which are not repeated.
    """
    new = [word for word in words if not (name.startswith(f"{word}_") or name.endswith(f"_{word}"))]
    return Path("runs") / re.sub(r"[^A-Za-z0-9_.-]", "_", "_".join([name, *new]))


def main(arguments: Sequence[str]) -> None:
    """Train what the flags name and print a table of results."""
    parser = _parser()
    if {"-h", "--help"} & set(arguments):
        from eaglenet_jax.config.choices import choices_text  # late, and only where it is shown

        parser.epilog = choices_text()
    known, overrides = parser.parse_known_args(arguments)

    from eaglenet_jax.config.loading import config_words, load_config  # imported late, so that --help answers at once
    from eaglenet_jax.config.printing import config_lines
    from eaglenet_jax.runs.data_name import named_after_data

    config = named_after_data(load_config(known.config, overrides))
    if known.print_config:
        print("\n".join(config_lines(config)))
        return

    import jax

    from eaglenet_jax.reports.stage_results import print_results
    from eaglenet_jax.runs.train import describe_run, train_run
    from eaglenet_jax.runs.workdir import written_files

    workdir = known.workdir or default_workdir(config.name, config_words(known.config, overrides))
    if known.dry_run:
        described = describe_run(config, workdir)
        if not jax.process_index():  # the first process speaks for all
            print(described)
        return
    try:
        results = train_run(config, workdir)
    except KeyboardInterrupt as error:  # between the steps, which save first, or for the second time
        raise KeyboardInterrupt("interrupted; the same command continues with what is saved") from error
    print_results(results, "test", written=written_files(workdir))


if __name__ == "__main__":
    run_command(main, computes=True)
