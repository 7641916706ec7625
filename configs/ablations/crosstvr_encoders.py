"""A vision encoder of its own, or that of the first stage.

Paper: CrossTVR (Dai et al.), table 10, and L/14 as the larger encoder that table 7 asks for.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/crosstvr_encoders.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. It does not run with :demo, whose frames have 48 pixels, fewer
than these encoders take.
Tokens of another encoder are made first, by `python -m eaglenet_jax.vision_tokens` with the same --config and a row.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated
from eaglenet_jax.config.clip_sizes import CLIP_WEIGHTS, clip_tokens

ROWS: Rows = {
    "shared": {"head": {"tokens": {"source": "", "count": 0, "width": 0}}},
    **{
        f"own_{size}": {"head": {"tokens": {"source": CLIP_WEIGHTS[size], **clip_tokens(size)}}}
        for size in ("b32", "l14")
    },
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "own_b32,didemo,b32"."""
    return ablated("crosstvr_encoders", ROWS, argument, "crosstvr")
