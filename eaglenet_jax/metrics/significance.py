"""Statistical significance of metrics: bootstrap intervals, and a paired test of two runs on the same queries.

Of a few queries, or where nearly all are hits or misses, a bootstrap sees no variation: the interval of 0 of 5 would be
0 to 0. There the interval of a recall is the exact one (Clopper and Pearson 1934), 0 to 52.2 %.

The unit that is drawn is the video with its captions: results of captions of one video depend on each other, so drawing
them one by one would make the intervals too narrow. With one caption a video this is the ordinary bootstrap over
queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import RECALL_DEPTHS, SUMMED_RECALLS, Metrics, RetrievalPlacement

MEANS = (*(f"R@{k}" for k in RECALL_DEPTHS), "Rsum", "MnR", "MRR")
FEW = 5  # hits or misses below which the bootstrap is not to be trusted


def metric_intervals(
    placement: RetrievalPlacement, ties: str = "mean", *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Metrics:
    """Compute percentile bootstrap intervals of all metrics; both directions are drawn together.

    A recall with fewer than five videos' worth of hits or misses has the exact binomial interval instead, with the
    videos as the trials; then an Rsum with that recall has the sums of its parts' bounds.

    Args:
        placement: Of all queries.
        ties: Tie rule, "mean", "optimistic" or "pessimistic".
        level: Of confidence, between 0 and 1.
        resamples: Number of bootstrap samples.
        seed: Of the samples.

    Returns:
        (low, high) of each metric, laid out as `placement_metrics`.
    """
    drawn: dict[str, dict[str, list[float]]] = {side: {name: [] for name in (*MEANS, "MdR")} for side in ("t2v", "v2t")}
    queries = {}
    for side, (ranks, unit) in _sides(placement, ties).items():
        order = np.argsort(ranks)  # the weighted median wants them sorted
        queries[side] = ranks[order], _per_query(ranks[order]), unit[order]
    rsum = []
    rng, units = np.random.default_rng(seed), len(placement.videos)
    for _ in range(resamples):
        times_drawn = np.bincount(rng.integers(0, units, units), minlength=units)
        for side, (ranks, contributions, unit) in queries.items():
            weight = times_drawn[unit]
            for name, value in zip(MEANS, contributions @ weight / weight.sum(), strict=True):
                drawn[side][name].append(float(value))
            drawn[side]["MdR"].append(weighted_median(ranks, weight))
        rsum.append(sum(by_name["Rsum"][-1] for by_name in drawn.values()))
    tails = [50 * (1 - level), 50 * (1 + level)]

    def interval(values: list[float]) -> tuple[float, float]:
        low, high = np.percentile(values, tails)
        return float(low), float(high)

    result: Metrics = {side: {name: interval(values) for name, values in by.items()} for side, by in drawn.items()}
    result["Rsum"] = interval(rsum)
    exact = {
        (side, name): binomial_interval(hits, units, level)
        for side, (_, contributions, _) in queries.items()
        for name, values in zip(MEANS, contributions, strict=True)
        if name.startswith("R@") and min(hits := values.mean() / 100 * units, units - hits) < FEW
    }
    for (side, name), bounds in exact.items():
        result[side][name] = bounds
    parts = {side: [result[side][name] for name in SUMMED_RECALLS] for side in drawn}
    for side in drawn:
        if any((side, name) in exact for name in SUMMED_RECALLS):
            result[side]["Rsum"] = _summed(parts[side])
    if any(name in SUMMED_RECALLS for _, name in exact):
        result["Rsum"] = _summed([bounds for of_side in parts.values() for bounds in of_side])
    return result


def _summed(bounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    low, high = np.sum(bounds, axis=0)
    return float(low), float(high)


def binomial_interval(hits: float, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Compute the exact interval of a share (Clopper and Pearson 1934), in percent.

    Args:
        hits: Successes, not necessarily whole.
        trials: Of which they are.
        level: Of confidence, between 0 and 1.

    Returns:
        (low, high).
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = betaincinv(hits, trials - hits + 1, tail) if hits > 0 else 0.0
    high = betaincinv(hits + 1, trials - hits, 1 - tail) if hits < trials else 1.0
    return 100 * float(low), 100 * float(high)


def paired_test(
    run: RetrievalPlacement | Sequence[RetrievalPlacement],
    baseline: RetrievalPlacement | Sequence[RetrievalPlacement],
    ties: str = "mean",
    *,
    level: float = 0.95,
    resamples: int = 10000,
    seed: int = 0,
) -> Metrics:
    """Test the differences run − baseline on the same queries.

    A two-sided paired randomisation test: if the two runs were equally good, a result on any video would be as likely
    with the two swapped; p is the share of random swaps whose difference is at least as large,
    (1 + hits) / (1 + resamples).

    Args:
        run: Placement of the run; of several seeds of a system their sequence, whose results on a query are averaged.
        baseline: Placement of the other run, of the same queries, or of as many seeds.
        ties: Tie rule, "mean", "optimistic" or "pessimistic".
        level: Of confidence of the paired bootstrap interval.
        resamples: Number of random swaps, and of bootstrap samples.
        seed: Of both.

    Returns:
        {"difference", "low", "high", "p"} of R@K, MnR, MRR and Rsum, laid out as `placement_metrics`. MdR is left out,
        since it is no mean over queries.

    Raises:
        UserError: If the two have different queries or numbers of seeds.
    """
    runs, baselines = ([each] if isinstance(each, RetrievalPlacement) else list(each) for each in (run, baseline))
    if len(runs) != len(baselines):
        raise UserError(f"{len(runs)} runs and {len(baselines)} of the other system: give both the same seeds")
    if any(not np.array_equal(runs[0].text_video, other.text_video) for other in (*runs, *baselines)):
        raise UserError("the two runs have different queries: give both the same texts and videos in the same order")
    by_seed = []
    for one, other in zip(runs, baselines, strict=True):
        gains, names = _gain_per_video(_sides(one, ties), _sides(other, ties), len(one.videos))
        by_seed.append(gains)
    gains = np.mean(by_seed, axis=0)
    difference = gains.sum(0)
    rng = np.random.default_rng(seed)
    at_least, boot = np.zeros(len(names)), []
    slack = 1e-9 * np.maximum(1.0, np.abs(gains).sum(0))  # sums of equal size differ in the last digits
    for draws in _chunks(resamples, len(gains)):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (draws, len(gains)), dtype=np.int8)
        at_least += np.count_nonzero(np.abs(signs @ gains) >= np.abs(difference) - slack, axis=0)
        boot.append(rng.multinomial(len(gains), np.full(len(gains), 1 / len(gains)), size=draws) @ gains)
    low, high = np.percentile(np.concatenate(boot), [50 * (1 - level), 50 * (1 + level)], axis=0)
    result: Metrics = {"t2v": {}, "v2t": {}}
    for i, (side, name) in enumerate(names):
        entry = {
            "difference": float(difference[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "p": float((1 + at_least[i]) / (1 + resamples)),
        }
        if side:
            result[side][name] = entry
        else:
            result[name] = entry
    return result


def weighted_median(ascending: np.ndarray, weight: np.ndarray) -> float:
    """Compute the median of the sorted values [N], each repeated `weight` [N] (whole numbers) times."""
    reached = np.cumsum(weight)
    middle = [(reached[-1] - 1) // 2, reached[-1] // 2]  # positions from 0; the same one if the count is odd
    return float(ascending[np.searchsorted(reached, middle, side="right")].mean())


def _sides(placement: RetrievalPlacement, ties: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ranks of the queries of each direction, and the unit (index into `videos`) each belongs to."""
    text_unit = np.searchsorted(placement.videos, placement.text_video)
    return {
        "t2v": (placement.t2v.ranks(ties), text_unit),
        "v2t": (placement.v2t.ranks(ties), np.arange(len(placement.videos))),
    }


