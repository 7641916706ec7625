"""Metrics and score reports as plain text: tables, intervals, comparisons."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from eaglenet_jax.metrics.ranks import Metrics
from eaglenet_jax.reports.verdicts import verdict

ARROWS = {"t2v": "text → video", "v2t": "video → text"}
COLUMNS = {"R@1": 6, "R@5": 6, "R@10": 6, "MdR": 7, "MnR": 7}  # and their widths
NAME_WIDTH = 22  # a line then has 95 characters
NARROW_NAME_WIDTH = 16  # with the pointing accuracy: 99 characters
POINTING = "pointing"  # a further column of text → video, where a row has it
POINTING_WIDTH = 10


def results_table(rows: Sequence[tuple[str, Metrics]]) -> str:
    """Format metrics as a table of plain text, recalls in percent.

    Args:
        rows: (name, metrics of `retrieval_metrics`); where a direction or Rsum is absent, the table has a dash.

    Returns:
        Lines of at most 95 characters; of 99, with a column for the pointing accuracy, where a system has one.
    """
    width = sum(COLUMNS.values())
    titles = _cells({column: column for column in COLUMNS})
    further = POINTING_WIDTH if shows_pointing(rows) else 0
    names = NARROW_NAME_WIDTH if further else NAME_WIDTH
    lines = [
        f"{'':{names}}{'text → video':^{width + further}}  {'video → text':^{width}}",
        f"{'':{names}}{titles}{POINTING if further else '':>{further}}  {titles}{'Rsum':>7}",
    ]
    lines.append("─" * len(lines[1]))
    chance = dict(rows).get("chance", {})
    for name, metrics in rows:
        metrics = telling(metrics, chance)
        *above, last = textwrap.wrap(name, names - 1, subsequent_indent=" ") or [""]
        t2v, v2t = (_cells({c: _short(metrics.get(side, {}).get(c), c) for c in COLUMNS}) for side in ("t2v", "v2t"))
        pointing = _short(metrics.get("t2v", {}).get(POINTING), POINTING) if further else ""
        rsum = _short(metrics.get("Rsum"), "Rsum")
        lines += [*above, f"{last:{names}}{t2v}{pointing:>{further}}  {v2t}{rsum:>7}"]
    return "\n".join(line.rstrip() for line in lines)


def shows_pointing(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
    """Return whether a row other than chance has a pointing accuracy."""
    return any(POINTING in metrics.get("t2v", {}) for name, metrics in rows if name != "chance")


def telling(metrics: Metrics, chance: Metrics) -> Metrics:
    """Take out the recalls that chance has at 100, because the gallery is no larger, and the sums that contain them."""
    sure = {side: _sure_recalls(chance, side) for side in ARROWS}
    if not any(sure.values()):
        return metrics
    lost = {side: [*names, "Rsum"] if names else [] for side, names in sure.items()}
    shown = {side: {**metrics[side], **dict.fromkeys(lost[side])} for side in ARROWS if side in metrics}
    return {**metrics, **shown, "Rsum": None}


def small_gallery_line(rows: Sequence[tuple[str, Metrics]]) -> str:
    """Say why `results_table` leaves out recalls of these rows, "" where it does not."""
    chance = dict(rows).get("chance", {})
    every = {name for side in ARROWS for name in _sure_recalls(chance, side)}
    sure = [name for name in COLUMNS if name in every]
    return f"{', '.join(sure)} would be 100 whatever the scores in a gallery of this size" if sure else ""


def _sure_recalls(chance: Metrics, side: str) -> list[str]:
    # Recalls alone: in a gallery of 199 chance has MdR and MnR at 100, which say something.
    return [name for name in COLUMNS if name.startswith("R@") and chance.get(side, {}).get(name) == 100.0]


def format_report(summary: Mapping[str, Any]) -> str:
    """Format `ScoreReport.summary` as plain text: the table, intervals, temperatures, ties, the comparison."""
    rows: list[tuple[str, Metrics]] = [("chance", summary["chance"])]
    if "baseline" in summary:
        rows.append((summary["baseline"]["name"], summary["baseline"]["metrics"]))
    rows += [(summary["name"], summary["metrics"]), *extra_rows(summary)]
    lines = [f"{summary['texts']} texts × {summary['videos']} videos", "", results_table(rows), ""]
    for note in summary["notes"]:
        lines += textwrap.wrap(f"note: {note}", 95, subsequent_indent="  ")
    return "\n".join(lines + detail_lines(summary))


def extra_rows(summary: Mapping[str, Any]) -> list[tuple[str, Metrics]]:
    """List the rows of a table below the raw result: other tie rules where they differ, post-processed scores."""
    rows: list[tuple[str, Metrics]] = []
    if len(summary["by_tie_rule"]) > 1:
        rows += [(f"ties {rule}", m) for rule, m in summary["by_tie_rule"].items() if rule != summary["ties"]]
        counted = "/".join(str(summary["as_released"][side]["queries"]) for side in ARROWS)
        rows.append((f"as released ({counted} queries)", summary["as_released"]))
    for method, metrics in summary.get("postprocessed", {}).items():
        rows.append((f"+ {method}" + ("" if method == "qb_norm" else " (transductive)"), metrics))
    return rows


def detail_lines(summary: Mapping[str, Any]) -> list[str]:
    """List the lines below the table: intervals, temperatures, ties, the comparison with the baseline."""
    lines = [*_interval_lines(summary["intervals"]), *ranking_lines(summary), *temperature_lines(summary)]
    for warning in summary["warnings"]:
        lines += textwrap.wrap(f"WARNING: {warning}", 95, subsequent_indent="  ")
    tied = summary["tied_queries"]
    if any(tied.values()):
        lines.append("")
        lines.append(
            f"The right item ties with another for {tied['t2v']} texts and {tied['v2t']} videos; "
            f"the rule is {summary['ties']!r}."
        )
    if "baseline" in summary:
        lines += ["", f"{summary['name']} − {summary['baseline']['name']}, paired by query (a lower MnR is better):"]
        difference = summary["baseline"]["difference"]
        lines += [*_difference_lines(difference), ""]
        lines += textwrap.wrap(verdict(summary["name"], summary["baseline"]["name"], difference), 95)
    return lines


def ranking_lines(summary: Mapping[str, Any]) -> list[str]:
    """List MAP and nDCG, which are there where a text can have several right videos."""
    return [
        f"{ARROWS[side]}: MAP {found['MAP']:.1f}, nDCG {found['nDCG']:.1f}; ranks are those of the best right item"
        for side, found in summary.get("ranking", {}).items()
    ]


def temperature_lines(summary: Mapping[str, Any]) -> list[str]:
    """List the temperature of each post-processing method, and where it is from."""
    lines = []
    for method, found in summary.get("temperatures", {}).items():
        used = {side: found[side] for side in ARROWS if side in found}
        differ = len(set(used.values())) > 1
        numbers = " and ".join(f"{value:g} ({side})" for side, value in used.items())
        numbers = numbers if differ else f"{next(iter(used.values())):g}"
        lines.append(f"{method}: temperature {numbers}, {found['from']}")
    return lines


def _interval_lines(intervals: Metrics) -> list[str]:
    names = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")
    lines = ["95 % intervals" + "".join(f"{name:>14}" for name in names)]
    for side, arrow in ARROWS.items():
        bounds = (intervals[side][name] for name in names)
        cells = ("–" if each is None else f"{each[0]:.1f} – {each[1]:.1f}" for each in bounds)
        lines.append(f"{arrow:14}" + "".join(f"{cell:>14}" for cell in cells))
    return lines


def _difference_lines(difference: Metrics) -> list[str]:
    lines = [f"{'':20}{'difference':>12}{'95 % interval':>22}{'p':>10}"]
    for side, arrow in ARROWS.items():
        lines += [f"{arrow}  {name:6}" + _difference(entry) for name, entry in difference[side].items()]
    return [*lines, f"{'both':14}{'Rsum':6}" + _difference(difference["Rsum"])]


def _difference(entry: Mapping[str, float]) -> str:
    interval = f"{entry['low']:+.2f} to {entry['high']:+.2f}"
    return f"{entry['difference']:+12.2f}{interval:>22}{entry['p']:10.4f}"


def _cells(texts: Mapping[str, str]) -> str:
    return "".join(f"{text:>{COLUMNS[column]}}" for column, text in texts.items())


def _short(number: float | None, column: str) -> str:
    if number is None:
        return "–"
    if number >= 1000:
        return f"{number:.0f}"
    return f"{number:.2f}" if column == "MnR" and number < 100 else f"{number:.1f}"
