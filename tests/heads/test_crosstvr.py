"""CrossTVR against its equations in loops; its negatives; its first stage."""

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
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.heads.crosstvr import CrossTvr, TokenShape
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures, whole
from eaglenet_jax.heads.xpool import XPool
from eaglenet_jax.layers.negatives import drawn_negatives
from eaglenet_jax.layers.query_transformer import QueryShape, folding_pays, small_start
from eaglenet_jax.metrics.ranks import place
from eaglenet_jax.scoring.both_directions import score_both_ways
from eaglenet_jax.scoring.gallery import score_gallery
from eaglenet_jax.scoring.rerank import RerankOptions, rerank
from tests.heads.crosstvr_loops import Loops

WIDTH, FRAMES, PATCHES, TOKENS = 6, 3, 4, 5
SHAPE = QueryShape(width=8, layers=2, heads=2, hidden=10, cross_every=1, dropout_rate=0.0)
CROSSTVR = CrossTvr(
    Clip4Clip(WIDTH), FRAMES, TokenShape(PATCHES + 1, WIDTH), SHAPE, queries=2, selected=2, negative_scale=3.0, top_k=2
)
DRAWS = Draws(jax.random.key(0))


def features(count: int = 3) -> tuple[TextFeatures, VideoFeatures]:
    rng = np.random.default_rng(3)
    ids = np.arange(count, dtype=np.uint32)
    mask = np.arange(FRAMES) < np.resize([3, 1, 2], count)[:, None]
    word_mask = np.arange(TOKENS) < np.resize([5, 2, 3], count)[:, None]  # of the second, start and end token alone
    text = TextFeatures(ids, rng.normal(size=(count, WIDTH)), rng.normal(size=(count, TOKENS, WIDTH)), word_mask)
    tokens = rng.normal(size=(count, FRAMES, 7, 9)) * mask[..., None, None]
    video = VideoFeatures(
        ids,
        rng.normal(size=(count, FRAMES, WIDTH)),
        rng.normal(size=(count, FRAMES, PATCHES, WIDTH)),
        mask,
        {"tokens": tokens},
    )
    # Cast by NumPy: jax would compile that for each shape.
    return jax.tree.map(lambda x: jnp.asarray(x.astype(jax.dtypes.canonicalize_dtype(x.dtype))), (text, video))


def random_params(head):
    text, video = features()
    draws = Draws(jax.random.key(0), train=True)
    shapes = jax.eval_shape(
        lambda key, *sides: head.init(key, *sides, (), draws, whole, method="loss"), DRAWS.key, text, video
    )
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) * 0.5 + 0.1, shapes["params"])


@functools.partial(jax.jit, static_argnums=0)
def scores_of(head, params, text, video):
    variables = {"params": params}
    prepared = head.apply(variables, text, method="prepare_text"), head.apply(variables, video, method="prepare_video")
    return head.apply(variables, *prepared, DRAWS, method="score").similarity


SWITCHES = [
    {"tokens": TokenShape(7, 9, "another"), "shared_weights": False},
    {"temporal": False, "transformer": dataclasses.replace(SHAPE, cross_every=2)},
    {"spatial": False},
]
MANY_QUERIES = {"queries": 8}  # so many that the tokens are projected


@pytest.mark.parametrize(
    "changes", [*SWITCHES, MANY_QUERIES], ids=["own_encoder_unshared", "spatial", "temporal", "many_queries"]
)
def test_scores_equal_the_equations_in_loops(changes):
    head = CROSSTVR.clone(**changes)
    with jax.enable_x64(True):
        text, video = features()
        params = random_params(head)
        found = np.asarray(scores_of(head, params, text, video))
    np.testing.assert_allclose(found, Loops(head, params, text, video).scores(), rtol=1e-9)


