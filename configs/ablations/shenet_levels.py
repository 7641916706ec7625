"""Levels of the hierarchies, without the weights of the similarity.

Paper: SHE-Net (Yu et al.), table VI.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/shenet_levels.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "base": {"head": {"verbs": False, "nouns": False, "adjectives": False, "weighted_nodes": False}},
    "verbs": {"head": {"nouns": False, "adjectives": False, "weighted_nodes": False}},
    "verbs_nouns": {"head": {"adjectives": False, "weighted_nodes": False}},
    "verbs_nouns_adjectives": {"head": {"weighted_nodes": False}},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "base,didemo,b32"."""
    return ablated("shenet_levels", ROWS, argument, "shenet")
