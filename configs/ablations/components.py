"""Components: fine-grained relationship learning (FRL), energy-aware matching (EAM), sigmoid loss.

Paper: EagleNet (CVPR 2026), table 3.
Command: python -m eaglenet_jax.sweep --config=configs/ablations/components.py:msrvtt,b16 --seeds=0,1,2
Expected: the paper's table; never run here on real data. With :demo instead of :msrvtt,b16 it runs on MovingShapes.
Without FRL a candidate is chosen as T-MASS does: that gives the figures of the paper's first row.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from eaglenet_jax.config.ablation import Rows, ablated

_NO_FRL = {"candidate_choice": "best"}
_NO_EAM = {"eam_weight": 0.0, "eam_support_weight": 0.0}
_SOFTMAX = {"loss_kind": "softmax"}

ROWS: Rows = {
    "base": {"head": {**_NO_FRL, **_NO_EAM, **_SOFTMAX}},
    "frl": {"head": {**_NO_EAM, **_SOFTMAX}},
    "eam": {"head": {**_NO_FRL, **_SOFTMAX}},
    "frl_eam": {"head": _SOFTMAX},
    "sigmoid": {"head": {**_NO_FRL, **_NO_EAM}},
    "frl_sigmoid": {"head": _NO_EAM},
    "eam_sigmoid": {"head": _NO_FRL},
    "all": {},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config that an argument asks for: a row, a dataset and its words, such as "frl,didemo,b16"."""
    return ablated("components", ROWS, argument)
