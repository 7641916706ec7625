"""Spatial and temporal attention.

Paper: CrossTVR (Dai et al.), table 6.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/crosstvr_attention.py:msrvtt,b32 --seeds=0,1,2
    The paper's rows are on TS2-Net with ViT-G/14: add ,crosstvr_ts2net,paper,vitg
Expected: the paper's table; never run here on real data. With :moving_shapes,frozen instead of
    :msrvtt,b32 it runs on MovingShapes.
The table's baseline is the first stage, which every run of two stages reports with its own result.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "spatial": {"head": {"temporal": False}},
    "temporal": {"head": {"spatial": False}},
    "both": {},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "spatial,didemo,b32"."""
    return ablated("crosstvr_attention", ROWS, argument, "crosstvr")
