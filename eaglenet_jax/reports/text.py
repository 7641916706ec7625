"""What `standalone.measure_scores` found, as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eaglenet_jax.metrics.ranks import Metrics
from eaglenet_jax.metrics.summary import results_table

ARROWS = {"t2v": "text → video", "v2t": "video → text"}


def format_report(summary: Mapping[str, Any]) -> str:
    """`ScoreReport.summary` as plain text: the table, the intervals, what ties matter, the comparison."""
    rows: list[tuple[str, Metrics]] = [("chance", summary["chance"])]
    if "baseline" in summary:
        rows.append((summary["baseline"]["name"], summary["baseline"]["metrics"]))
    rows += [(summary["name"], summary["metrics"]), *extra_rows(summary)]
    lines = [f"{summary['texts']} texts × {summary['videos']} videos", "", results_table(rows), ""]
    return "\n".join(lines + detail_lines(summary))


def extra_rows(summary: Mapping[str, Any]) -> list[tuple[str, Metrics]]:
    """Rows of a table below the raw result: other tie rules where they differ, post-processed scores."""
    rows: list[tuple[str, Metrics]] = []
    if len(summary["by_tie_rule"]) > 1:
        rows += [(f"ties {rule}", m) for rule, m in summary["by_tie_rule"].items() if rule != summary["ties"]]
        counted = "/".join(str(summary["as_released"][side]["queries"]) for side in ARROWS)
        rows.append((f"as released ({counted} queries)", summary["as_released"]))
    for method, metrics in summary.get("postprocessed", {}).items():
        rows.append((f"+ {method}" + ("" if method == "qb_norm" else " (transductive)"), metrics))
    return rows


def detail_lines(summary: Mapping[str, Any]) -> list[str]:
    """What stands below the table: intervals, temperatures, ties, the comparison with the baseline."""
    lines = _interval_lines(summary["intervals"])
    for method, found in summary.get("temperatures", {}).items():
        numbers = f"{found['t2v']:g}" + ("" if found["t2v"] == found["v2t"] else f" (t2v) and {found['v2t']:g} (v2t)")
        lines.append(f"{method}: temperature {numbers}, {found['from']}")
    tied = summary["tied_queries"]
    if any(tied.values()):
        lines.append("")
        lines.append(
            f"The right item ties with another for {tied['t2v']} texts and {tied['v2t']} videos; "
            f"the rule is {summary['ties']!r}."
        )
    if "baseline" in summary:
        lines += ["", f"{summary['name']} − {summary['baseline']['name']}, paired by query (a lower MnR is better):"]
        lines += _difference_lines(summary["baseline"]["difference"])
    return lines


def _interval_lines(intervals: Metrics) -> list[str]:
    names = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")
    lines = ["95 % intervals" + "".join(f"{name:>14}" for name in names)]
    for side, arrow in ARROWS.items():
        cells = (f"{low:.1f} – {high:.1f}" for low, high in (intervals[side][name] for name in names))
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
