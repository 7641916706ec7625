"""Published numbers of the rows of ablations, by the names of the tables and rows in configs/ablations.

A value that cannot be read with certainty in the scanned papers is None. These are all in EagleNet: the row of the
sigmoid loss alone in table 3 (MSR-VTT R@1), R@5 on DiDeMo of relational attention without energy-aware matching
(tables 3, 5 and 7), the bilinear row of table 4 on DiDeMo, and in table 5 R@5 of E(t, v) on DiDeMo, of min pooling on
MSR-VTT and of mean pooling on DiDeMo. Figures have no numbers: figures 6 and 7 of T-MASS, figure 4 of CrossTVR.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

Values = Sequence[float | None]
Sides = tuple[Values, ...]  # text → video, and perhaps video → text: R@1, R@5, R@10, MdR, MnR


@dataclasses.dataclass(frozen=True)
class AblationClaims:
    """A table of a paper.

    Attributes:
        source: Whose table it is, and what its numbers were measured with.
        rows: By row, then by "dataset/CLIP size", the numbers of each direction.
    """

    source: str
    rows: Mapping[str, Mapping[str, Sides]]


def _both(msrvtt: Values, didemo: Values | None = None, size: str = "b16") -> dict[str, Sides]:
    """Numbers of text → video on MSR-VTT and DiDeMo."""
    found: dict[str, Sides] = {f"msrvtt/{size}": (msrvtt,)}
    return found | {f"didemo/{size}": (didemo,)} if didemo else found


def _shenet(table: str, rows: Mapping[str, Values]) -> AblationClaims:
    return AblationClaims(f"SHE-Net, table {table}", {row: _both(values, size="b32") for row, values in rows.items()})


def _crosstvr(about: str, rows: Mapping[str, tuple[Values, Values]]) -> AblationClaims:
    """rows: R@1, R@5 and MnR of each direction."""
    named = {
        row: {"msrvtt/b32": tuple((*side[:2], None, None, side[2]) for side in sides)} for row, sides in rows.items()
    }
    return AblationClaims(f"CrossTVR, {about}", named)


_NO_FRL = _both((48.6, 75.3, 83.7), (43.8, 75.6, 83.8))
_NO_EAM = _both((49.9, 77.3, 84.3), (49.1, None, 85.0))
_ALL = _both((51.0, 76.2, 85.6), (51.5, 78.7, 86.8))
_TMASS_ALL: Values = (50.2, 75.3, 85.1, 1.0, 11.9)
_XPOOL: Values = (46.9, 72.8, 82.2, 2.0, 14.3)

ABLATIONS: Mapping[str, AblationClaims] = {
    "components": AblationClaims(
        "EagleNet (CVPR 2026), table 3",
        {
            "base": _both((48.5, 74.1, 83.4), (42.1, 73.1, 82.3)),
            "frl": _both((48.8, 75.6, 83.9), (47.9, 75.2, 84.1)),
            "eam": _both((49.0, 75.3, 84.0), (43.4, 73.6, 82.7)),
            "frl_eam": _both((50.5, 76.5, 84.2), (49.2, 76.6, 85.3)),
            "sigmoid": _both((None, 75.9, 84.4), (43.9, 75.6, 83.6)),
            "frl_sigmoid": _NO_EAM,
            "eam_sigmoid": _NO_FRL,
            "all": _ALL,
        },
    ),
    "energies": AblationClaims(
        "EagleNet (CVPR 2026), table 4",
        {
            "cosine": _both((50.0, 76.9, 85.5), (50.2, 78.3, 86.3)),
            "bilinear": _both((51.0, 76.2, 85.6)),
            "mlp": _both((50.3, 76.6, 85.1), (51.5, 78.7, 86.8)),
        },
    ),
    "pooling": AblationClaims(
        "EagleNet (CVPR 2026), table 5",
        {
            "no_eam": _NO_EAM,
            "fused": _both((48.8, 76.3, 84.6), (47.8, None, 85.2)),
            "max": _both((50.4, 76.5, 85.5), (51.3, 79.0, 86.6)),
            "min": _both((50.5, None, 84.9), (50.9, 78.5, 86.5)),
            "avg": _both((51.0, 76.2, 85.6), (51.5, None, 86.8)),
        },
    ),
    "graph": AblationClaims(
        "EagleNet (CVPR 2026), table 7",
        {
            "gat_no_eam": _both((49.4, 76.8, 85.9), (47.5, 76.6, 85.9)),
            "rgat_no_eam": _NO_EAM,
            "gat": _both((49.9, 76.6, 85.2), (48.9, 78.4, 86.6)),
            "rgat": _ALL,
        },
    ),
    "eam_weight": AblationClaims(
        "EagleNet (CVPR 2026), table 8",
        {
            "weight_0.1": _both((50.7, 76.6, 85.7), (50.9, 78.9, 86.6)),
            "weight_0.5": _both((50.1, 76.5, 86.2), (51.2, 78.6, 86.6)),
            "weight_1.0": _ALL,
        },
    ),
    "edges": AblationClaims(
        "EagleNet (CVPR 2026), table 9",
        {"no_frl": _NO_FRL, "no_frame_frame": _both((50.6, 77.5, 84.6), (49.9, 78.7, 86.5)), "all": _ALL},
    ),
    "tmass_radius": AblationClaims(
        "T-MASS (CVPR 2024), table 5",
        {
            "none": _both(_XPOOL, (44.6, 73.2, 82.0, 2.0, 15.4), "b32"),
            "mean": _both((48.7, 74.7, 83.7, 2.0, 12.7), (48.0, 75.4, 85.0, 2.0, 13.0), "b32"),
            "scalar": _both((49.2, 75.7, 84.7, 2.0, 11.7), (49.7, 75.8, 85.3, 2.0, 12.6), "b32"),
            "linear": _both((49.1, 75.7, 85.7, 2.0, 11.9), (49.8, 78.1, 86.0, 2.0, 11.8), "b32"),
        },
    ),
    "tmass_losses": AblationClaims(
        "T-MASS (CVPR 2024), table 6a",
        {
            "text": _both(_XPOOL, size="b32"),
            "text_stochastic": _both((48.5, 74.8, 84.3, 2.0, 12.3), size="b32"),
            "stochastic": _both((49.1, 75.7, 85.7, 2.0, 11.9), size="b32"),
            "stochastic_support": _both(_TMASS_ALL, size="b32"),
        },
    ),
    "tmass_samples": AblationClaims(
        "T-MASS (CVPR 2024), table 6b",
        {
            "no_sampling": _both((44.4, 72.4, 81.9, 2.0, 13.1), size="b32"),
            "samples_5": _both((46.8, 74.7, 84.0, 2.0, 12.5), size="b32"),
            "samples_10": _both((50.0, 75.2, 84.1, 2.0, 12.3), size="b32"),
            "samples_20": _both(_TMASS_ALL, size="b32"),
        },
    ),
    "shenet_hierarchies": _shenet(
        "V", {"none": (45.4, 73.3, 83.1), "text": (45.8, 73.1, 83.3), "text_video": (45.4, 74.6, 83.8)}
    ),
    "shenet_levels": _shenet(
        "VI",
        {
            "base": (44.6, 73.3, 82.7),
            "verbs": (45.2, 73.1, 82.7),
            "verbs_nouns": (44.8, 74.7, 83.8),
            "verbs_nouns_adjectives": (45.4, 74.6, 83.8),
        },
    ),
    "shenet_similarity": _shenet(
        "VII",
        {
            "verbs": (45.2, 73.1, 82.7),
            "verbs_weighted": (45.9, 73.4, 83.1),
            "nouns": (45.4, 74.6, 83.8),
            "nouns_weighted": (45.3, 74.9, 84.2),
        },
    ),
    "shenet_choices": _shenet(
        "VIII",
        {
            "frames2_patches1": (44.8, 74.1, 83.0),
            "frames2_patches2": (45.7, 74.1, 83.4),
            "frames2_patches4": (45.4, 74.6, 83.8),
            "frames2_patches6": (45.4, 74.4, 83.3),
            "frames2_patches8": (45.2, 74.4, 82.9),
            "frames1_patches4": (45.3, 73.0, 83.0),
            "frames3_patches4": (44.3, 74.7, 83.4),
            "frames4_patches4": (44.4, 74.1, 83.1),
        },
    ),
    "crosstvr_attention": _crosstvr(
        "table 6: on TS2-Net, with ViT-G/14",
        {
            "spatial": ((51.3, 75.9, 12.0), (50.3, 76.9, 8.6)),
            "temporal": ((51.5, 76.8, 11.9), (51.0, 74.8, 8.7)),
            "both": ((54.0, 77.5, 11.8), (51.3, 78.3, 8.5)),
        },
    ),
    "crosstvr_first_stages": _crosstvr(
        "table 8",
        {
            "clip4clip": ((47.0, 73.8, 15.5), (44.1, 71.9, 11.9)),
            "ts2net": ((49.6, 75.5, 12.1), (47.0, 76.1, 8.8)),
            "xpool": ((48.1, 74.5, 14.1), (47.8, 75.2, 8.8)),
        },
    ),
    "crosstvr_sharing": _crosstvr(
        "table 9: on TS2-Net",
        {
            "shared": ((49.6, 75.5, 12.1), (47.0, 76.1, 8.8)),
            "unshared": ((48.6, 74.9, 12.2), (46.3, 75.0, 8.8)),
        },
    ),
    "crosstvr_encoders": _crosstvr(
        "table 10: on TS2-Net",
        {
            "shared": ((49.6, 75.6, 12.0), (47.0, 76.7, 8.8)),
            "own_b32": ((49.6, 75.5, 12.1), (47.0, 76.1, 8.8)),
        },
    ),
}
