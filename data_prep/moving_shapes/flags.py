"""Command-line flags that say which clips MovingShapes has and of what they consist."""

from __future__ import annotations

import argparse

from data_prep.moving_shapes.events import MOST_EVENTS, Events
from data_prep.moving_shapes.render import DEFAULT_COUNTS
from eaglenet_jax.errors import UserError


def splits_of(text: str) -> dict[str, int]:
    """Return the clips by split that --splits names: "train,test=5" → {"train": 2000, "test": 5}.

    Raises:
        UserError: A name is none of a split or is given twice, or a count is no whole number of 1 or more.
    """
    splits: dict[str, int] = {}
    for part in text.split(","):
        name, equals, count = part.strip().partition("=")
        if name not in DEFAULT_COUNTS or (equals and not (count.isdecimal() and int(count))):
            names = ", ".join(DEFAULT_COUNTS)
            raise UserError(f"--splits={text}: {part!r} is not one of {names}, alone or as NAME=COUNT of 1 or more")
        if name in splits:
            raise UserError(f"--splits={text}: {name} is given twice; give each split once")
        splits[name] = int(count) if equals else DEFAULT_COUNTS[name]
    return splits


def add_events_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag for every field of `Events`."""
    parser.add_argument(
        "--events", type=int, default=1, metavar="N", help=f"events of a clip, 1 to {MOST_EVENTS} (default: 1)"
    )
    parser.add_argument(
        "--distractors",
        type=float,
        default=0.0,
        metavar="P",
        help="chance of every other event to look like the told one",
    )
    parser.add_argument(
        "--pairs", type=float, default=0.0, metavar="P", help="chance of a caption to tell of two events in their order"
    )
    parser.add_argument("--paragraph", action="store_true", help="captions tell of all events of their clip")


def events_of(flags: argparse.Namespace) -> Events:
    """Return what the flags say."""
    return Events(flags.events, flags.distractors, flags.pairs, flags.paragraph)


def events_flags(events: Events) -> str:
    """Return the flags that `events_of` reads these values from, each behind a blank."""
    if events.count == 1:
        return ""
    told = " --paragraph" if events.paragraph else f" --pairs={events.pairs:g}"
    return f" --events={events.count} --distractors={events.distractors:g}{told}"
