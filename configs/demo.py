"""EagleNet on MovingShapes, the demo: clips of three events, captions of one of them, six minutes on two CPU cores.

Command: python -m eaglenet_jax.train --config=configs/demo.py
Arguments: a system, a preset, `tiny` for a run of seconds that learns nothing, as in :xpool,tiny
Trained: 200 steps of 32 clips with 12 frames, from the CLIP that ships with the package (configs/moving_shapes_clip.py)
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.arguments import chosen, chosen_system, split_argument
from eaglenet_jax.config.moving_shapes import HEADS, SHIPPED_CLIP, make_tiny, moving_shapes
from eaglenet_jax.config.presets import PRESETS
from eaglenet_jax.config.systems import SYSTEMS, set_first_stage, set_system, system_recipe


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for."""
    words = split_argument(argument, (*PRESETS, *SYSTEMS, "tiny"))
    preset = chosen(words, PRESETS, "ours")
    system = chosen_system(words, tuple(SYSTEMS), "eaglenet")
    recipe = system_recipe(system)

    config = moving_shapes({"train": 2000, "validate": 200, "test": 200}, {"count": 3, "pairs": 0.2})
    config.name = "demo"
    config.init_from = SHIPPED_CLIP
    config.batch_size, config.steps = 32, 200
    config.max_words, config.max_frames = 36, 12
    config.optimizer.head_lr, config.optimizer.clip_lr = 5e-4, 4e-4
    config.evaluation.every = 50
    if "tiny" in words:
        make_tiny(config)
    first = recipe.first_stage
    if "tiny" in words and system != "clip4clip":
        first = first or "clip4clip"  # no CLIP of its size is shipped: it is trained first
    set_system(config, system, preset, HEADS.get(recipe.head))
    if first:
        config.first_stage = get_config(",".join([*(words - {system}), first]))
        config.first_stage.name = f"demo_{first}"
        config.init_from = ""
    if recipe.first_stage:
        set_first_stage(config, config.first_stage)
    return config
