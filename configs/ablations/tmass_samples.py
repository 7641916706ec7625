"""Stochastic texts of a pair in evaluation.

Paper: T-MASS (Wang et al.), table 6b.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/tmass_samples.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "no_sampling": {"head": {"samples": 0}},
    **{f"samples_{samples}": {"head": {"samples": samples}} for samples in (5, 10, 20)},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "samples_5,didemo,b32,paper"."""
    return ablated("tmass_samples", ROWS, argument, "tmass")
