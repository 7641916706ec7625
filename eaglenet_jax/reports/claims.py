"""Published numbers of the systems, in percent, which tables show next to a run's own.

By dataset, CLIP size and system; the first claim of a system stands in brackets next to a run's numbers, the others in
rows of their own. A source says whose numbers they are: many papers train the systems of others again ("rerun"), some
print what others published ("as printed in"), and SHE-Net's "retrained" are reruns with its settings.

A value that cannot be read with certainty in the scanned papers is None. These are, in EagleNet's tables 1 and 2: the
v2t R@5 of EagleNet and X-Pool with B/32, the t2v R@5 of T-MASS on VATEX with B/32, and CLIP4Clip's row of table 2 with
B/32; and in T-MASS's table 4 (Charades) the names of all rows.

CrossTVR prints TS2-Net's t2v R@5 on MSR-VTT as 74.5 in its tables 1, 6, 8 and 9 and as 74.3 in table 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eaglenet_jax.reports.ablation_claims import ABLATIONS

NAMES = ("R@1", "R@5", "R@10", "MdR", "MnR")
Values = Sequence[float | None]
Claims = Mapping[str, Sequence[dict[str, Any]]]

TEST_VIDEOS = {"msrvtt": 1000, "didemo": 1004, "msvd": 670, "vatex": 1500, "lsmdc": 1000, "activitynet": 4917}
EAGLENET_1, EAGLENET_2 = (f"EagleNet (CVPR 2026), table {number}" for number in (1, 2))
RERUN_1, RERUN_2 = (f"{source}, a rerun by its authors" for source in (EAGLENET_1, EAGLENET_2))
TMASS_1, TMASS_2 = (
    f"T-MASS (CVPR 2024), tables {number} (its first evaluation leaked captions)" for number in ("1, 3", "2")
)
XPOOL_TMASS = "X-Pool, as printed in T-MASS's table"
XPOOL_CROSS, CLIP4CLIP_CROSS, TS2NET_CROSS = (
    f"{name}, as printed in CrossTVR's table" for name in ("X-Pool", "CLIP4Clip", "TS2-Net")
)
CLIP4CLIP_SHENET = "CLIP4Clip, as printed in SHE-Net's table"
SHENET_RERUN = "SHE-Net, table {}, TS2-Net retrained by its authors"
README, README_DSL = (f"TS2-Net's public program, README{more}" for more in ("", ", with DSL"))


def _claim(source: str, t2v: Values, v2t: Values = ()) -> dict[str, Any]:
    """One claim. t2v, v2t: values of NAMES, the last ones left out or None where there are none."""
    sides = {"t2v": t2v, "v2t": v2t}
    named = {side: dict(zip(NAMES, values, strict=False)) for side, values in sides.items() if values}
    known = {side: {name: x for name, x in values.items() if x is not None} for side, values in named.items()}
    recalls = [side.get(name) for side in known.values() for name in NAMES[:3]]
    complete = len(recalls) == 6 and None not in recalls
    return {"source": source, **known, **({"Rsum": round(sum(recalls), 1)} if complete else {})}  # type: ignore[arg-type]


def _crosstvr(table: int, size: str, t2v: Values, v2t: Values, dsl: bool = False) -> dict[str, Any]:
    return _claim(f"CrossTVR, table {table}, {size}{', with DSL' if dsl else ''}", t2v, v2t)


LARGE = "Large (second stage with ViT-G/14)"
MSRVTT_B32: Claims = {
    "clip4clip": (
        _claim(RERUN_1, (43.2, 71.4, 80.6, 2.0, 16.5), (42.5, 70.9, 81.0, 2.0, 12.2)),
        _claim(f"{CLIP4CLIP_CROSS}s 1 and 8", (44.5, 71.4, 81.6, 2.0, 15.3), (42.7, 70.9, 80.6, 2.0, 11.6)),
    ),
    "xpool": (
        _claim(RERUN_1, (45.8, 73.8, 82.0, 2.0, 14.0), (45.7, None, 82.3, 2.0, 9.4)),
        _claim(
            f"{XPOOL_TMASS}s 1 and 3 and CrossTVR's table 8",
            (46.9, 72.8, 82.2, 2.0, 14.3),
            (44.4, 73.3, 84.0, 2.0, 9.0),
        ),
    ),
    "ts2net": (
        _claim(f"{TS2NET_CROSS}s 1, 6, 8 and 9", (47.0, 74.5, 83.8, 2.0, 13.0), (45.3, 74.1, 83.7, 2.0, 9.2)),
        _claim(RERUN_1, (45.4, 72.9, 82.9, 2.0, 14.2), (44.8, 72.6, 81.1, 2.0, 10.3)),
        _claim(SHENET_RERUN.format("I"), (47.2, 73.7, 83.1, 2.0, 13.1), (44.8, 74.3, 84.0, 2.0, 9.3)),
        _claim("TS2-Net, as printed in T-MASS's table 3", (), (45.3, 74.1, 83.7, 2.0, 9.2)),
        _claim(README_DSL, (51.1, 76.9, 85.6)),
    ),
    "tmass": (
        _claim(RERUN_1, (43.4, 73.2, 82.1, 2.0, 14.3), (45.0, 73.2, 82.7, 2.0, 9.5)),
        _claim(TMASS_1, (50.2, 75.3, 85.1, 1.0, 11.9), (47.7, 78.0, 86.3, 2.0, 8.0)),
    ),
    "shenet": (
        _claim("SHE-Net, table I", (45.3, 74.9, 84.2, 2.0, 12.5), (44.8, 74.8, 83.7, 2.0, 9.1)),
        _claim("SHE-Net, table I, with DSL", (48.5, 77.3, 86.5, 2.0, 11.0), (49.9, 77.2, 85.8, 2.0, 8.2)),
    ),
    "eaglenet": (_claim(EAGLENET_1, (47.2, 74.8, 84.0, 2.0, 14.4), (45.7, None, 83.4, 2.0, 9.4)),),
    "crosstvr": (_crosstvr(8, "on CLIP4Clip", (47.0, 73.8, None, None, 15.5), (44.1, 71.9, None, None, 11.9)),),
    "crosstvr_ts2net": (
        _crosstvr(1, "Base", (49.6, 75.6, 84.9, 2.0, 12.0), (47.0, 76.7, 84.0, 2.0, 8.8)),
        _crosstvr(8, "on TS2-Net", (49.6, 75.5, None, None, 12.1), (47.0, 76.1, None, None, 8.8)),
        _crosstvr(11, "Base", (52.8, 78.9, None, None, 11.2), (52.5, 77.3, None, None, 8.9), dsl=True),
        _crosstvr(1, LARGE, (54.0, 77.5, 85.3, 1.0, 11.8), (51.3, 78.3, 85.4, 1.0, 8.5)),
        _crosstvr(11, LARGE, (57.0, 81.0, None, None, 12.2), (56.6, 79.0, None, None, 10.1), dsl=True),
    ),
    "crosstvr_xpool": (_crosstvr(8, "on X-Pool", (48.1, 74.5, None, None, 14.1), (47.8, 75.2, None, None, 8.8)),),
}
MSRVTT_B16: Claims = {
    "clip4clip": (_claim(RERUN_1, (45.2, 72.2, 81.4, 2.0, 15.0), (42.9, 70.9, 80.6, 2.0, 11.6)),),
    "ts2net": (
        _claim(README, (49.4, 75.6, 85.3)),
        _claim(RERUN_1, (48.8, 75.0, 85.0, 2.0, 13.0), (46.4, 75.4, 85.3, 2.0, 8.6)),
        _claim("TS2-Net, as printed in T-MASS's table 3", (), (46.6, 75.9, 84.9, 2.0, 8.9)),
        _claim(README_DSL, (54.0, 79.3, 87.4)),
    ),
    "xpool": (
        _claim(RERUN_1, (49.2, 73.9, 82.6, 2.0, 13.6), (48.0, 74.9, 82.9, 2.0, 9.7)),
        _claim(f"{XPOOL_TMASS}s 1 and 3", (48.2, 73.7, 82.6, 2.0, 12.7), (46.4, 73.9, 84.1, 2.0, 8.4)),
    ),
    "tmass": (
        _claim(RERUN_1, (48.5, 74.1, 83.4, 2.0, 14.4), (46.7, 75.9, 85.6, 2.0, 9.1)),
        _claim(TMASS_1, (52.7, 77.1, 85.6, 1.0, 10.5), (50.9, 80.2, 88.0, 1.0, 7.4)),
    ),
    "eaglenet": (_claim(EAGLENET_1, (51.0, 76.2, 85.6, 1.0, 12.8), (49.2, 77.1, 86.6, 2.0, 8.2)),),
}
DIDEMO_B32: Claims = {
    "clip4clip": (
        _claim(f"{CLIP4CLIP_CROSS} 4", (43.4, 70.2, None, None, 17.5), (42.5, 70.6, None, None, 11.6)),
        _claim(f"{CLIP4CLIP_SHENET} II", (42.5, 70.2, 80.6, 2.0, 17.5)),
    ),
    "xpool": (
        _claim(RERUN_2, (43.5, 69.5, 79.0)),
        _claim(f"{XPOOL_TMASS} 2", (44.6, 73.2, 82.0, 2.0, 15.4)),
    ),
    "ts2net": (
        _claim(README, (41.8, 71.6, 82.0)),
        _claim(RERUN_2, (39.5, 69.7, 80.9)),
        _claim(SHENET_RERUN.format("II"), (41.5, 70.9, 80.6, 2.0, 13.9)),
        _claim(f"{TS2NET_CROSS} 4", (41.8, 71.6, None, None, 14.8)),
    ),
    "tmass": (_claim(RERUN_2, (43.4, 70.6, 81.0)), _claim(TMASS_2, (50.9, 77.2, 85.3, 1.0, 12.1))),
    "shenet": (_claim("SHE-Net, table II", (45.6, 75.6, 83.6, 2.0, 13.6)),),
    "eaglenet": (_claim(EAGLENET_2, (46.8, 74.0, 83.5)),),
    "crosstvr_ts2net": (
        _crosstvr(4, "Base", (47.1, 73.9, None, None, 17.9), (45.4, 72.6, None, None, 12.1)),
        _crosstvr(13, "Base", (51.2, 75.1, None, None, 15.9), (51.9, 76.7, None, None, 11.2), dsl=True),
        _crosstvr(4, LARGE, (55.0, 77.6, None, None, 17.6), (51.3, 76.7, None, None, 11.6)),
        _crosstvr(13, LARGE, (57.5, 77.8, None, None, 19.1), (56.7, 77.3, None, None, 14.7), dsl=True),
    ),
}
DIDEMO_B16: Claims = {
    "clip4clip": (_claim(RERUN_2, (45.1, 71.5, 81.4)),),
    "xpool": (_claim(RERUN_2, (44.1, 73.5, 83.4)), _claim(f"{XPOOL_TMASS} 2", (47.3, 74.8, 82.8, 2.0, 14.2))),
    "ts2net": (_claim(RERUN_2, (43.1, 72.3, 81.5)),),
    "tmass": (_claim(RERUN_2, (42.1, 73.1, 82.3)), _claim(TMASS_2, (53.3, 80.1, 87.7, 1.0, 9.8))),
    "eaglenet": (_claim(EAGLENET_2, (51.5, 78.7, 86.8)),),
}
MSVD_B32: Claims = {
    "clip4clip": (
        _claim(f"{CLIP4CLIP_CROSS} 2", (45.9, 74.9, None, None, 10.4), (51.0, 76.3, None, None, 9.1)),
        _claim(f"{CLIP4CLIP_SHENET} IV", (45.2, 75.5, 84.3, 2.0, 10.3)),
    ),
    "xpool": (_claim(RERUN_2, (47.1, 76.5, 85.2)), _claim(f"{XPOOL_CROSS} 2", (47.2, 77.4, None, None, 9.3))),
    "ts2net": (
        _claim(RERUN_2, (44.7, 75.5, 84.9)),
        _claim(SHENET_RERUN.format("IV"), (44.0, 75.5, 84.6, 2.0, 10.4)),
    ),
    "tmass": (_claim(RERUN_2, (41.8, 71.9, 81.4)),),
    "shenet": (_claim("SHE-Net, table IV", (47.6, 76.8, 85.5, 2.0, 9.4)),),
    "eaglenet": (_claim(EAGLENET_2, (47.9, 77.7, 85.9)),),
    "crosstvr_ts2net": (
        _crosstvr(2, "Base", (49.7, 79.0, None, None, 9.1), (68.7, 89.6, None, None, 3.0)),
        _crosstvr(12, "Base", (52.7, 80.8, None, None, 9.1), (76.7, 93.6, None, None, 2.2), dsl=True),
        _crosstvr(2, LARGE, (55.0, 81.9, None, None, 9.1), (74.3, 95.5, None, None, 2.0)),
        _crosstvr(12, LARGE, (57.9, 83.1, None, None, 10.1), (81.5, 96.1, None, None, 1.8), dsl=True),
    ),
}
MSVD_B16: Claims = {
    "clip4clip": (_claim(RERUN_2, (47.6, 78.0, 86.4)),),
    "xpool": (_claim(RERUN_2, (49.5, 79.6, 87.9)),),
    "ts2net": (_claim(RERUN_2, (47.0, 78.0, 86.6)),),
    "tmass": (_claim(RERUN_2, (44.9, 75.2, 84.2)),),
    "eaglenet": (_claim(EAGLENET_2, (50.9, 80.7, 88.3)),),
}
VATEX_B32: Claims = {
    "clip4clip": (_claim(f"{CLIP4CLIP_CROSS} 5", (55.9, 89.2, None, None, 3.9), (73.2, 97.1, None, None, 1.7)),),
    "xpool": (_claim(RERUN_2, (57.5, 87.8, 93.7)), _claim(f"{XPOOL_TMASS} 2", (60.0, 90.0, 95.0, 1.0, 3.8))),
    "ts2net": (
        _claim(README, (59.1, 90.0, 95.2)),
        _claim(RERUN_2, (57.7, 88.7, 94.2)),
        _claim(f"{TS2NET_CROSS} 5", (59.1, 90.0, None, None, 3.5)),
    ),
    "tmass": (_claim(RERUN_2, (56.1, None, 93.8)), _claim(TMASS_2, (63.0, 92.3, 96.4, 1.0, 3.2))),
    "eaglenet": (_claim(EAGLENET_2, (59.0, 89.2, 94.1)),),
    "crosstvr_ts2net": (
        _crosstvr(5, "Base", (64.1, 91.5, None, None, 3.3), (79.7, 97.2, None, None, 1.6)),
        _crosstvr(14, "Base", (66.2, 92.2, None, None, 3.3), (87.4, 98.1, None, None, 1.4), dsl=True),
        _crosstvr(5, LARGE, (71.1, 94.0, None, None, 3.0), (86.4, 99.2, None, None, 1.3)),
        _crosstvr(14, LARGE, (73.7, 94.3, None, None, 2.9), (90.9, 99.2, None, None, 1.3), dsl=True),
    ),
}
VATEX_B16: Claims = {
    "clip4clip": (_claim(RERUN_2, (60.9, 90.6, 95.4)),),
    "xpool": (_claim(RERUN_2, (62.0, 91.0, 95.6)), _claim(f"{XPOOL_TMASS} 2", (62.6, 91.7, 96.0, 1.0, 3.4))),
    "ts2net": (_claim(RERUN_2, (62.1, 91.2, 95.8)),),
    "tmass": (_claim(RERUN_2, (60.8, 90.5, 95.3)), _claim(TMASS_2, (65.6, 93.9, 97.2, 1.0, 2.7))),
    "eaglenet": (_claim(EAGLENET_2, (63.6, 91.5, 95.7)),),
}
LSMDC_B32: Claims = {
    "clip4clip": (_claim(f"{CLIP4CLIP_CROSS} 3", (22.6, 41.0, None, None, 61.0), (20.8, 39.0, None, None, 54.2)),),
    "xpool": (_claim(f"{XPOOL_TMASS} 1", (25.2, 43.7, 53.5, 8.0, 53.2)),),
    "ts2net": (_claim(README, (23.4, 42.3, 50.9)), _claim(f"{TS2NET_CROSS} 3", (23.4, 42.3, None, None, 56.9))),
    "tmass": (_claim(TMASS_1, (28.9, 48.2, 57.6, 6.0, 43.3)),),
    "crosstvr_ts2net": (
        _crosstvr(3, "Base", (26.8, 45.3, None, None, 55.2), (23.8, 45.0, None, None, 46.6)),
        _crosstvr(3, LARGE, (27.7, 48.5, None, None, 52.8), (29.7, 47.4, None, None, 46.2)),
    ),
}
LSMDC_B16: Claims = {
    "xpool": (_claim(f"{XPOOL_TMASS} 1", (26.1, 46.8, 56.7, 7.0, 47.3)),),
    "tmass": (_claim(TMASS_1, (30.3, 52.2, 61.3, 5.0, 40.1)),),
}
ACTIVITYNET_B32: Claims = {
    "clip4clip": (_claim(f"{CLIP4CLIP_SHENET} III", (40.5, 72.4, None, 2.0, 7.5)),),
    "ts2net": (
        _claim(README, (41.0, 73.6, 84.5)),
        _claim(SHENET_RERUN.format("III"), (39.9, 72.3, 84.3, 2.0, 8.5)),
    ),
    "shenet": (_claim("SHE-Net, table III", (43.9, 75.3, 86.1, 2.0, 7.1)),),
}
CLAIMED: Mapping[str, Mapping[str, Claims]] = {
    "msrvtt": {"b32": MSRVTT_B32, "b16": MSRVTT_B16},
    "didemo": {"b32": DIDEMO_B32, "b16": DIDEMO_B16},
    "msvd": {"b32": MSVD_B32, "b16": MSVD_B16},
    "vatex": {"b32": VATEX_B32, "b16": VATEX_B16},
    "lsmdc": {"b32": LSMDC_B32, "b16": LSMDC_B16},
    "activitynet": {"b32": ACTIVITYNET_B32},
}


def claimed(rows: str) -> dict[str, Any]:
    """Look up the published numbers of a system or of a row of an ablation.

    Args:
        rows: `config.claim`, the rows to look for by comma, of which the first that is there counts: dataset, CLIP size
            and system as "msrvtt/b32/eaglenet", or these of an ablation with its table and row as
            "msrvtt/b16/eaglenet/components/frl"; "_vitg" behind the system for a second stage with ViT-G/14. "" for
            none.

    Returns:
        {"source": …, "videos": of the test split, "t2v": {"R@1": percent, …}, …, "others": further claims, each with
        its "source", "t2v" and so on}, empty where there are none.
    """
    for row in rows.split(","):
        dataset, size, system, *rest = [*row.split("/"), "", "", ""]
        of_system = CLAIMED.get(dataset, {}).get(size, {}).get(system.removesuffix("_vitg"), ())
        if system.endswith("_vitg"):
            of_system = [each for each in of_system if LARGE in each["source"]]
        found = _of_ablation(dataset, size, rest) if rest[0] else of_system
        if found:
            return {"videos": TEST_VIDEOS[dataset], **found[0], "others": [dict(each) for each in found[1:]]}
    return {}


def _of_ablation(dataset: str, size: str, rest: Sequence[str]) -> Sequence[dict[str, Any]]:
    table, row = rest[:2]
    ablation = ABLATIONS.get(table)
    values = ablation.rows.get(row, {}).get(f"{dataset}/{size}") if ablation else None
    return (_claim(ablation.source, *values),) if ablation and values else ()
