"""Line and bar charts as SVG. Colours come from the page's style, so one drawing serves light, dark and print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 10, 34  # around the plotting area
TICKS = (1, 2, 5, 10, 20, 50)
RANK_BINS = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, None))


@dataclass(frozen=True)
class Series:
    """One line or one colour of bars. values: [N]. mark: class of its style, by default by its number."""

    name: str
    values: np.ndarray
    mark: str = ""


def recall_series(name: str, ranks: np.ndarray, deepest: int = TICKS[-1]) -> Series:
    """Compute R@K in percent for K = 1 … deepest, of ranks [N] from 1, as `rank_metrics` does."""
    reached = np.searchsorted(np.sort(ranks), np.arange(1, deepest + 1) + 1, side="left")
    return Series(name, 100.0 * reached / len(ranks))


def chance_series(chance: Mapping[str, Any], deepest: int) -> Series | None:
    """Compute R@K of random scores for K = 1 … deepest. chance: metrics of a direction; None where they lack R@1."""
    known = {int(name[2:]): value for name, value in chance.items() if name.startswith("R@") and value is not None}
    if 1 not in known:
        return None
    depths = np.arange(1, deepest + 1)
    values = np.minimum(100.0, known[1] * depths)  # with one right item
    if any(abs(value - min(100.0, known[1] * k)) > 1e-6 for k, value in known.items()):
        values = np.interp(depths, list(known), list(known.values()))
    return Series("chance", values, "chance")


def recall_chart(series: Sequence[Series], label: str) -> Markup:
    """Draw R@K over K, K on a logarithmic axis. series: values [K], the first is K = 1. label: for screen readers."""
    deepest = max(2, max(len(each.values) for each in series))
    x = LEFT + (WIDTH - LEFT - RIGHT) * np.log(np.arange(1, deepest + 1)) / np.log(deepest)
    parts = [_horizontal_grid((0, 20, 40, 60, 80, 100), "%")]
    for tick in (tick for tick in TICKS if tick <= deepest):
        parts.append(_text(x[tick - 1], HEIGHT - BOTTOM + 15, str(tick), "middle"))
    parts.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 3, "K", "middle"))
    for number, each in enumerate(series):
        points = " ".join(f"{x[i]:.1f},{_height(value, 100.0):.1f}" for i, value in enumerate(each.values))
        parts.append(
            Markup('<polyline class="line {}" points="{}"><title>{}</title></polyline>').format(
                each.mark or f"series{number}", points, each.name
            )
        )
    return _svg(parts, label)


def rank_histogram(series: Sequence[tuple[str, np.ndarray]], label: str) -> Markup:
    """Draw the percentage of queries by the rank of their right item. series: (name, ranks [N]) of each run."""
    deepest = max(float(ranks.max()) for _, ranks in series)
    bins = [each for each in RANK_BINS if each[0] < deepest + 1]
    edges = [*(low for low, _ in bins), np.inf if bins[-1][1] is None else bins[-1][1] + 1]
    shares = [100.0 * np.histogram(ranks, edges)[0] / len(ranks) for _, ranks in series]
    most = max(1.0, max(float(share.max()) for share in shares))
    top = next(step for step in (5, 10, 20, 40, 60, 80, 100) if step >= most)
    slot = (WIDTH - LEFT - RIGHT) / len(bins)
    bar = 0.8 * slot / len(series)
    parts = [_horizontal_grid([top * i / 4 for i in range(5)], "%", top)]
    for place, (low, high) in enumerate(bins):
        name = str(low) if low == high else f"{low}–{high}" if high else f"≥ {low}"
        parts.append(_text(LEFT + (place + 0.5) * slot, HEIGHT - BOTTOM + 15, name, "middle"))
        for number, share in enumerate(shares):
            y = _height(share[place], top)
            parts.append(
                Markup(
                    '<rect class="bar series{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                    "<title>{}: {:.1f} % at rank {}</title></rect>"
                ).format(
                    number,
                    LEFT + place * slot + 0.1 * slot + number * bar,
                    y,
                    max(bar - 1, 1),
                    HEIGHT - BOTTOM - y,
                    series[number][0],
                    share[place],
                    name,
                )
            )
    parts.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 3, "rank of the right item", "middle"))
    return _svg(parts, label)


def value_histogram(series: Sequence[tuple[str, np.ndarray]], axis: str, label: str, bins: int = 16) -> Markup:
    """Draw the distribution of numbers as percentages in equal bins. series: (name, values [N]). axis: their name."""
    every = np.concatenate([values for _, values in series])
    low, high = float(every.min()), float(every.max())
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    shares = [100.0 * np.histogram(values, edges)[0] / len(values) for _, values in series]
    most = max(float(share.max()) for share in shares)
    top = next(step for step in (5, 10, 20, 40, 60, 80, 100) if step >= most)
    slot = (WIDTH - LEFT - RIGHT) / bins
    bar = 0.9 * slot / len(series)
    parts = [_horizontal_grid([top * i / 4 for i in range(5)], "%", top)]
    for place in range(0, bins + 1, bins // 4):
        anchor = "end" if place == bins else "middle"
        parts.append(_text(LEFT + place * slot, HEIGHT - BOTTOM + 15, f"{edges[place]:.3g}", anchor))
    for number, share in enumerate(shares):
        for place in range(bins):
            y = _height(share[place], top)
            parts.append(
                Markup(
                    '<rect class="bar series{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                    "<title>{}: {:.1f} % from {:.3g} to {:.3g}</title></rect>"
                ).format(
                    number,
                    LEFT + (place + 0.05) * slot + number * bar,
                    y,
                    max(bar - 1, 1),
                    HEIGHT - BOTTOM - y,
                    series[number][0],
                    share[place],
                    edges[place],
                    edges[place + 1],
                )
            )
    parts.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 3, axis, "middle"))
    return _svg(parts, label)


def _height(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, top) / top


def _horizontal_grid(values: Sequence[float], unit: str, top: float = 100.0) -> Markup:
    parts = []
    for value in values:
        y = _height(value, top)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y)
        )
        parts.append(_text(LEFT - 5, y + 4, f"{value:g}{unit if value == values[-1] else ''}", "end"))
    return Markup("").join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(parts: Sequence[Markup], label: str) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, escape(label), Markup("").join(parts)
    )
