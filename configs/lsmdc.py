"""EagleNet on LSMDC, 1,000 test clips of films.

Paper: none has EagleNet on it; settings as for MSR-VTT with B/16.
Command: python -m eaglenet_jax.train --config=configs/lsmdc.py
Arguments: a CLIP size (b32, b16, l14), a preset (ours, released, paper), a system, as in :b32,released,xpool
Expected: no published number of EagleNet.
Never run here: it needs the videos and CLIP's weights.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config import defaults as common

DATASET = common.Dataset(
    name="lsmdc",
    queries="first",
    eaglenet={"b16": {"energy": "bilinear", "frame_positions": True, "eam_support_weight": 1.0}},
)


def get_config(argument: str = "") -> ConfigDict:
    """argument: a preset, a system and a CLIP size, such as "b32,released"."""
    return DATASET.config(argument)
