"""First stages that the second is put on.

Paper: CrossTVR (Dai et al.), table 8, whose TS2-Net is not here.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/crosstvr_first_stages.py:msrvtt,b32 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b32 it runs on MovingShapes.
Each run also reports its first stage.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated
from eaglenet_jax.config.defaults import FIRST_STAGES

ROWS: Rows = {first: {} for first in FIRST_STAGES.values()}


def get_config(argument: str = "") -> ConfigDict:
    """argument: a row, a dataset and the words that it takes, such as "xpool,didemo,b32"."""
    rows = {first: name for name, first in FIRST_STAGES.items()}
    systems = [rows[word.strip()] for word in argument.split(",") if word.strip() in rows]
    return ablated("crosstvr_first_stages", ROWS, ",".join([argument, *systems]), "crosstvr")
