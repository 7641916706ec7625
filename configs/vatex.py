"""EagleNet on VATEX, 1,500 test videos.

Paper: EagleNet (CVPR 2026), table 2.
Command: python -m eaglenet_jax.train --config=configs/vatex.py
Arguments: a CLIP size (b32, b16, l14), a preset (ours, released, paper), a system, as in :b32,released,xpool
Trained: EagleNet in batches of 64 for 5 epochs, head at 1e-4, CLIP at 1e-7; others: eaglenet_jax/config/systems.py
Expected: t2v R@1 59.0 with B/32 and 63.6 with B/16, as the paper claims them.
Never run here: it needs the videos and CLIP's weights.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.dataset import Dataset

DATASET = Dataset(
    name="vatex",
    queries="all",
    clip="b16",
    words=32,
    frames=12,
    head={"eaglenet": {"any": {"energy": "mlp", "frame_positions": True, "eam_support_weight": 1.0}}},
)


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a preset, a system and a CLIP size, such as "b32,released"."""
    return DATASET.config(argument)