@pytest.mark.parametrize("changes", [{}, SWITCHES[0]], ids=["shared_encoder", "own_encoder_unshared"])
def test_the_order_of_frames_changes_nothing(changes):
    """Stage 2 has no positions of frames: a video and its frames in another order have the same P(match)."""
    head = CROSSTVR.clone(**changes)
    with jax.enable_x64(True):
        text, video = features()
        params = random_params(head)
        order = jnp.asarray([2, 0, 1])
        turned = dataclasses.replace(
            video,
            frames=video.frames[:, order],
            patches=video.patches[:, order],
            mask=video.mask[:, order],
            extra={"tokens": video.extra["tokens"][:, order]},
        )
        found = [np.asarray(scores_of(head, params, text, each)) for each in (video, turned)]
        # Not because frames count for nothing: the first one in place of all others gives other numbers.
        alike = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, :1], leaf.shape), (video.frames, video.patches))
        tokens = {"tokens": jnp.broadcast_to(video.extra["tokens"][:, :1], video.extra["tokens"].shape)}
        still = dataclasses.replace(video, frames=alike[0], patches=alike[1], extra=tokens)
        other = np.asarray(scores_of(head, params, text, still))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
    assert np.abs(other - found[0])[:, 0].min() > 1e-4  # the video of three frames


def test_what_it_looks_at_goes_with_frames_and_patches():
    head = CROSSTVR
    params = jax.tree.map(np.float32, random_params(head))
    text, video = features()
    explain = jax.jit(lambda video: head.apply({"params": params}, text, video, DRAWS, method="explain"))
    said = explain(video)
    assert said["attended_patches"].shape == (3, 3, FRAMES, PATCHES)
    frames, patches = jnp.asarray([2, 0, 1]), jnp.asarray([3, 1, 0, 2])
    turned = dataclasses.replace(
        video,
        frames=video.frames[:, frames],
        patches=video.patches[:, frames][:, :, patches],
        mask=video.mask[:, frames],
    )
    other = explain(turned)
    np.testing.assert_allclose(other["attended_frames"], said["attended_frames"][..., frames], atol=1e-5)
    expected = said["attended_patches"][:, :, frames][..., patches]
    np.testing.assert_allclose(other["attended_patches"], expected, atol=1e-5)
    assert np.ptp(said["attended_patches"][0, 0]) > 0.01 and np.ptp(said["attended_frames"][0, 0]) > 0.01

    # To look changes nothing.
    @jax.jit
    def logits_of_both():
        variables, rows = {"params": params}, (jnp.arange(3), jnp.arange(3))
        sides = (
            head.apply(variables, text, method="prepare_text"),
            head.apply(variables, video, method="prepare_video"),
        )
        return [head.apply(variables, rows, sides, DRAWS, *more, method="match_rows") for more in ((), ({},))]

    logits = logits_of_both()
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-6)


def test_loss_and_gradient_equal_the_loops():
    """As in SHE-Net's test, by parameters alone since the encoders are frozen. The first stage draws the negatives."""
    step = 1e-6
    with jax.enable_x64(True):
        text, video = features()
        start = random_params(CROSSTVR)

        def loss(params):
            draws = Draws(jax.random.key(4), train=True)
            return CROSSTVR.apply({"params": params}, text, video, (), draws, whole, method="loss")[0]

        found = jax.jit(jax.value_and_grad(loss))(start)

        @jax.jit
        def drawn(text, video):
            units = (
                CROSSTVR.first.apply({}, text, method="prepare_text"),
                CROSSTVR.first.apply({}, video, method="prepare_video"),
            )
            return drawn_negatives(
                units[0] @ units[1].T, ~jnp.eye(3, dtype=bool), 3.0, Draws(jax.random.key(4)), text.id, video.id
            )

        value, slopes, videos, texts = jax.tree.map(np.asarray, (*found, *drawn(text, video)))
    expected = Loops(CROSSTVR, start, text, video).loss(videos, texts)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    rng = np.random.default_rng(9)
    for _ in range(2):
        way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), start)
        ahead, back = (
            Loops(CROSSTVR, jax.tree.map(lambda x, d: x + side * step * d, start, way), text, video).loss(videos, texts)
            for side in (1, -1)
        )
        along = sum(float(np.sum(g * d)) for g, d in zip(jax.tree.leaves(slopes), jax.tree.leaves(way), strict=True))
        np.testing.assert_allclose(along, (ahead - back) / (2 * step), rtol=1e-5)
    frozen = jax.tree_util.keystr
    still = {frozen(path) for path, g in jax.tree_util.tree_leaves_with_path(slopes) if np.abs(g).max() < 1e-12}
    # Adding a number to every logit of an attention, or of the tokens' importance, changes nothing.
    assert all("['key']['bias']" in name or "selector_down']['bias" in name for name in still)


