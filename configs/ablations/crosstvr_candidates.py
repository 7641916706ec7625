"""Candidates that are scored again.

Paper: CrossTVR (Dai et al.), figure 4.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/crosstvr_candidates.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's curve; never run here on real data. With :moving_shapes,frozen instead of
    :msrvtt,b32 it runs on MovingShapes.
K changes evaluation alone. On CLIP4Clip's mean one trained run gives the whole curve, and the time of every K:
python -m benchmarks.rerank --workdir=DIR --combine=add --top-k=2,4,6,8,10,12,15,17,19
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {f"k{count}": {"head": {"top_k": count}} for count in (2, 4, 6, 8, 10, 12, 15, 17, 19)}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "k2,didemo,b32"."""
    return ablated("crosstvr_candidates", ROWS, argument, "crosstvr", trained=False)
