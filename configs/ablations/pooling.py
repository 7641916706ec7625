"""Pooling of the energy over frames.

Paper: EagleNet (CVPR 2026), table 5.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/pooling.py:msrvtt,b16 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b16 it runs on MovingShapes.
The row fused is the paper's E(t, v), v = π(F | t). The last row is not the paper's: the mean of the frames instead.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "no_eam": {"head": {"eam_weight": 0.0, "eam_support_weight": 0.0}},
    **{pooling: {"head": {"energy_pooling": pooling}} for pooling in ("fused", "max", "min", "avg", "mean_frame")},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "max,didemo,b16"."""
    return ablated("pooling", ROWS, argument)