def test_negatives_follow_the_first_stage_and_are_never_matches():
    rng = np.random.default_rng(0)
    similarity = jnp.asarray(np.float32(rng.normal(size=(4, 4))))
    allowed = ~jnp.eye(4, dtype=bool) & ~jnp.asarray([[0, 0, 0, 1], [0] * 4, [0] * 4, [1, 0, 0, 0]], bool)
    ids = jnp.arange(4, dtype=jnp.uint32)

    @jax.jit
    @jax.vmap
    def drawn(key):
        return drawn_negatives(similarity, allowed, 2.0, Draws(key), ids, ids)

    videos, texts = (np.asarray(one) for one in drawn(jax.random.split(jax.random.key(1), 4000)))
    weights = np.where(allowed, np.exp(2.0 * np.asarray(similarity)), 0)
    for row in range(4):
        shares = np.bincount(videos[:, row], minlength=4) / 4000
        np.testing.assert_allclose(shares, weights[row] / weights[row].sum(), atol=0.03)
        shares = np.bincount(texts[:, row], minlength=4) / 4000
        np.testing.assert_allclose(shares, weights[:, row] / weights[:, row].sum(), atol=0.03)


def test_a_draw_of_zero_takes_no_forbidden_pair():
    class Zeros(Draws):
        def uniform(self, name, ids, shape):
            return jnp.zeros((*jnp.broadcast_shapes(*(x.shape for x in ids)), *shape))

    allowed = jnp.asarray([[False, False, True], [False, False, False], [True, False, False]])
    drawn = drawn_negatives(-jnp.ones((3, 3)), allowed, 100.0, Zeros(DRAWS.key), jnp.arange(3), jnp.arange(3))
    assert [one.tolist() for one in drawn] == [[2, 0, 0], [2, 0, 0]]


@pytest.mark.parametrize("masked", [True, pytest.param(False, marks=pytest.mark.long)])
def test_another_caption_of_the_same_video_is_a_negative_only_where_it_is_told_so(masked):
    """Of a batch of two captions of one video; without negatives the loss is that of its own pairs alone."""
    text, video = features(2)
    video = dataclasses.replace(video, id=jnp.zeros(2, jnp.uint32))
    head = CROSSTVR.clone(mask_repeated_videos=masked)
    params = jax.tree.map(np.float32, random_params(head))
    draws = Draws(jax.random.key(0), train=True)
    loss = jax.jit(lambda p: head.apply({"params": p}, text, video, (), draws, whole, method="loss")[0])(params)
    match = np.asarray(scores_of(head, params, text, video), np.float64)
    expected = [-np.log(match[0, 0]), -np.log(match[1, 1])]
    if not masked:  # a video for each text, then a text for each video
        expected += 2 * [-np.log(1 - match[0, 1]), -np.log(1 - match[1, 0])]
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-4)


