"""EagleNet and its siblings for text-video retrieval, in JAX and Flax.

    import eaglenet_jax as en

    model = en.load("demo")
    scores = model.score(model.encode_text(["a red circle moves left"]), model.encode_video("clip.mp4"))

The names below are the public interface. Each is imported when it is first used, so `import eaglenet_jax` imports
neither jax nor anything else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eaglenet_jax.config.loading import load_config
    from eaglenet_jax.draws import Draws
    from eaglenet_jax.errors import UserError
    from eaglenet_jax.heads.interface import Head, PairScores, TextFeatures, VideoFeatures
    from eaglenet_jax.metrics.ranks import retrieval_metrics
    from eaglenet_jax.model import Model, load
    from eaglenet_jax.runs.experiment import open_data
    from eaglenet_jax.scoring.encoding import make_encode_text, make_encode_video
    from eaglenet_jax.scoring.gallery import ScoringOptions, score_gallery
    from eaglenet_jax.scoring.rerank import RerankOptions, rerank
    from eaglenet_jax.system import System, build_system
    from eaglenet_jax.training.optimizer import make_optimizer
    from eaglenet_jax.training.step import initial_state, make_train_step

__version__ = "0.1.0"

__all__ = [
    "Draws",
    "Head",
    "Model",
    "PairScores",
    "RerankOptions",
    "ScoringOptions",
    "System",
    "TextFeatures",
    "UserError",
    "VideoFeatures",
    "build_system",
    "initial_state",
    "load",
    "load_config",
    "make_encode_text",
    "make_encode_video",
    "make_optimizer",
    "make_train_step",
    "open_data",
    "rerank",
    "retrieval_metrics",
    "score_gallery",
]

# The module of each name; the block for type checkers above says the same, and a test compares the two.
_MODULES = {
    "Draws": "draws",
    "Head": "heads.interface",
    "Model": "model",
    "PairScores": "heads.interface",
    "RerankOptions": "scoring.rerank",
    "ScoringOptions": "scoring.gallery",
    "System": "system",
    "TextFeatures": "heads.interface",
    "UserError": "errors",
    "VideoFeatures": "heads.interface",
    "build_system": "system",
    "initial_state": "training.step",
    "load": "model",
    "load_config": "config.loading",
    "make_encode_text": "scoring.encoding",
    "make_encode_video": "scoring.encoding",
    "make_optimizer": "training.optimizer",
    "make_train_step": "training.step",
    "open_data": "runs.experiment",
    "rerank": "scoring.rerank",
    "retrieval_metrics": "metrics.ranks",
    "score_gallery": "scoring.gallery",
}


if not TYPE_CHECKING:  # a type checker that saw it would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
