"""First stages that the second is put on.

Paper: CrossTVR (Dai et al.), table 8, in which EagleNet is not.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/crosstvr_first_stages.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :moving_shapes,frozen instead of
    :msrvtt,b32 it runs on MovingShapes.
Each run also reports its first stage.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated
from eaglenet_jax.config.systems import SYSTEMS

# By the system that is trained first.
WORDS = {recipe.first_stage: word for word, recipe in SYSTEMS.items() if recipe.first_stage}
ROWS: Rows = {first: {} for first in WORDS}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and the words that it takes, as "xpool,didemo,b32"."""
    systems = [WORDS[word.strip()] for word in argument.split(",") if word.strip() in WORDS]
    return ablated("crosstvr_first_stages", ROWS, ",".join([argument, *systems]), "crosstvr")
