"""A system as the text of its traced programs, which two configs share exactly if they compute the same."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import whole
from eaglenet_jax.system import build_system


def plain(jaxpr) -> str:
    """A jaxpr as text, with its constants and without addresses."""
    consts = " ".join(str(np.asarray(const)) for const in jaxpr.consts if getattr(const, "size", 99) < 9)
    return re.sub(r"0x[0-9a-f]+", "", f"{jaxpr}\n{consts}")


def system(config, _) -> str:
    """Both encoders, the loss and the score, the head's state, and how many candidates are scored again."""
    built = build_system(config)
    params = jax.eval_shape(built.init, jax.random.key(0))
    ids, size = jnp.arange(2, dtype=jnp.uint32), config.clip.image_size
    words, mask = jnp.zeros((2, config.max_words), jnp.int32), jnp.ones((2, config.max_frames), bool)
    frames = jax.ShapeDtypeStruct((2, config.max_frames, size, size, 3), jnp.uint8)
    text = jax.eval_shape(built.encode_text, params, ids, words, built.head.text_extra(2))
    video = jax.eval_shape(built.encode_video, params, ids, frames, mask, built.head.video_extra(2))

    def score(head, text, video):
        draws = Draws(jax.random.key(0))
        prepared = head.prepare_text(text), head.prepare_video(head.reduce_video(video, draws))
        return head.score(*prepared, draws).similarity

    def loss(head, text, video):
        return head.loss(text, video, head.initial_state(), Draws(jax.random.key(0), train=True), whole)

    def traced(method):
        def call(params, text, video):
            return built.head.apply({"params": params}, text, video, method=method)

        return jax.make_jaxpr(call)(params["head"], text, video)

    scorer = built.head.candidate_scorer({})
    rows = jax.eval_shape(built.head.initial_state)
    parts = jax.make_jaxpr(built.init)(jax.random.key(0)), traced(score), traced(loss)
    return " ".join(map(plain, parts)) + str((scorer and scorer.top_k, rows))
