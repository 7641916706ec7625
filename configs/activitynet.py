"""EagleNet on ActivityNet Captions, a paragraph a video, evaluated on val_1.

Paper: none has EagleNet on it; words and frames as for DiDeMo.
Command: python -m eaglenet_jax.train --config=configs/activitynet.py
Arguments: a CLIP size (b32, b16, l14), a preset (ours, released, paper), a system, as in :b32,released,xpool
Trained: EagleNet in batches of 64 for 5 epochs, head at 1e-4, CLIP at 1e-7; others: eaglenet_jax/config/systems.py
Expected: no published number of EagleNet.
Never run here: it needs the videos and CLIP's weights.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.dataset import Dataset

DATASET = Dataset(
    name="activitynet",
    queries="first",  # a paragraph a video
    clip="b16",
    words=64,
    frames=64,
    head={
        "eaglenet": {"any": {"energy": "mlp", "frame_positions": True, "eam_support_weight": 0.0}},
        # Under 1 % of the words in 64 tokens is cut: python -m data_prep.syntax --dataset=activitynet --annotations=DIR
        "shenet": {"any": {"most_verbs": 11, "most_nouns": 19, "most_adjectives": 8}},
    },
    training={
        "eaglenet": {
            "released": {"accumulate": 4},  # four micro-batches of 16, each with its own negatives
            "any": {"encode_micro_batches": 4, "pairwise_block": 8},  # the loss of the whole batch
        },
    },
)


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a preset, a system and a CLIP size, such as "b32,released"."""
    return DATASET.config(argument)
