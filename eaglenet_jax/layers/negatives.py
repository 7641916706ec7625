"""Hard negatives: mismatched pairs of a batch, drawn the more often the more similar a first stage finds them."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eaglenet_jax.draws import Draws


def drawn_negatives(
    similarity: Float[Array, "B B"],
    allowed: Bool[Array, "B B"],
    scale: float,
    draws: Draws,
    text_id: Array,
    video_id: Array,
) -> tuple[Int[Array, " B"], Int[Array, " B"]]:
    """(a video for each text, a text for each video), drawn from softmax(scale · similarity) over the allowed pairs.

    similarity: texts × videos. Where nothing is allowed, the row that comes means nothing. Gumbel's way: the noise
    belongs to the pair, so a draw does not depend on the order of the batch.
    """
    ids = text_id[:, None], video_id[None, :]

    def noise(name: str) -> Array:
        drawn = draws.uniform(name, ids, ())
        drawn = jnp.maximum(drawn, jnp.finfo(drawn.dtype).tiny)  # of 0 the noise would be -inf, as of what is forbidden
        return -jnp.log(-jnp.log(drawn)).astype(similarity.dtype)

    videos = jnp.where(allowed, scale * similarity + noise("negative_videos"), -jnp.inf)
    texts = jnp.where(allowed, scale * similarity + noise("negative_texts"), -jnp.inf)
    return jnp.argmax(videos, axis=1), jnp.argmax(texts, axis=0)
