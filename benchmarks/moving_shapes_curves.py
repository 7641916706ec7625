"""R@1 of systems against a dial of the data, one line a system, from sweeps with one value of the dial each.

    python -m benchmarks.moving_shapes_curves 1=runs/events_1 2=runs/events_2 3=runs/frozen \
        --dial="events in a clip" --out=docs/pictures/events.svg [--match-weights 3=weights_3.json …]

Prints a markdown table, mean ± deviation over seeds, and draws it. Two rows belong to the data and not to a system: the
CLIP that all of them started from with the mean of frames, and the frames of the best event by the true cuts
(benchmarks/moving_shapes_oracle.py), where the runs trained their heads alone. --match-weights adds a line of CrossTVR
with the weight of its second stage that validation chose, from what `benchmarks.match_weight --json` printed.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from benchmarks.moving_shapes_oracle import oracle_metrics
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.collect import find_runs
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.runs.workdir import read_result

SUMMARY = "R@1 of systems against a dial of the data."
MEAN, ORACLE = "CLIP before training, mean of frames", "frames of the best event, by the true cuts"
WEIGHTED = "crosstvr, weight by validation"
SIZE = WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 46, 210, 34, 44
# Okabe and Ito, and one more.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000", "#8c564b")


@dataclasses.dataclass(frozen=True)
class Point:
    """A value of a system at one position of the dial. deviation: over seeds, None for one run."""

    mean: float
    deviation: float | None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.deviation is None else f" ± {self.deviation:.1f}")


Curves = dict[str, dict[float, Point]]  # system → dial → value


def point_of(values: Sequence[float]) -> Point:
    """Summarise the values of the seeds."""
    return Point(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def read_curves(folders: Mapping[float, Path], split: str) -> Curves:
    """Read t2v R@1 of all finished runs, by system and dial.

    Args:
        folders: Position of the dial → folder of a sweep.
        split: Of the metrics.
    """
    values: dict[str, dict[float, list[float]]] = {}
    frozen: dict[float, Path] = {}
    for dial, folder in folders.items():
        for workdir in find_runs([folder]):
            result, config = read_result(workdir), saved_config(workdir)
            if result is None or split not in result.metrics:
                raise UserError(f"{workdir} has no results on {split!r}; give another --split")
            values.setdefault(config.system, {}).setdefault(dial, []).append(result.metrics[split]["t2v"]["R@1"])
            if split in result.zero_shot:
                values.setdefault(MEAN, {})[dial] = [result.zero_shot[split]["t2v"]["R@1"]]
            if config.cached_features:
                frozen[dial] = workdir
    for dial, workdir in frozen.items():
        values.setdefault(ORACLE, {})[dial] = [oracle_metrics(workdir, split)["t2v"]["R@1"]]
    return {name: {dial: point_of(found) for dial, found in by.items()} for name, by in values.items()}


def weighted_points(files: Mapping[float, Path]) -> dict[float, Point]:
    """Read t2v R@1 on the test split with the weight that was chosen on validation.

    Args:
        files: Position of the dial → output of `benchmarks.match_weight --json`.

    Raises:
        UserError: A file that is missing or holds something else.
    """
    points = {}
    for dial, file in files.items():
        try:
            found = json.loads(file.read_text())
            place = found["weights"].index(found["chosen"])
            points[dial] = point_of([run[place]["t2v"]["R@1"] for run in found["test"]])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: give a file with the output of benchmarks.match_weight --json") from error
    return points


def as_table(curves: Curves, dial: str) -> str:
    """Format the curves as markdown, one row a system."""
    positions = sorted({position for by in curves.values() for position in by})
    lines = [
        f"| {dial} | {' | '.join(f'{position:g}' for position in positions)} |",
        "|---" * (len(positions) + 1) + "|",
    ]
    for name, by in curves.items():
        lines.append(f"| {name} | {' | '.join(str(by.get(position, '–')) for position in positions)} |")
    return "\n".join(lines)


def as_svg(curves: Curves, dial: str) -> str:
    """Draw the curves, R@1 from 0 to 100 %, with a bar of one deviation to each side."""
    positions = sorted({position for by in curves.values() for position in by})
    span = (positions[-1] - positions[0]) or 1.0

    def x(position: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (position - positions[0]) / span

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / 100

    parts = [Markup('<rect width="{}" height="{}" fill="#fff"/>').format(*SIZE)]
    for value in range(0, 101, 20):
        parts.append(_line([(LEFT, y(value)), (WIDTH - RIGHT, y(value))], "#ddd", 1))
        parts.append(_text(LEFT - 8, y(value) + 4, f"{value}", "end"))
    parts += [_text(x(position), HEIGHT - BOTTOM + 20, f"{position:g}", "middle") for position in positions]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, dial, "middle"))
    parts.append(_text(LEFT - 36, TOP - 16, "t2v R@1, %", "start"))
    for number, (name, by) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        found = sorted(by.items())
        parts.append(_line([(x(position), y(point.mean)) for position, point in found], colour, 2))
        for position, point in found:
            parts.append(
                Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>').format(x(position), y(point.mean), colour)
            )
            if point.deviation:
                ends = [y(point.mean - point.deviation), y(point.mean + point.deviation)]
                parts.append(_line([(x(position), end) for end in ends], colour, 1))
        key = TOP + 12 + 20 * number
        parts.append(_line([(WIDTH - RIGHT + 14, key - 4), (WIDTH - RIGHT + 34, key - 4)], colour, 3))
        parts.append(_text(WIDTH - RIGHT + 40, key, _short(name), "start"))
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="12">{}</svg>\n'
    ).format(*SIZE, Markup("").join(parts))


def _short(name: str) -> str:
    short = {MEAN: "mean, not trained", ORACLE: "true cuts, not trained", WEIGHTED: "crosstvr, chosen weight"}
    return short.get(name, name)


def _line(points: Sequence[tuple[float, float]], colour: str, width: int) -> Markup:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"/>').format(path, colour, width)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" fill="#333">{}</text>').format(x, y, anchor, text)


def _position(text: str) -> tuple[float, Path]:
    dial, _, folder = text.partition("=")
    try:
        return float(dial), Path(folder)
    except ValueError as error:
        raise UserError(f"{text!r}: give the dial's value and a folder, as 3=runs/events_3") from error


def main(arguments: Sequence[str]) -> None:
    """Print the table and write the picture."""
    parser = Parser(prog="python -m benchmarks.moving_shapes_curves", description=SUMMARY)
    parser.add_argument("folders", nargs="+", metavar="VALUE=FOLDER", help="value of the dial and folder of its sweep")
    parser.add_argument(
        "--match-weights", nargs="+", default=(), metavar="VALUE=FILE", help="outputs of benchmarks.match_weight --json"
    )
    parser.add_argument("--dial", default="events in a clip", help="title of the horizontal axis; default %(default)s")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--out", type=Path, help="writes the picture, an SVG")
    given = parser.parse_args(arguments)
    curves = read_curves(dict(map(_position, given.folders)), given.split)
    if given.match_weights:
        curves[WEIGHTED] = weighted_points(dict(map(_position, given.match_weights)))
    print(as_table(curves, given.dial))
    if given.out:
        given.out.write_text(as_svg(curves, given.dial))
        print(f"\n  {given.out}")


if __name__ == "__main__":
    run_command(main)
