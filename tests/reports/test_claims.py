"""Numbers of papers: read as printed, found by the row that a config names, complete where a test names them."""

from __future__ import annotations

import itertools
import runpy

import pytest

from eaglenet_jax.config.clip_sizes import CLIP_SIZES
from eaglenet_jax.config.loading import config_folder, config_names, load_config
from eaglenet_jax.config.systems import SYSTEMS
from eaglenet_jax.reports.ablation_claims import ABLATIONS
from eaglenet_jax.reports.claims import CLAIMED, TEST_VIDEOS, claimed

EVERY = [
    (f"{dataset}/{size}/{system}", claim)
    for dataset, sizes in CLAIMED.items()
    for size, systems in sizes.items()
    for system, claims in systems.items()
    for claim in claims
]


def test_a_claim_is_found_by_the_config_of_its_system():
    """Every claim belongs to a config that exists and names it, and the sides are possible numbers."""
    for row, claim in EVERY:
        dataset, size, system = row.split("/")
        assert dataset in TEST_VIDEOS and size in CLIP_SIZES and system in SYSTEMS
        assert load_config(f"{dataset}:{size},{system}").claim == row
        found = claimed(row)
        assert claim["source"] in [found["source"], *(other["source"] for other in found["others"])]
        for side in (claim.get("t2v"), claim.get("v2t")):
            if side:
                recalls = [side[name] for name in ("R@1", "R@5", "R@10") if name in side]
                assert recalls[0] > 0 and recalls == sorted(recalls) and recalls[-1] < 100
                assert 1 <= side.get("MdR", 1) <= 10 and 1 <= side.get("MnR", 1) < 70
    assert len({(row, claim["source"]) for row, claim in EVERY}) == len(EVERY)  # no claim twice


@pytest.mark.parametrize(
    ("row", "source", "side", "printed"),
    [
        ("msrvtt/b32/crosstvr", "CrossTVR, table 8", "t2v", {"R@1": 47.0, "R@5": 73.8, "MnR": 15.5}),
        ("msrvtt/b32/crosstvr_ts2net", "CrossTVR, table 8", "v2t", {"R@1": 47.0, "R@5": 76.1, "MnR": 8.8}),
        ("msrvtt/b32/crosstvr_xpool", "CrossTVR, table 8", "v2t", {"R@1": 47.8, "R@5": 75.2, "MnR": 8.8}),
        ("activitynet/b32/shenet", "SHE-Net, table III", "t2v", {"R@1": 43.9, "R@5": 75.3, "R@10": 86.1}),
        ("didemo/b32/tmass", "EagleNet (CVPR 2026), table 2", "t2v", {"R@1": 43.4, "R@5": 70.6, "R@10": 81.0}),
        ("msvd/b32/tmass", "EagleNet (CVPR 2026), table 2", "t2v", {"R@1": 41.8, "R@5": 71.9, "R@10": 81.4}),
        ("msrvtt/b32/xpool", "X-Pool, as printed in T-MASS", "v2t", {"R@1": 44.4, "R@5": 73.3, "R@10": 84.0}),
        ("msrvtt/b32/ts2net", "EagleNet (CVPR 2026), table 1", "t2v", {"R@1": 45.4}),
        ("msrvtt/b32/ts2net", "SHE-Net, table I", "t2v", {"R@1": 47.2}),
        ("msrvtt/b32/ts2net", "TS2-Net, as printed in T-MASS", "v2t", {"R@1": 45.3}),
        ("msrvtt/b32/ts2net", "TS2-Net, as printed in CrossTVR", "t2v", {"R@1": 47.0}),
        ("msrvtt/b32/shenet", "SHE-Net, table I, with DSL", "t2v", {"R@1": 48.5, "R@10": 86.5}),
        (
            "msrvtt/b32/shenet",
            "SHE-Net, table I, with DSL",
            "v2t",
            {"R@1": 49.9, "R@5": 77.2, "R@10": 85.8, "MnR": 8.2},
        ),
        ("msrvtt/b32/crosstvr_ts2net", "CrossTVR, table 11, Base", "v2t", {"R@1": 52.5, "R@5": 77.3, "MnR": 8.9}),
        ("msvd/b32/crosstvr_ts2net", "CrossTVR, table 12, Base", "v2t", {"R@1": 76.7, "R@5": 93.6, "MnR": 2.2}),
        ("didemo/b32/crosstvr_ts2net", "CrossTVR, table 13, Large", "v2t", {"R@1": 56.7, "R@5": 77.3, "MnR": 14.7}),
        ("vatex/b32/crosstvr_ts2net", "CrossTVR, table 14, Base", "v2t", {"R@1": 87.4, "R@5": 98.1, "MnR": 1.4}),
        ("msrvtt/b16/ts2net", "TS2-Net's public program, README, with DSL", "t2v", {"R@1": 54.0}),
    ],
)
def test_claims_are_the_printed_numbers_and_say_whose_they_are(row, source, side, printed):
    found = claimed(row)
    (claim,) = [each for each in (found, *found["others"]) if each["source"].startswith(source)][:1]
    assert {name: claim[side][name] for name in printed} == printed


