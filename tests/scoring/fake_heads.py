"""Small heads and galleries that only keep the contract of heads/interface.py."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, PairScores, TextFeatures, VideoFeatures


class NoisyAttention(Head):
    """Frames weighted by a noisy text, inner product with it: a pair depends on both and on the text's noise."""

    width: int = 8

    def setup(self) -> None:
        self.query = nn.Dense(self.width)
        self.value = nn.Dense(self.width)

    def prepare_text(self, text: TextFeatures) -> dict[str, Any]:
        return {"id": text.id, "text": text.pooled, "query": self.query(text.pooled)}

    def prepare_video(self, video: VideoFeatures) -> dict[str, Any]:
        return {"id": video.id, "frames": video.frames, "value": self.value(video.frames), "mask": video.mask}

    def score(self, text: Any, video: Any, draws: Draws, aux: bool = False) -> PairScores:
        ids = draws.pair_ids(text["id"], video["id"])
        noisy = text["query"][:, None] + 0.3 * draws.normal("noise", ids, (self.width,))  # [Bt, Bv or 1, d]
        logits = jnp.einsum("tvd,vmd->tvm", jnp.broadcast_to(noisy, (*noisy.shape[:1], *video["id"].shape, self.width)),
                            video["frames"])  # fmt: skip
        weight = jax.nn.softmax(jnp.where(video["mask"], logits, -jnp.inf), axis=-1)
        pooled = jnp.einsum("tvm,vmd->tvd", weight, video["value"])
        pooled = pooled / jnp.linalg.norm(pooled, axis=-1, keepdims=True)
        return PairScores(jnp.einsum("tvd,td->tv", pooled, text["text"]))


class Counting(NoisyAttention):
    """Head that counts how often its score is traced, hence compiled."""

    traces = 0

    def score(self, *args: Any, **kwargs: Any) -> PairScores:
        type(self).traces += 1
        return super().score(*args, **kwargs)


class Cosine(Head):
    """Mean frame against text, without parameters."""

    def score(self, text: TextFeatures, video: VideoFeatures, draws: Draws, aux: bool = False) -> PairScores:
        pooled = video.frames.sum(axis=1)
        unit = [jnp.asarray(x) / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (text.pooled, pooled)]
        return PairScores(unit[0] @ unit[1].T)


class Leaky(NoisyAttention):
    """Head whose scores depend on the other captions of the block: they are centred over the texts."""

    def score(self, text: Any, video: Any, draws: Draws, aux: bool = False) -> PairScores:
        similarity = super().score(text, video, draws).similarity
        return PairScores(similarity - similarity.mean(axis=0))


def gallery(
    texts: int, videos: int, seed: int = 0, width: int = 8, frames: int = 3
) -> tuple[TextFeatures, VideoFeatures]:
    rng = np.random.default_rng(seed)
    valid = np.arange(frames) < rng.integers(1, frames + 1, (videos, 1))
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return (
        TextFeatures(
            id=rng.integers(0, 2**32, texts, dtype=np.uint32),
            pooled=normal(texts, width),
            words=None,
            mask=np.ones((texts, 4), bool),
            extra={"own": np.arange(texts)},
        ),
        VideoFeatures(
            id=rng.integers(0, 2**32, videos, dtype=np.uint32),
            frames=normal(videos, frames, width) * valid[..., None],
            patches=None,
            mask=valid,
        ),
    )


def initialised(head: Head) -> Any:
    texts, videos = gallery(2, 2)

    def everything(module: Head) -> None:
        module.score(module.prepare_text(texts), module.prepare_video(videos), Draws(jax.random.key(0)))

    return jax.jit(nn.init(everything, head))(jax.random.key(1))["params"]


def at_once(head: Head, params: Any, texts: TextFeatures, videos: VideoFeatures, draws: Draws) -> np.ndarray:
    """The whole gallery in one call, without blocks."""

    def everything(module: Head, texts: TextFeatures, videos: VideoFeatures, draws: Draws) -> Any:
        return module.score(module.prepare_text(texts), module.prepare_video(videos), draws).similarity

    return np.asarray(jax.jit(nn.apply(everything, head))({"params": params}, texts, videos, draws))
