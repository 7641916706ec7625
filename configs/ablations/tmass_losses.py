"""Losses of the text, of its stochastic text and of the support text.

Paper: T-MASS (Wang et al.), table 6a.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/tmass_losses.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
The first row is X-Pool.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "text": {"head": {"radius_kind": "none"}},
    "text_stochastic": {"head": {"text_weight": 1.0, "support_weight": 0.0}},
    "stochastic": {"head": {"support_weight": 0.0}},
    "stochastic_support": {},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "stochastic,didemo,b32,paper"."""
    return ablated("tmass_losses", ROWS, argument, "tmass")
