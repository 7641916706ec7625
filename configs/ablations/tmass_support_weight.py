"""Weight of the support loss.

Paper: T-MASS (Wang et al.), figure 6.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/tmass_support_weight.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's figure; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
The row xpool is the figure's reference.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "xpool": {"head": {"radius_kind": "none"}},
    **{f"weight_{weight}": {"head": {"support_weight": weight}} for weight in (0.5, 0.8, 1.0, 1.2, 1.5)},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "weight_1.2,didemo,b32,paper"."""
    return ablated("tmass_support_weight", ROWS, argument, "tmass")
