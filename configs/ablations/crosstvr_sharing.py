"""One set of weights for both attentions, or two.

Paper: CrossTVR (Dai et al.), table 9.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/crosstvr_sharing.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :moving_shapes,frozen instead of
    :msrvtt,b32 it runs on MovingShapes.
The last row is not the paper's: about as many weights as the shared ones.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "shared": {},
    "unshared": {"head": {"shared_weights": False}},
    "unshared_half": {"head": {"shared_weights": False, "transformer": {"layers": 6}}},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "shared,didemo,b32"."""
    return ablated("crosstvr_sharing", ROWS, argument, "crosstvr")