def test_the_gallery_is_the_first_stage_and_a_rerank_both_ways():
    text, video = features(5)
    params = jax.tree.map(np.float32, random_params(CROSSTVR))
    both = score_both_ways(CROSSTVR, params, text, video, draws=DRAWS)
    first = score_gallery(CROSSTVR.first, {}, text, video, draws=DRAWS)
    match = np.asarray(scores_of(CROSSTVR, params, text, video))
    for by_query, candidates, second in ((both.t2v, first, match), (both.v2t.T, first.T, match.T)):
        for row in range(5):
            best = np.argsort(-candidates[row])[:2]
            np.testing.assert_allclose(by_query[row, best], (candidates + second)[row, best], rtol=1e-5)
            others = np.setdiff1d(np.arange(5), best)
            assert by_query[row, others].max() < by_query[row, best].min()
    np.testing.assert_allclose(
        both.t2v,
        rerank(first, CROSSTVR, params, text, video, draws=DRAWS, options=RerankOptions(2, combine="add")),
        rtol=1e-6,
    )
    placed = place(both.t2v, v2t_scores=both.v2t)
    assert (placed.t2v.greater == (both.t2v > np.diagonal(both.t2v)[:, None]).sum(1)).all()
    assert (placed.v2t.greater == (both.v2t > np.diagonal(both.v2t)).sum(0)).all()


def test_the_weight_of_a_match_scales_what_is_added_to_the_first_stage_alone():
    text, video = features(5)
    params = jax.tree.map(np.float32, random_params(CROSSTVR))
    first = score_gallery(CROSSTVR.first, {}, text, video, draws=DRAWS)
    once, thrice = (
        score_both_ways(CROSSTVR.clone(match_weight=weight), params, text, video, draws=DRAWS).t2v for weight in (1, 3)
    )
    best = np.argsort(-first, axis=1)[:, :2]
    added = [np.take_along_axis(scores - first, best, axis=1) for scores in (once, thrice)]
    np.testing.assert_allclose(added[1], 3 * added[0], rtol=1e-4)


def residual_terms(head: CrossTvr) -> dict[str, tuple[int, ...]]:
    """Shapes of what the loss adds to the residual stream, by the name of its dropout."""
    asked: dict[str, tuple[int, ...]] = {}

    class Recording(Draws):
        def dropout(self, name, ids, x, rate):
            asked[name] = x.shape
            return x

    text, video = features()
    draws = Recording(DRAWS.key, train=True)
    jax.eval_shape(
        lambda params: head.apply({"params": params}, text, video, (), draws, whole, method="loss"),
        random_params(head),
    )
    return asked


def test_dropout_applies_only_to_residual_terms():
    asked = residual_terms(CROSSTVR)
    parts = {name.removeprefix("spatial_").removeprefix("temporal_").rstrip("01") for name in asked}
    assert parts == {"self_", "cross_", "query_feed_", "word_feed_"}
    assert {shape[-1] for shape in asked.values()} == {SHAPE.width}  # not as wide as there are keys


def test_what_all_frames_share_is_computed_once_a_pair_and_what_nobody_reads_not_at_all():
    pairs, queries, width = 9, CROSSTVR.queries, SHAPE.width
    asked = residual_terms(CROSSTVR.clone(transformer=dataclasses.replace(SHAPE, layers=3)))
    assert asked["spatial_self_0"] == (pairs, 1, queries + TOKENS, width)
    assert asked["spatial_word_feed_0"] == (pairs, 1, TOKENS, width)
    assert asked["spatial_cross_0"] == asked["spatial_self_2"] == (pairs, FRAMES, queries, width)
    assert asked["spatial_self_1"] == (pairs, FRAMES, queries + TOKENS, width)  # words that have read a frame's queries
    assert "spatial_word_feed_2" not in asked


def test_projections_are_folded_where_that_takes_fewer_products():
    assert folding_pays((96, 1, 32, 768), (96, 12, 257, 1408), 12)  # BLIP-2
    assert folding_pays((96, 12, 4, 64), (96, 12, 37, 64), 4)  # MovingShapes
    assert not folding_pays((96, 12, 4, 64), (96, 1, 36, 64), 4)  # words, projected once for all frames
    assert not folding_pays((96, 12, 32, 64), (96, 12, 37, 64), 4)  # 128 queries of heads, 64 channels
    tokens = (3, FRAMES, PATCHES + 1, WIDTH)  # the loops see both forms
    assert folding_pays((3, 1, CROSSTVR.queries, SHAPE.width), tokens, SHAPE.heads)
    assert not folding_pays((3, 1, MANY_QUERIES["queries"], SHAPE.width), tokens, SHAPE.heads)


