"""Energy functions.

Paper: EagleNet (CVPR 2026), table 4.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/energies.py:msrvtt,b16 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b16 it runs on MovingShapes.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {kind: {"head": {"energy": kind}} for kind in ("cosine", "bilinear", "mlp")}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "mlp,didemo,b16"."""
    return ablated("energies", ROWS, argument)
