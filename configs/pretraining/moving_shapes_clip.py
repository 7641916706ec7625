"""The tiny CLIP that the demo starts from: CLIP4Clip's mean head, from zero, on MovingShapes' clips of one event.

Command: python -m eaglenet_jax.train --config=configs/pretraining/moving_shapes_clip.py
Shipped: python -m eaglenet_jax.search export --workdir=runs/moving_shapes_clip --out=moving_shapes_clip --dtype=float16
    --own-words
Expected: t2v R@1 near 67 on 1,000 test clips (measured once, seed 0)
Trained: 3,000 steps of 96 clips with 4 frames, of 12,000 clips with five captions each
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.arguments import split_argument
from eaglenet_jax.config.moving_shapes import moving_shapes
from eaglenet_jax.config.systems import set_system


def get_config(argument: str = "") -> ConfigDict:
    """The config; it takes no words."""
    split_argument(argument, ())
    config = moving_shapes({"train": 12000, "validate": 1000, "test": 1000}, events={})
    config.name = "moving_shapes_clip"
    config.batch_size = 96
    config.steps = 3000
    config.max_words = 20
    config.max_frames = 4  # as many as an event of the demo's clips has
    config.evaluation.every = 500
    set_system(config, "clip4clip", "ours")
    return config