@pytest.mark.long
def test_a_random_start_tells_pairs_apart_at_any_width():
    """N(0, 0.02²) is BERT's start at a width of 768; at 64 it would leave 1/400 of what belongs to a pair alone."""
    berts = small_start(768)(jax.random.key(0), (768, 64))
    assert float(jnp.std(berts)) == pytest.approx(0.02, rel=0.02)
    head = CROSSTVR.clone(transformer=QueryShape(64, 2, 4, 256, 1, 0.0), queries=8)
    text, video = (jax.tree.map(lambda x: x * 5 if x.dtype == jnp.float32 else x, side) for side in features())
    draws = Draws(jax.random.key(0), train=True)
    start = jax.jit(lambda key: head.init(key, text, video, (), draws, whole, method="loss")["params"])
    params = start(jax.random.key(1))
    kernels = {
        jax.tree_util.keystr(path): float(np.std(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if "kernel" in jax.tree_util.keystr(path) and leaf.size > 300
    }
    assert len(kernels) > 20
    assert kernels == pytest.approx(dict.fromkeys(kernels, 0.02 * 12**0.5), rel=0.15)
    match = np.asarray(scores_of(head, params, text, video), np.float64)
    logits = np.log(match / (1 - match))
    pair = logits - logits.mean(axis=0) - logits.mean(axis=1, keepdims=True) + logits.mean()
    assert np.std(pair) > 3e-3


def test_it_starts_from_a_run_of_its_first_stage():
    head = CROSSTVR.clone(first=XPool(WIDTH))
    params = random_params(head)
    trained = jax.tree.map(np.zeros_like, params["first"]) | {"matching_loss": {"logit_scale": np.float32(1)}}
    started = head.start_from_head(params, XPool(WIDTH), trained)
    assert set(started) == set(params) and set(started["first"]) == set(params["first"])
    assert not any(leaf.any() for leaf in jax.tree.leaves(started["first"]))
    assert started["layers"] is params["layers"]
    assert head.start_from_head(params, head, params) == params
    with pytest.raises(UserError, match=r"first stage is a XPool, .* trained a Clip4Clip"):
        head.start_from_head(params, Clip4Clip(WIDTH), {})


def test_a_first_stage_with_other_settings_is_refused():
    params = random_params(CROSSTVR)
    assert CROSSTVR.start_from_head(params, Clip4Clip(WIDTH), {}) == params
    other = Clip4Clip(WIDTH, temporal="transformer", mask_padding=False)
    message = "there mask_padding is False, not True; temporal is transformer, not mean; .*first.head"
    for head in (other, CROSSTVR.clone(first=other)):
        with pytest.raises(UserError, match=message):
            CROSSTVR.start_from_head(params, head, {})
    compute = XPool(WIDTH, dtype=jnp.bfloat16)  # scores the same
    CROSSTVR.clone(first=XPool(WIDTH)).start_from_head(params, compute, {})


def test_missing_tokens_and_wrong_settings_are_named():
    _, video = features()
    head = CROSSTVR.clone(tokens=TokenShape(7, 9, "another"))
    assert head.video_extra(2)["tokens"].shape == (2, FRAMES, 7, 9) and not head.uses_patches
    assert not CROSSTVR.video_extra(2) and CROSSTVR.uses_patches
    with pytest.raises(UserError, match=r"python -m eaglenet_jax\.vision_tokens"):
        head.apply({"params": random_params(head)}, dataclasses.replace(video, extra={}), method="prepare_video")
    with pytest.raises(ValueError, match="both off"):
        random_params(CROSSTVR.clone(spatial=False, temporal=False))
    for wrong, message in (({"top_k": 0}, "top_k is 0; give 1 or more"), ({"first": {"sytem": "x"}}, "first.system")):
        with pytest.raises(UserError, match=message):
            CrossTvr.from_config(wrong, NAMED_SIZES["ViT-B/32"], 4)
