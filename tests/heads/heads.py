"""Small heads and features that the tests of all heads share."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from eaglenet_jax.draws import Draws
from eaglenet_jax.energy.matching import SamplerSettings
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.heads.crosstvr import CrossTvr, TokenShape
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures, whole
from eaglenet_jax.heads.shenet import SheNet
from eaglenet_jax.heads.tmass import TMass
from eaglenet_jax.heads.ts2net import Ts2Net
from eaglenet_jax.heads.xpool import XPool
from eaglenet_jax.layers.query_transformer import QueryShape
from eaglenet_jax.layers.rgat import GraphShape
from eaglenet_jax.layers.text_hierarchy import empty_syntax

WIDTH, FRAMES, TOKENS, PATCHES = 8, 4, 9, 5
SMALL = SamplerSettings(steps=2, buffer_rows=6)
SYNTAX = {"most_verbs": 2, "most_nouns": 3, "most_adjectives": 2}
HEADS = {
    "clip4clip": Clip4Clip(WIDTH),
    "clip4clip_transformer": Clip4Clip(WIDTH, "transformer", temporal_positions=6, temporal_layers=2, temporal_heads=2),
    "xpool": XPool(WIDTH),
    "tmass": TMass(WIDTH, samples=3),
    "tmass_paper": TMass(WIDTH, samples=3, radius_bias=False, support="own", text_weight=0.5),
    "eaglenet": EagleNet(WIDTH, FRAMES, GraphShape(WIDTH, heads=2), candidates=3, sampler=SMALL),
    "eaglenet_no_graph": EagleNet(
        WIDTH, FRAMES, GraphShape(WIDTH, heads=2), candidates=3, sampler=SMALL, candidate_choice="best"
    ),
    "eaglenet_softmax_gat": EagleNet(
        WIDTH,
        FRAMES,
        GraphShape(WIDTH, heads=2, kind="gat"),
        candidates=3,
        sampler=SMALL,
        loss_kind="softmax",
        energy="bilinear",
        energy_pooling="max",
    ),
    "eaglenet_paper": EagleNet(
        WIDTH,
        FRAMES,
        GraphShape(WIDTH, heads=2, shared_residual=False, readout="paper"),
        candidates=3,
        candidate_noise="normal",
        radius_bias=False,
        pooling_input_norm=False,
        pooling_bias=False,
        support="own",
        energy="cosine",
        energy_pooling="min",
        eam_negatives=False,
        eam_support_weight=0.0,
        sampler=SamplerSettings(steps=2, buffer_rows=6, start="paper"),
    ),
    "ts2net": Ts2Net(WIDTH, selected=2, samples=8, temporal_positions=3 * FRAMES, temporal_layers=1, temporal_heads=2),
    "crosstvr": CrossTvr(
        Clip4Clip(WIDTH),
        FRAMES,
        TokenShape(PATCHES + 1, WIDTH),
        QueryShape(width=8, layers=1, heads=2, hidden=8),
        queries=2,
        selected=2,
    ),
    "shenet": SheNet(WIDTH, **SYNTAX, temporal_positions=FRAMES, temporal_layers=1, temporal_heads=2),
}


def features(count: int, seed: int = 0, scale: float = 1.0) -> tuple[TextFeatures, VideoFeatures]:
    """Matching texts and videos; the first video has all its frames, the others some padding."""
    rng = np.random.default_rng(seed)
    valid = np.maximum(1, rng.integers(1, FRAMES + 1, size=count))
    valid[0] = FRAMES
    ids = jnp.asarray(rng.permutation(1000)[:count], jnp.uint32)
    mask = jnp.asarray(np.arange(FRAMES) < valid[:, None])

    def normal(*shape):
        # Cast by NumPy, as all arrays of tests: jax compiles a cast for each shape.
        return jnp.asarray(np.float32(scale * rng.normal(size=(count, *shape))))

    text = TextFeatures(ids, normal(WIDTH), None, jnp.ones((count, TOKENS), bool), {"syntax": syntax(count)})
    video = VideoFeatures(ids, normal(FRAMES, WIDTH), None, mask)
    # What few heads read comes last: the others see the same numbers with and without it.
    text = dataclasses.replace(text, words=normal(TOKENS, WIDTH))
    return text, dataclasses.replace(video, patches=normal(FRAMES, PATCHES, WIDTH))


def syntax(count):
    """Some words of each kind, in any order; the second caption has no verb, the third no words at all."""
    rng = np.random.default_rng(1)
    made = empty_syntax(count, *SYNTAX.values())
    for kind in ("verbs", "nouns", "adjectives"):
        for row in range(count):
            for place in range(rng.integers(made[kind].shape[1] + 1) if row else 2):
                first = rng.integers(1, TOKENS - 2)
                made[kind][row, place] = first, first + rng.integers(1, 3)
    made["verbs"][1:3] = made["nouns"][2:3] = made["adjectives"][2:3] = 0
    made["noun_verb"][0] = [0, 1, 1]
    return jax.tree.map(jnp.asarray, made)


def random_params(head, text, video, seed: int = 0):
    """Draw parameters of a head in NumPy, scales near one: nothing is zero, and no initialisation is compiled."""
    rng, draws = np.random.default_rng(seed), Draws(jax.random.key(0), train=True)

    def start(key):
        return head.init(key, text, video, head.initial_state(), draws, whole, method="loss").get("params", {})

    def draw(path, leaf):
        middle = 1.0 if jax.tree_util.keystr(path).endswith("['scale']") else 0.05
        return jnp.asarray(rng.normal(middle, 0.3, leaf.shape).astype(leaf.dtype))

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(start, jax.random.key(0)))


@functools.cache
def head_params(head, seed: int = 0):
    """Draw the parameters that the loss of a head makes, as `random_params`."""
    return random_params(head, *features(3), seed=seed)


@functools.cache
def started_params(head):
    """Initialise the parameters of a head through its loss, of which only the initialisation is compiled."""
    text, video = features(3)

    @jax.jit
    def start(key):
        draws = Draws(key, train=True)
        return head.init(key, text, video, head.initial_state(), draws, whole, method="loss").get("params", {})

    return start(jax.random.key(0))


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def applied(head, params, *arguments, method):
    """Call a method of a head as one compiled program; operation by operation takes several times as long."""
    return head.apply({"params": params}, *arguments, method=method)


@functools.partial(jax.jit, static_argnums=0)
def scores(head, params, text, video, draws):
    """Prepare texts and videos and score them."""
    variables = {"params": params}
    texts = head.apply(variables, text, method="prepare_text")
    video = head.apply(variables, video, draws, method="reduce_video")
    videos = head.apply(variables, video, method="prepare_video")
    return head.apply(variables, texts, videos, draws, method="score").similarity
