"""What a command of a document gives its program: the flags as they are read, and nothing is run."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
from typing import Any

import pytest

from eaglenet_jax.command import Parser
from tests.test_conventions import ENTRY_POINTS


class _Given(Exception):
    """Carries what a command has read of its arguments."""


def given_to(command: str) -> tuple[Any, list[str]]:
    """(flags, overrides of the config) of a command `python -m …`, taken where it has read them."""
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"] and words[2] in ENTRY_POINTS, f"{command}: there is no such command"
    is_package = importlib.util.find_spec(words[2]).submodule_search_locations  # type: ignore[union-attr]
    real = Parser.parse_known_args

    def caught(parser, arguments=None, namespace=None):  # type: ignore[no-untyped-def]
        raise _Given(*real(parser, arguments, namespace))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Parser, "parse_known_args", caught)
        with pytest.raises(_Given) as error:
            importlib.import_module(f"{words[2]}.__main__" if is_package else words[2]).main(words[3:])
    flags, overrides = error.value.args
    return flags, overrides