@pytest.mark.parametrize("dataset", ["msrvtt", "msvd", "lsmdc", "didemo", "vatex"])
def test_with_vitg_the_number_of_its_paper_is_that_of_large(dataset):
    words = f"{dataset}:b32,crosstvr_ts2net,paper"
    base, large = (claimed(load_config(name).claim) for name in (words, f"{words},vitg"))
    assert "Base" in base["source"] and "Large" in large["source"]
    assert all("Large" in each["source"] for each in large["others"])
    assert large["t2v"]["R@1"] > base["t2v"]["R@1"]


def test_reruns_are_told_from_numbers_of_the_systems_own_authors():
    for row, claim in EVERY:
        system = row.rpartition("/")[2]
        if claim["source"].startswith("EagleNet"):
            assert ("rerun" in claim["source"]) == (system != "eaglenet"), row
    assert "retrained" in str(claimed("msvd/b32/ts2net")["others"])


def test_sums_of_recalls_are_those_that_the_papers_print():
    """Rsum of EagleNet's tables (both directions of table 1) and SHE-Net's (one direction)."""
    for row, rsum in (("msrvtt/b16/eaglenet", 425.7), ("msrvtt/b32/clip4clip", 389.6), ("msrvtt/b16/xpool", 411.5)):
        assert claimed(row)["Rsum"] == rsum
    assert claimed("msrvtt/b32/eaglenet").get("Rsum") is None  # one of its parts cannot be read
    three = [claimed(f"{dataset}/b32/ts2net") for dataset in ("didemo", "msvd", "vatex")]
    reruns = [
        next(each for each in (found, *found["others"]) if each["source"].startswith("EagleNet")) for found in three
    ]
    assert round(sum(sum(list(each["t2v"].values())[:3]) for each in reruns), 1) == 635.8
    sums = {row: sum(values["msrvtt/b32"][0]) for row, values in ABLATIONS["shenet_levels"].rows.items()}
    assert {row: round(value, 1) for row, value in sums.items()} == {
        "base": 200.6,
        "verbs": 201.0,
        "verbs_nouns": 203.3,
        "verbs_nouns_adjectives": 203.8,
    }


@pytest.mark.parametrize("table", sorted(name for name in config_names() if name.startswith("ablations/")))
def test_every_row_of_an_ablation_stands_beside_that_of_its_paper(table):
    """Claims are of rows that exist; rows without one are not in the paper, or only in its figure."""
    name = table.partition("/")[2]
    rows = list(runpy.run_path(str(config_folder() / f"{table}.py"))["ROWS"])
    without = {
        "pooling": {"mean_frame"},
        "crosstvr_first_stages": {"eaglenet"},
        "crosstvr_sharing": {"unshared_half"},
        "crosstvr_encoders": {"own_l14"},
        **{figure: set(rows) for figure in ("tmass_frames", "tmass_support_weight", "crosstvr_candidates")},
    }
    claims = ABLATIONS[name].rows if name in ABLATIONS else {}
    assert set(claims) == set(rows) - without.get(name, set())
    for row, sizes in claims.items():
        for where, sides in sizes.items():
            dataset, size = where.split("/")
            found = claimed(load_config(f"{table}:{row},{dataset},{size}").claim)
            assert found["source"] == ABLATIONS[name].source
            for side, values in zip(("t2v", "v2t"), sides, strict=False):
                assert list(found[side].values()) == [value for value in values if value is not None]


def test_a_changed_row_without_a_paper_has_no_claim_and_an_unchanged_one_has_the_systems():
    assert not claimed(load_config("ablations/components:frl,msvd,b16").claim)
    assert claimed(load_config("ablations/components:all,msvd,b16").claim)["t2v"]["R@1"] == 50.9
    assert load_config("ablations/components:frl,demo").claim == ""
    assert claimed(load_config("ablations/crosstvr_first_stages:eaglenet,msrvtt,b32").claim) == {}
    for nothing in ("", "msrvtt", "msrvtt/b32/none", "none/b32/xpool", "msrvtt/b16/eaglenet/none/none"):
        assert claimed(nothing) == {}
    assert len(list(itertools.chain(*(table.rows for table in ABLATIONS.values())))) > 50
