"""Relational or plain graph attention, with and without energy-aware matching.

Paper: EagleNet (CVPR 2026), table 7.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/graph.py:msrvtt,b16 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b16 it runs on MovingShapes.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

_NO_EAM = {"eam_weight": 0.0, "eam_support_weight": 0.0}

ROWS: Rows = {
    "gat_no_eam": {"head": {**_NO_EAM, "graph": {"kind": "gat"}}},
    "rgat_no_eam": {"head": _NO_EAM},
    "gat": {"head": {"graph": {"kind": "gat"}}},
    "rgat": {},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "gat,didemo,b16"."""
    return ablated("graph", ROWS, argument)
