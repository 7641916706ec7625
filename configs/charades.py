"""EagleNet on Charades, a sentence a video.

Paper: none has EagleNet on it; settings as for MSR-VTT with B/16.
Command: python -m eaglenet_jax.train --config=configs/charades.py
Arguments: a CLIP size (b32, b16, l14), a preset (ours, released, paper), a system, as in :b32,released,xpool
Trained: EagleNet in batches of 64 for 5 epochs, head at 1e-4, CLIP at 1e-7; others: eaglenet_jax/config/systems.py
Expected: no published number of EagleNet.
Never run here: it needs the videos and CLIP's weights.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.dataset import Dataset

DATASET = Dataset(
    name="charades",
    queries="first",
    clip="b16",
    words=64,
    frames=12,
    head={"eaglenet": {"any": {"energy": "bilinear", "frame_positions": True, "eam_support_weight": 1.0}}},
)


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a preset, a system and a CLIP size, such as "b32,released"."""
    return DATASET.config(argument)
