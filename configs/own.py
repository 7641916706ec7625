"""Videos and captions of one's own, prepared from a table.

Command: python -m eaglenet_jax.train --config=configs/own.py --config.data.prepared=datasets/mine
Arguments: a CLIP size (b32, b16, l14), a preset (ours, released, paper), a system, as in :b16,xpool
Trained: EagleNet in batches of 64, fewer where there are fewer captions, for 5 epochs, head at 1e-4, CLIP at 1e-7
Expected: nothing that is known before; the table has the level of chance and CLIP before training.

The run bears the name of the folder. `--config.init_from=FOLDER` takes any CLIP, whose sizes are read from it. See
docs/datasets.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.dataset import Dataset

DATASET = Dataset(name="own", queries="all", clip="b32", words=32, frames=12)


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a preset, a system and a CLIP size, such as "b16,xpool"."""
    config = DATASET.config(argument)
    stage = config
    while stage:
        stage.claim = ""  # nothing is published about it
        stage.data.prepared = ""
        stage = stage.first_stage
    return config
