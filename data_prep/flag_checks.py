"""Checks of command-line flags that argparse does not make: numbers too small, flags that would not be used."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from eaglenet_jax.errors import UserError

LEAST = {"fps": 0.001, "size": 1, "workers": 1, "seed": 0}


def check_numbers(flags: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Exit with the parser's error for sizes, rates, counts and seeds below their minimum, where a command has them."""
    for name, least in LEAST.items():
        value = getattr(flags, name, None)
        if value is not None and not value >= least:
            parser.error(f"--{name} is {value}; give {least} or more")


def refuse_flags(arguments: Sequence[str], unused: Sequence[str], why: str) -> None:
    """Raise UserError naming the flags that a command line gives and that it would not use.

    Args:
        arguments: The command line, read by a `Parser`: its flags cannot be abbreviated.
        unused: Flags that are not used, as "--workers".
        why: What they go with instead, behind their names: "--video reads single files".
    """
    given = {word.partition("=")[0].replace("_", "-") for word in arguments}
    wrong = [flag for flag in unused if flag in given]
    if wrong:
        them = "it" if len(wrong) == 1 else "them"
        raise UserError(f"{', '.join(wrong)} cannot be used here: {why}; leave {them} out")
