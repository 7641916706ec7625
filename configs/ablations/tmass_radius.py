"""Forms of the radius.

Paper: T-MASS (Wang et al.), table 5.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/tmass_radius.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
Without a radius it is X-Pool. The last row's numbers are those of table 6a without the support loss, so no row has it.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

_NO_SUPPORT = {"support_weight": 0.0}

ROWS: Rows = {
    "none": {"head": {"radius_kind": "none"}},
    "mean": {"head": {"radius_kind": "mean", **_NO_SUPPORT}},
    "scalar": {"head": {"radius_kind": "scalar", **_NO_SUPPORT}},
    "linear": {"head": _NO_SUPPORT},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "scalar,didemo,b32,paper"."""
    return ablated("tmass_radius", ROWS, argument, "tmass")