def _per_query(ranks: np.ndarray) -> np.ndarray:
    """Contribution of each query to each of MEANS, [len(MEANS), N]."""
    hits = {f"R@{k}": 100.0 * (ranks < k + 1) for k in RECALL_DEPTHS}
    summed = np.sum([hits[name] for name in SUMMED_RECALLS], axis=0)
    return np.stack([*hits.values(), summed, ranks, 100.0 / ranks])


def _gain_per_video(
    run: dict[str, tuple[np.ndarray, np.ndarray]], baseline: dict[str, tuple[np.ndarray, np.ndarray]], units: int
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Contribution of each video to each metric's difference, [units, metrics]; the metrics as (direction, name)."""
    columns, names = [], []
    for side, (ranks, unit) in run.items():
        change = (_per_query(ranks) - _per_query(baseline[side][0])) / len(ranks)
        for name, values in zip(MEANS, change, strict=True):
            columns.append(np.bincount(unit, values, minlength=units))
            names.append((side, name))
    rsum = sum(column for column, (_, name) in zip(columns, names, strict=True) if name == "Rsum")
    return np.stack([*columns, rsum], axis=1), [*names, ("", "Rsum")]


def _chunks(total: int, width: int) -> Iterator[int]:
    """`total` draws in parts of at most about four million numbers."""
    step = max(1, (1 << 22) // width)
    for start in range(0, total, step):
        yield min(step, total - start)
