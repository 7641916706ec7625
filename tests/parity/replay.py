"""Replays records of the released programs through our public functions: python -m tests.parity.replay FILE…

Prints a row per recorded quantity and a verdict, in float64 with the preset `released`; exits 1 if anything is beyond
tolerance. Parameter names go through the same tables as `eaglenet_jax.convert`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from eaglenet_jax.errors import UserError
from tests.parity import replay_clip, replay_heads, replay_small, replay_ts2net

VALUE, GRADIENT, EXACT = "value", "gradient", "exact"
# Of TS2-Net's records, parts of the largest entry: for values what golden/README.md says of a replay in float64, else
# twice that. Another epsilon in the token scores is 6e-6 away, in the temporal transformer 2e-4.
PARTS_OF_LARGEST = {"forward": 4e-6, "loss": 6e-7, "slope": 3e-5, "norm": 1e-5}


class Row(NamedTuple):
    """One recorded quantity beside ours. kind: which tolerance holds."""

    name: str
    kind: str
    ours: Any
    recorded: Any


class Verdict(NamedTuple):
    """Largest absolute and relative error of a quantity, and whether they are within tolerance."""

    size: int
    absolute: float
    relative: float
    good: bool


def judge(row: Row) -> Verdict:
    """Compare a quantity with its record.

    Tolerances: values 1e-5 of max(1, largest entry); gradients and buffers 1e-4 of the largest entry, absolute 1e-6 for
    tensors whose largest entry is below 1e-3; exact ones not at all; the kinds of `PARTS_OF_LARGEST` as it says.
    """
    ours, recorded = np.asarray(row.ours, np.float64), np.asarray(row.recorded, np.float64)
    if ours.shape != recorded.shape:
        return Verdict(recorded.size, np.inf, np.inf, False)
    largest = float(np.max(np.abs(recorded), initial=0.0))
    absolute = float(np.max(np.abs(ours - recorded), initial=0.0))
    limit = {
        VALUE: 1e-5 * max(1.0, largest),
        GRADIENT: 1e-4 * largest if largest >= 1e-3 else 1e-6,
        EXACT: 0.0,
        **{kind: max(part * largest, 1e-9) for kind, part in PARTS_OF_LARGEST.items()},
    }[row.kind]
    # Written so that a NaN is beyond every tolerance.
    return Verdict(recorded.size, absolute, absolute / largest if largest else absolute, absolute <= limit)


class Player(NamedTuple):
    """How a kind of record is recognised and replayed, and which of its entries are given, not compared."""

    recognise: Callable[[dict[str, Any]], bool]
    play: Callable[[dict[str, Any]], Iterator[tuple[Any, ...]]]
    given: str


def replay(file: Path) -> Iterator[Row]:
    """All rows of one record.

    UserError for a file that is no record, for an option of its config that is not known, and at the end for an entry
    that was neither given to the computation nor compared with it.
    """
    record = _read(file)
    for player in _PLAYERS:
        if player.recognise(record):
            compared = set()
            with jax.enable_x64(True):
                for row in player.play(record):
                    compared.add(row[0])
                    yield Row(*row)
            left = sorted(name for name in record if name not in compared and not re.fullmatch(player.given, name))
            if left:
                raise UserError(f"{file}: {len(left)} recorded quantities are compared with nothing, first {left[0]}")
            return
    raise UserError(f"{file}: not one of the records that golden/README.md describes")


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.suffix == ".json":
            return json.loads(file.read_text())
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            record = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if "config" in record:
        record["config"] = json.loads(str(record["config"]))
    return record


_CONFIG = r"config|param/.*"
_PLAYERS = [
    Player(
        lambda record: "eval/candidate_noise" in record,
        replay_heads.eaglenet,
        rf"{_CONFIG}|text|video|eval/candidate_noise|train\d/draw/.*",
    ),
    Player(
        lambda record: "xpool/similarity" in record,
        replay_heads.xpool_and_tmass,
        rf"{_CONFIG}|text|video|tmass/noise|tmass/eval_noise_video_trial_text",
    ),
    Player(
        lambda record: "select/scores_all_tokens" in record,
        replay_ts2net.ts2net,
        rf"{_CONFIG}|shift/\w+/in|select/(input|cotangent|scores_all_tokens)|.*/noise"
        r"|.*/(frames|text_ids|text_mask|video_mask)",
    ),
    Player(lambda record: "image_features" in record, replay_clip.clip, rf"{_CONFIG}|text_ids|frames"),
    Player(lambda record: "step0/param/" in "".join(record), replay_small.bert_adam, rf"{_CONFIG}|step\d+/grad/.*"),
    Player(lambda record: "single/sims" in record, replay_small.metrics, r"\w+/sims|multi/captions_per_video"),
    Player(lambda record: "strings" in record, replay_small.tokens, r"strings|max_words"),
]


def main(arguments: Sequence[str]) -> int:
    """Prints all rows of all files → 1 if any is beyond tolerance, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.replay", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="records (.npz, .json)")
    bad = total = 0
    for file in parser.parse_args(arguments).files:
        print(f"{file.name}\n  {'quantity':58}{'size':>8}{'absolute':>11}{'relative':>11}")
        for row in replay(file):
            verdict = judge(row)
            total, bad = total + 1, bad + (not verdict.good)
            mark = "" if verdict.good else "  BEYOND TOLERANCE"
            print(f"  {row.name:58}{verdict.size:8}{verdict.absolute:11.1e}{verdict.relative:11.1e}{mark}")
    print(f"{'agrees' if not bad else 'DIFFERS'}: {total - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
