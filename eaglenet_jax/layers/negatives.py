"""Hard negatives: mismatched pairs of a batch, drawn in proportion to a first stage's similarity."""

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
    """Draw a hard negative video for each text and a hard negative text for each video.

    Draws from softmax(scale · similarity) over the allowed pairs by the Gumbel-max trick: the noise belongs to the
    pair, so a draw does not depend on the order of the batch.

    Args:
        similarity: Texts × videos.
        allowed: Pairs that may be drawn.
        scale: Factor of the similarity.
        draws: Source of the noise.
        text_id: [B], ids of the texts.
        video_id: [B], ids of the videos.

    Returns:
        Indices (videos, texts). The index of a text or video without any allowed pair is undefined.
    """
    ids = text_id[:, None], video_id[None, :]

    def noise(name: str) -> Array:
        drawn = draws.uniform(name, ids, ())
        drawn = jnp.maximum(drawn, jnp.finfo(drawn.dtype).tiny)  # 0 would give -inf, the value of forbidden pairs
        return -jnp.log(-jnp.log(drawn)).astype(similarity.dtype)

    videos = jnp.where(allowed, scale * similarity + noise("negative_videos"), -jnp.inf)
    texts = jnp.where(allowed, scale * similarity + noise("negative_texts"), -jnp.inf)
    return jnp.argmax(videos, axis=1), jnp.argmax(texts, axis=0)
