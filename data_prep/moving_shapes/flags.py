"""Command-line flags that say of what MovingShapes' clips consist."""

from __future__ import annotations

import argparse

from data_prep.moving_shapes.events import MOST_EVENTS, Events


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
