"""Weights of the nodes by the hierarchy.

Paper: SHE-Net (Yu et al.), table VII.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/shenet_similarity.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "verbs": {"head": {"nouns": False, "adjectives": False, "weighted_nodes": False}},
    "verbs_weighted": {"head": {"nouns": False, "adjectives": False}},
    "nouns": {"head": {"weighted_nodes": False}},
    "nouns_weighted": {},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "verbs,didemo,b32"."""
    return ablated("shenet_similarity", ROWS, argument, "shenet")
