"""The words behind a config's colon, as in `--config=configs/msrvtt.py:b16,released`."""

from __future__ import annotations

from collections.abc import Sequence

from eaglenet_jax.errors import UserError, did_you_mean


def split_argument(argument: str, known: Sequence[str]) -> set[str]:
    """Split "b32,released" into its words.

    Args:
        argument: Words with commas between them.
        known: Words that are accepted; besides, one with a colon is a head as package.module:Class.

    Raises:
        UserError: A word is not known.
    """
    words = [word.strip() for word in (argument or "").split(",") if word.strip()]
    for word in words:
        if word not in known and ":" not in word:
            hint = did_you_mean(word, known, f"there are: {', '.join(known)}")
            raise UserError(f"--config: unknown argument {word!r}; {hint}")
    return set(words)


def chosen(words: set[str], among: Sequence[str], default: str) -> str:
    """The one of `among` that was asked for, else the default. UserError for two."""
    found = [word for word in among if word in words]
    if len(found) > 1:
        raise UserError(f"--config: {' and '.join(found)} exclude each other; give one of them")
    return found[0] if found else default


def chosen_system(words: set[str], among: Sequence[str], default: str) -> str:
    """The system that was asked for: one of `among`, or a head as package.module:Class. UserError for two."""
    return chosen(words, (*among, *sorted(word for word in words if ":" in word)), default)
