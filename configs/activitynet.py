"""EagleNet on ActivityNet Captions, a paragraph a video, evaluated on val_1.

Paper: none has EagleNet on it; words and frames as for DiDeMo.
Command: python -m eaglenet_jax.train --config=configs/activitynet.py
Arguments: a CLIP size (b32, b16, l14), a preset (ours, released, paper), a system, as in :b32,released,xpool
Expected: no published number of EagleNet.
Never run here: it needs the videos and CLIP's weights.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config import defaults as common

DATASET = common.Dataset(
    name="activitynet",
    queries="first",
    words=64,
    frames=64,
    accumulate=4,
    eaglenet={"b16": {"energy": "mlp", "frame_positions": True, "eam_support_weight": 0.0}},
)


def get_config(argument: str = "") -> ConfigDict:
    """argument: a preset, a system and a CLIP size, such as "b32,released"."""
    return DATASET.config(argument)
