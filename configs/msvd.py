"""EagleNet on MSVD, every caption of a video a query.

Paper: EagleNet (CVPR 2026), table 2.
Command: python -m eaglenet_jax.train --config=configs/msvd.py
Arguments: a CLIP size (b32, b16, l14), a preset (ours, released, paper), a system, as in :b32,released,xpool
Trained: EagleNet in batches of 64 for 5 epochs, head at 1e-4, CLIP at 1e-7; others: eaglenet_jax/config/systems.py
Expected: t2v R@1 47.9 with B/32 and 50.9 with B/16, as the paper claims them.
Never run here: it needs the videos and CLIP's weights.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.dataset import Dataset

DATASET = Dataset(
    name="msvd",
    queries="all",
    clip="b16",
    words=32,
    frames=12,
    head={"eaglenet": {"any": {"energy": "mlp", "frame_positions": False, "eam_support_weight": 1.0}}},
)


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a preset, a system and a CLIP size, such as "b32,released"."""
    return DATASET.config(argument)
