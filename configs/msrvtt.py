"""EagleNet on MSR-VTT, 1k-A split with 9k training videos.

Paper: EagleNet (CVPR 2026), table 1.
Command: python -m eaglenet_jax.train --config=configs/msrvtt.py:b32 (or :b16; with ,released or ,paper; with
,clip4clip) Expected: t2v R@1 47.2 with B/32 and 51.0 with B/16, as the paper claims them. Never run here: it needs the
videos and CLIP's weights.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str = "") -> ConfigDict:
    """argument: a preset, a system and a CLIP size, such as "b32,released"."""
    words = common.split_argument(argument, (*common.PRESETS, *common.HEADS, "b32", "b16"))
    preset = common.chosen(words, common.PRESETS, "ours")
    system = common.chosen(words, tuple(common.HEADS), "eaglenet")
    size = common.chosen(words, ("b32", "b16"), "b32")
    config = common.defaults()
    config.name = "msrvtt"
    config.queries = "first"  # 1k-A has one caption a test video
    config.data.dataset = "msrvtt"
    config.data.prepared = "datasets/msrvtt"
    # The released program's settings differ by CLIP size (SYSTEMS.md section 2.7).
    by_size = {
        "b32": {"energy": "mlp", "frame_positions": False, "eam_support_weight": 0.0},
        "b16": {"energy": "bilinear", "frame_positions": True, "eam_support_weight": 1.0},
    }
    changes = by_size[size] if system == "eaglenet" else {}
    common.set_system(config, system, preset, **changes)
    common.set_clip(config, size, preset)
    if system == "clip4clip":
        config.batch_size = 128
    return config
