"""Weight of energy-aware matching.

Paper: EagleNet (CVPR 2026), table 8.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/eam_weight.py:msrvtt,b16 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b16 it runs on MovingShapes.
The weight is that of both energy losses, the support text's too where there is one.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {f"weight_{weight}": {"head": {"eam_weight": weight}} for weight in (0.1, 0.5, 1.0)}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "weight_0.5,didemo,b16"."""
    config = ablated("eam_weight", ROWS, argument)
    if config.head.eam_support_weight:
        config.head.eam_support_weight = config.head.eam_weight
    return config
