"""Text and video hierarchy, without the weights of the similarity.

Paper: SHE-Net (Yu et al.), table V.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/shenet_hierarchies.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
The paper does not say what is left of a hierarchy that is off; docs/DIFFERENCES.md says what is here.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    "none": {"head": {"text_syntax": False, "video_syntax": False, "weighted_nodes": False}},
    "text": {"head": {"video_syntax": False, "weighted_nodes": False}},
    "text_video": {"head": {"weighted_nodes": False}},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "none,didemo,b32"."""
    return ablated("shenet_hierarchies", ROWS, argument, "shenet")
