"""Published numbers of the systems, in percent, which tables show next to a run's own.

By dataset, CLIP size and system, from EagleNet (CVPR 2026), tables 1 and 2, unless a row names another source. The
other systems there, except SHE-Net, are reproductions by its authors in one code base, T-MASS without its leak. Values
that cannot be read with certainty in the scanned table are left out. TS2-Net's are its authors' own where they gave
any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SOURCE = "EagleNet (CVPR 2026), table {}"
_TS2NET = {"source": "TS2-Net's public program, README"}
_TS2NET_BOTH = {"source": "TS2-Net (ECCV 2022), as CrossTVR's table 1 prints it"}


def _t2v(*recalls: float) -> dict[str, Any]:
    return {"t2v": dict(zip(("R@1", "R@5", "R@10"), recalls, strict=True))}


def _both(t2v: tuple[float, ...], v2t: tuple[float, ...]) -> dict[str, Any]:
    names = ("R@1", "R@5", "R@10", "MdR", "MnR")
    sides = {side: dict(zip(names, values, strict=True)) for side, values in (("t2v", t2v), ("v2t", v2t))}
    return {**sides, "Rsum": round(sum(values[i] for values in (t2v, v2t) for i in range(3)), 1)}


TEST_VIDEOS = {"msrvtt": 1000, "didemo": 1004, "msvd": 670, "vatex": 1500, "lsmdc": 1000, "activitynet": 4917}
CLAIMED: Mapping[str, Mapping[str, Mapping[str, dict[str, Any]]]] = {
    "msrvtt": {
        "b32": {
            "clip4clip": _both((43.2, 71.4, 80.6, 2.0, 16.5), (42.5, 70.9, 81.0, 2.0, 12.2)),
            "xpool": _t2v(45.8, 73.8, 82.0),
            "ts2net": _both((47.0, 74.5, 83.8, 2.0, 13.0), (45.3, 74.1, 83.7, 2.0, 9.2)) | _TS2NET_BOTH,
            "tmass": _both((43.4, 73.2, 82.1, 2.0, 14.3), (45.0, 73.2, 82.7, 2.0, 9.5)),
            "shenet": _both((45.3, 74.9, 84.2, 2.0, 12.5), (44.8, 74.8, 83.7, 2.0, 9.1)),
            "eaglenet": _t2v(47.2, 74.8, 84.0),
        },
        "b16": {
            "clip4clip": _both((45.2, 72.2, 81.4, 2.0, 15.0), (42.9, 70.9, 80.6, 2.0, 11.6)),
            "ts2net": _t2v(49.4, 75.6, 85.3) | _TS2NET,
            "xpool": _both((49.2, 73.9, 82.6, 2.0, 13.6), (48.0, 74.9, 82.9, 2.0, 9.7)),
            "tmass": _both((48.5, 74.1, 83.4, 2.0, 14.4), (46.7, 75.9, 85.6, 2.0, 9.1)),
            "eaglenet": _both((51.0, 76.2, 85.6, 1.0, 12.8), (49.2, 77.1, 86.6, 2.0, 8.2)),
        },
    },
    "didemo": {
        "b32": {
            "xpool": _t2v(43.5, 69.5, 79.0),
            "ts2net": _t2v(41.8, 71.6, 82.0) | _TS2NET,
            "shenet": _t2v(45.6, 75.6, 83.6),
            "eaglenet": _t2v(46.8, 74.0, 83.5),
        },
        "b16": {
            "clip4clip": _t2v(45.1, 71.5, 81.4),
            "xpool": _t2v(44.1, 73.5, 83.4),
            "ts2net": _t2v(43.1, 72.3, 81.5),
            "tmass": _t2v(42.1, 73.1, 82.3),
            "eaglenet": _t2v(51.5, 78.7, 86.8),
        },
    },
    "msvd": {
        "b32": {
            "xpool": _t2v(47.1, 76.5, 85.2),
            "ts2net": _t2v(44.7, 75.5, 84.9),
            "shenet": _t2v(47.6, 76.8, 85.5),
            "eaglenet": _t2v(47.9, 77.7, 85.9),
        },
        "b16": {
            "clip4clip": _t2v(47.6, 78.0, 86.4),
            "xpool": _t2v(49.5, 79.6, 87.9),
            "ts2net": _t2v(47.0, 78.0, 86.6),
            "tmass": _t2v(44.9, 75.2, 84.2),
            "eaglenet": _t2v(50.9, 80.7, 88.3),
        },
    },
    "vatex": {
        "b32": {
            "xpool": _t2v(57.5, 87.8, 93.7),
            "ts2net": _t2v(59.1, 90.0, 95.2) | _TS2NET,
            "eaglenet": _t2v(59.0, 89.2, 94.1),
        },
        "b16": {
            "clip4clip": _t2v(60.9, 90.6, 95.4),
            "xpool": _t2v(62.0, 91.0, 95.6),
            "ts2net": _t2v(62.1, 91.2, 95.8),
            "tmass": _t2v(60.8, 90.5, 95.3),
            "eaglenet": _t2v(63.6, 91.5, 95.7),
        },
    },
    "lsmdc": {"b32": {"ts2net": _t2v(23.4, 42.3, 50.9) | _TS2NET}},
    "activitynet": {"b32": {"ts2net": _t2v(41.0, 73.6, 84.5) | _TS2NET}},
}


def claimed(row: str) -> dict[str, Any]:
    """Look up the published numbers of a system.

    Args:
        row: `config.claim`, dataset, CLIP size and system as "msrvtt/b32/eaglenet". "" for none.

    Returns:
        {"source": …, "videos": of the test split, "t2v": {"R@1": percent, …}, …}, empty where there are none.
    """
    if row.count("/") != 2:
        return {}
    dataset, size, system = row.split("/")
    found = CLAIMED.get(dataset, {}).get(size, {}).get(system)
    if not found:
        return {}
    return {"source": _SOURCE.format(1 if dataset == "msrvtt" else 2), "videos": TEST_VIDEOS[dataset], **found}
