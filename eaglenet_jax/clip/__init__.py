"""CLIP's two encoders in Flax, with frame masks, token shift, word states and patch states."""

from eaglenet_jax.clip.config import NAMED_SIZES, ClipConfig, clip_config
from eaglenet_jax.clip.model import Clip

__all__ = ["NAMED_SIZES", "Clip", "ClipConfig", "clip_config"]
