"""SHE-Net against its equations in loops, and the influence of the captions' syntax."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.clip.config import NAMED_SIZES
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures, whole
from eaglenet_jax.heads.shenet import SheNet
from eaglenet_jax.layers.text_hierarchy import empty_syntax
from tests.heads.shenet_loops import Loops

WIDTH, FRAMES, PATCHES, TOKENS = 6, 4, 5, 30
SHENET = SheNet(
    WIDTH,
    most_verbs=3,
    most_nouns=10,
    most_adjectives=4,
    patches_per_noun=3,
    logit_scale=1.5,
    temporal_positions=FRAMES,
    temporal_layers=1,
    temporal_heads=2,
)
DRAWS = Draws(jax.random.key(0))
CLOSE = 2e-7  # jax's attention, in the transformer over frames, takes its softmax in float32 at any precision


def ragged_syntax() -> dict[str, np.ndarray]:
    """Syntax of four captions: no verb; ten nouns and three verbs; no words; one of each, in several tokens."""
    syntax = empty_syntax(4, 3, 10, 4)
    syntax["nouns"][0, :2] = [[2, 4], [5, 6]]
    syntax["adjectives"][0, :2] = [[1, 2], [4, 5]]
    syntax["adjective_noun"][0, :2] = [0, 1]
    syntax["verbs"][1] = [[3, 4], [10, 12], [20, 21]]
    syntax["nouns"][1] = [[n, n + 1] for n in (1, 2, 5, 6, 8, 13, 15, 17, 22, 25)]
    syntax["noun_verb"][1] = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    syntax["adjectives"][1] = [[4, 5], [7, 8], [14, 15], [16, 17]]
    syntax["adjective_noun"][1] = [2, 4, 6, 6]
    syntax["verbs"][3, 0] = [4, 7]
    syntax["nouns"][3, 0] = [1, 3]
    return syntax


def features() -> tuple[TextFeatures, VideoFeatures]:
    rng = np.random.default_rng(3)
    ids = np.arange(4, dtype=np.uint32)
    mask = np.arange(FRAMES) < np.array([4, 1, 3, 2])[:, None]
    text = TextFeatures(
        ids,
        rng.normal(size=(4, WIDTH)),
        rng.normal(size=(4, TOKENS, WIDTH)),
        np.ones((4, TOKENS), bool),
        {"syntax": ragged_syntax()},
    )
    video = VideoFeatures(ids, rng.normal(size=(4, FRAMES, WIDTH)), rng.normal(size=(4, FRAMES, PATCHES, WIDTH)), mask)
    # Cast by NumPy: jax would compile that for each shape.
    return jax.tree.map(lambda x: jnp.asarray(x.astype(jax.dtypes.canonicalize_dtype(x.dtype))), (text, video))


def random_params(head):
    text, video = features()
    draws = Draws(jax.random.key(0), train=True)
    shapes = jax.eval_shape(lambda key: head.init(key, text, video, (), draws, whole, method="loss"), DRAWS.key)
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) * 0.5 + 0.1, shapes["params"])


def loss_of(head, params, text, video):
    return head.apply({"params": params}, text, video, (), Draws(DRAWS.key, train=True), whole, method="loss")[0]


@functools.partial(jax.jit, static_argnums=0)
def scores_of(head, params, text, video):
    variables = {"params": params}
    prepared = head.apply(variables, text, method="prepare_text"), head.apply(variables, video, method="prepare_video")
    return head.apply(variables, *prepared, DRAWS, aux=True, method="score")


SWITCHES = [
    {},
    {
        "normalise": False,
        "normalise_attention": False,
        "attention_scale": 1.0,
        "learned_attention_scale": False,
        "scale_kind": "factor",
    },
    {"learned_attention_scale": False, "attention_scale": 1.0},
    {"learned_attention_scale": False, "attention_scale": 5.0, "normalise_attention": False},
    {"learned_attention_scale": False, "normalise": False},
    {"verbs": False, "nouns": False},
    {"nouns": False},
    {"adjectives": False, "weighted_nodes": False},
    {"text_syntax": False, "weighted_nodes": False},
    {"video_syntax": False, "frames_per_verb": 3},
    {"frames_per_verb": 9, "patches_per_noun": 1},
]


@pytest.mark.parametrize("changes", SWITCHES[2:], ids=str)
def test_scores_equal_the_equations_in_loops(changes):
    head = SHENET.clone(**changes)
    with jax.enable_x64(True):
        text, video = features()
        params = random_params(head)
        found = scores_of(head, params, text, video).similarity
    np.testing.assert_allclose(found, Loops(head, params, text, video).scores(), rtol=CLOSE, atol=1e-8)


@pytest.mark.parametrize("changes", [SWITCHES[0], pytest.param(SWITCHES[1], marks=pytest.mark.long)], ids=str)
def test_loss_and_gradient_equal_the_loops(changes):
    """Slopes along random directions, by parameters and by all features, against differences of the loops' loss."""
    head, step = SHENET.clone(**changes), 1e-6

    def moved(point):
        params, pooled, words, frames, patches = point
        changed = dataclasses.replace(text, pooled=pooled, words=words)
        return params, changed, dataclasses.replace(video, frames=frames, patches=patches)

    with jax.enable_x64(True):
        text, video = features()
        start = random_params(head), text.pooled, text.words, video.frames, video.patches
        found = jax.jit(jax.value_and_grad(lambda point: loss_of(head, *moved(point))))(start)
        start, (value, slopes) = jax.tree.map(np.asarray, (start, found))
    np.testing.assert_allclose(value, Loops(head, *moved(start)).loss(), rtol=CLOSE)
    rng = np.random.default_rng(9)
    for _ in range(3):
        way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), start)
        ahead, back = (
            Loops(head, *moved(jax.tree.map(lambda x, d: x + side * step * d, start, way))).loss() for side in (1, -1)
        )
        along = sum(float(np.sum(g * d)) for g, d in zip(jax.tree.leaves(slopes), jax.tree.leaves(way), strict=True))
        np.testing.assert_allclose(along, (ahead - back) / (2 * step), rtol=1e-5)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slopes))  # every parameter takes part


