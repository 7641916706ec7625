"""EagleNet on MovingShapes, the demo: clips of three events, captions of one of them, four minutes on two CPU cores.

Command: python -m eaglenet_jax.train --config=configs/demo.py
Arguments: a system, a preset, `tiny` for a run of seconds that learns nothing, as in :xpool,tiny
Trained: 200 steps of 32 clips with 12 frames, from the CLIP that ships with the package, which
    configs/pretraining/moving_shapes_clip.py trained
Expected: t2v R@1 near 66 on the 200 test clips (measured once, seed 0); 15.5 before training, 11.5 with :clip4clip
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
    preset, tiny = chosen(words, PRESETS, "ours"), "tiny" in words
    stages = [chosen_system(words, tuple(SYSTEMS), "eaglenet")]
    while system_recipe(stages[0]).first_stage:
        stages.insert(0, system_recipe(stages[0]).first_stage)
    if tiny and stages[:-1] != ["clip4clip"]:
        stages.insert(0, "clip4clip")  # no CLIP of its sizes is shipped: it is trained first
    config = _stage(stages[0], preset, tiny)
    for system in stages[1:]:
        first, config = config, _stage(system, preset, tiny)
        first.name = "demo_clip" if first.system == "clip4clip" else f"demo_{first.system}"
        config.first_stage, config.init_from = first, ""
        if system_recipe(system).first_stage:
            set_first_stage(config, first)
    return config


def _stage(system: str, preset: str, tiny: bool) -> ConfigDict:
    config = moving_shapes({"train": 2000, "validate": 200, "test": 200}, {"count": 3, "pairs": 0.2})
    config.name = "demo"
    config.init_from = SHIPPED_CLIP
    config.batch_size, config.steps = 32, 200
    config.max_words, config.max_frames = 36, 12
    config.optimizer.head_lr, config.optimizer.clip_lr = 5e-4, 4e-4
    config.evaluation.every = 50
    if tiny:
        make_tiny(config)
    set_system(config, system, preset, HEADS.get(system_recipe(system).head))
    return config
