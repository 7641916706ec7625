"""Frames of a verb and patches of a noun, without the weights of the similarity.

Paper: SHE-Net (Yu et al.), table VIII.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/shenet_choices.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

ROWS: Rows = {
    f"frames{frames}_patches{patches}": {
        "head": {"frames_per_verb": frames, "patches_per_noun": patches, "weighted_nodes": False}
    }
    for frames, patches in ((2, 1), (2, 2), (2, 4), (2, 6), (2, 8), (1, 4), (3, 4), (4, 4))
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "frames2_patches1,didemo,b32"."""
    return ablated("shenet_choices", ROWS, argument, "shenet")
