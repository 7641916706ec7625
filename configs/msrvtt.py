"""EagleNet on MSR-VTT, 1k-A split with 9k training videos.

Paper: EagleNet (CVPR 2026), table 1.
Command: python -m eaglenet_jax.train --config=configs/msrvtt.py
Arguments: a CLIP size (b32, b16, l14), a preset (ours, released, paper), a system, as in :b32,released,xpool
Trained: EagleNet in batches of 64 for 5 epochs, head at 1e-4, CLIP at 1e-7; others: eaglenet_jax/config/systems.py
Expected: t2v R@1 47.2 with B/32 and 51.0 with B/16, as the paper claims them.
Never run here: it needs the videos and CLIP's weights.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.dataset import Dataset

DATASET = Dataset(
    name="msrvtt",
    queries="first",  # 1k-A has one caption a test video
    clip="b32",
    words=32,
    frames=12,
    # The released program's settings differ by CLIP size (docs/systems.md section 2.7).
    head={
        "eaglenet": {
            "b32": {"energy": "mlp", "frame_positions": False, "eam_support_weight": 0.0},
            "any": {"energy": "bilinear", "frame_positions": True, "eam_support_weight": 1.0},
        },
    },
    training={"tmass": {"any": {"optimizer": {"head_lr": 3e-5}}}},
)


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a preset, a system and a CLIP size, such as "b32,released"."""
    return DATASET.config(argument)
