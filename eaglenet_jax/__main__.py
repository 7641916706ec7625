"""List the commands: python -m eaglenet_jax"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError

COMMANDS = {
    "eaglenet_jax.train": "train a system and evaluate it; start with --config=demo",
    "eaglenet_jax.evaluate": "evaluate a run, a checkpoint, or a score matrix of any program",
    "eaglenet_jax.sweep": "train several configs with several seeds and put them into tables",
    "eaglenet_jax.report": "put finished runs into tables",
    "eaglenet_jax.search": "search your own videos; start with its command demo",
    "eaglenet_jax.convert": "convert checkpoints of PyTorch programs, and back",
    "eaglenet_jax.hub": "push runs and exported models to the Hugging Face hub, and pull them",
    "eaglenet_jax.vision_tokens": "compute the tokens of a second stage's own vision encoder",
    "data_prep.doctor": "check a dataset's annotations and videos",
    "data_prep.build": "prepare a dataset: frames, captions and splits",
    "data_prep.syntax": "parse the captions of a prepared dataset, for SHE-Net",
}


def main(arguments: Sequence[str]) -> None:
    """Print the commands."""
    parser = Parser(
        prog="python -m eaglenet_jax",
        description="Text-video retrieval. Commands, each with a --help of its own:\n\n"
        + "\n".join(f"  python -m {name:<28}{about}" for name, about in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if arguments and f"eaglenet_jax.{arguments[0]}" in COMMANDS:
        raise UserError(f"a dot, not a space: python -m eaglenet_jax.{arguments[0]}")
    parser.parse_args(arguments)
    parser.print_help()


if __name__ == "__main__":
    run_command(main)