def test_the_factor_of_the_attention_logits_sharpens_all_four_softmaxes():
    """Weights of adjectives, verbs, nouns and frames are uniform or one-hot; scores stay cosines."""
    weights, scores = {}, {}
    with jax.enable_x64(True):
        text, video = features()
        params = random_params(SHENET)
        for scale in (1e-6, 1e6):
            head = SHENET.clone(attention_scale=scale, learned_attention_scale=False)
            nodes = jax.jit(functools.partial(head.apply, method="prepare_text"))({"params": params}, text)
            weights[scale] = [float(nodes.verb_weights[1].max()), float(nodes.noun_weights[1].max())]
            scores[scale] = np.asarray(scores_of(head, params, text, video).similarity)
            weights[scale] += [np.asarray(nodes.nouns[1])]
    np.testing.assert_allclose(weights[1e-6][:2], (1 / 3, 1 / 10), rtol=1e-4)
    np.testing.assert_allclose(weights[1e6][:2], (1, 1), rtol=1e-4)
    changed = np.abs(weights[1e-6][2] - weights[1e6][2]).max(axis=-1) > 1e-3
    np.testing.assert_array_equal(changed, np.arange(10) == 6)  # the only noun with two adjectives
    # The third caption has no words: only its frames' weights can change its scores.
    assert np.abs(scores[1e-6][2] - scores[1e6][2]).max() > 1e-3 and np.abs(scores[1e6]).max() <= 1


def test_a_learned_factor_starts_where_it_is_told_and_is_one_for_each_softmax():
    head = SHENET.clone(attention_scale=7.0)
    text, video = features()
    draws = Draws(jax.random.key(0), train=True)
    start = jax.jit(lambda key: head.init(key, text, video, (), draws, whole, method="loss")["params"])
    params = start(jax.random.key(1))
    found = {**params, **params["hierarchy"]}
    scales = {name: float(np.exp(value)) for name, value in found.items() if name.endswith("log_scale")}
    assert scales == pytest.approx(
        dict.fromkeys(("frame_log_scale", "adjective_log_scale", "verb_log_scale", "noun_log_scale"), 7.0)
    )


def test_aux_says_which_frames_and_patches_were_chosen():
    with jax.enable_x64(True):
        aux = jax.tree.map(np.asarray, scores_of(SHENET, random_params(SHENET), *features()).aux)
    frames, patches = aux["verb_frames"], aux["noun_patches"]
    assert frames.shape == (4, 4, 3, FRAMES) and patches.shape == (4, 4, 10, FRAMES, PATCHES)
    np.testing.assert_allclose(frames.sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(patches.sum(axis=(-2, -1)), 1, atol=1e-6)
    assert not np.asarray(frames)[:, 1, :, 1:].any()  # the video of one frame
    used = np.asarray(patches.sum(axis=-1)) > 0
    np.testing.assert_array_equal(used[1, 0, 9], np.asarray(frames)[1, 0, 2] > 0)  # a noun looks where its verb does


def test_captions_without_syntax_are_refused():
    text, _ = features()
    with pytest.raises(UserError, match=r"python -m data_prep\.syntax"):
        SHENET.apply({"params": random_params(SHENET)}, dataclasses.replace(text, extra={}), method="prepare_text")
    for wrong in ({"scale_kind": "linear"}, {"verbs": False}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            random_params(SHENET.clone(**wrong))
    with pytest.raises(UserError, match=r"config\.head\.most_nouns is 0; give 1 or more"):
        SheNet.from_config({"most_nouns": 0}, NAMED_SIZES["ViT-B/32"], FRAMES)
