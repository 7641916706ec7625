"""What is said of an exception in one line."""

from __future__ import annotations

import pytest

from eaglenet_jax.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such file\nand more"), "no such file"),
        (RuntimeError("\n  \n  out of memory \nTraceback"), "out of memory"),
        (NameError(), "NameError"),
        (OSError(" \n"), "OSError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_the_first_line_is_one_with_words_and_else_the_type(error: BaseException, line: str) -> None:
    assert first_line(error) == line
