"""Frames of a video, T-MASS and X-Pool.

Paper: T-MASS (Wang et al.), figure 7.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/tmass_frames.py:charades,b32 --seeds=0,1,2
Expected: the paper's figure; never run here on real data. With :demo instead of :charades,b32 it runs on MovingShapes.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

_FRAMES = (12, 15, 18, 21, 24)

ROWS: Rows = {
    **{f"frames_{frames}": {"max_frames": frames} for frames in _FRAMES},
    **{f"xpool_{frames}": {"max_frames": frames, "head": {"radius_kind": "none"}} for frames in _FRAMES},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "frames_18,didemo,b32,paper"."""
    return ablated("tmass_frames", ROWS, argument, "tmass")
