"""TS2-Net's switches, both sides, and its parts against what docs/systems.md section 6 writes."""

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
from eaglenet_jax.heads.interface import VideoFeatures, whole
from eaglenet_jax.heads.ts2net import PreparedVideo, Ts2Net
from eaglenet_jax.layers.query_transformer import QueryShape
from eaglenet_jax.scoring.encoding import make_reduce_video
from eaglenet_jax.scoring.gallery import ScoringOptions, score_gallery
from tests.heads.heads import FRAMES, HEADS, PATCHES, WIDTH, applied, features, head_params, scores, started_params

HEAD = HEADS["ts2net"]
NOISY = HEAD.clone(evaluation_noise=True)
EVALUATION = Draws(jax.random.key(7))


@functools.cache
def params():
    """Parameters whose scores of tokens differ by more than the noise."""
    start = started_params(HEAD)
    selector = jax.tree.map(lambda leaf: 30 * leaf, start["selector"])
    return {**start, "selector": {**selector, "norm": start["selector"]["norm"]}}


@functools.partial(jax.jit, static_argnums=0)
def selected(head, params, video, draws):
    """Scores of the tokens, weights of the patches, and the reduced features."""
    variables = {"params": params}
    scores, weights = head.apply(variables, video, draws, method="selection")
    return scores, weights, head.apply(variables, video, draws, method="reduce_video")


def rows(tree, chosen):
    return jax.tree.map(lambda leaf: leaf[np.asarray(chosen)], tree)


def test_evaluation_takes_the_best_patches_or_their_noisy_mean():
    _, video = features(4)
    found, weights, reduced = selected(HEAD, params(), video, EVALUATION)
    best = np.sort(np.argsort(-np.asarray(found)[..., 1:], axis=-1)[..., : HEAD.selected], axis=-1)
    np.testing.assert_array_equal(np.argmax(weights, axis=-1), best)
    np.testing.assert_allclose(
        reduced.extra["selected"], np.take_along_axis(np.asarray(video.patches), best[..., None], axis=2), atol=1e-6
    )
    assert reduced.patches is None and set(np.unique(weights)) == {0, 1}
    _, noisy, mixed = selected(NOISY, params(), video, EVALUATION)
    np.testing.assert_allclose(noisy * NOISY.samples, np.round(noisy * NOISY.samples), atol=1e-4)
    np.testing.assert_allclose(np.sum(noisy, axis=-1), 1, atol=1e-6)
    assert len(np.unique(np.asarray(noisy).round(4))) > 2
    expected = np.einsum("bmkp,bmpd->bmkd", noisy, video.patches)
    np.testing.assert_allclose(mixed.extra["selected"], expected, atol=1e-5)


def test_noise_belongs_to_the_video_and_in_training_both_select_with_it():
    _, video = features(4)
    _, weights, _ = selected(NOISY, params(), video, EVALUATION)
    np.testing.assert_array_equal(
        selected(NOISY, params(), rows(video, [3, 1]), EVALUATION)[1], weights[np.array([3, 1])]
    )
    assert np.any(selected(NOISY, params(), video, Draws(jax.random.key(8)))[1] != weights)
    assert NOISY.noisy_videos() and not HEAD.noisy_videos()
    train = Draws(jax.random.key(7), train=True)
    ours, released = (selected(head, params(), video, train)[1] for head in (HEAD, NOISY))
    np.testing.assert_array_equal(ours, released)
    assert np.any(selected(HEAD, params(), video, train.fold(1))[1] != ours)
    same = dataclasses.replace(video, frames=video.frames.at[:].set(1.0), patches=video.patches.at[:].set(1.0))
    by_frame = np.asarray(selected(HEAD, params(), same, train)[1])
    assert np.any(by_frame[:, 0] != by_frame[:, 1]), "every frame has noise of its own"


def test_the_gradient_of_the_selection_is_the_full_one_or_its_diagonal():
    text, video = features(4)
    state, draws = HEAD.initial_state(), Draws(jax.random.key(1), train=True)

    def slopes(gradient):
        head = HEAD.clone(selection_gradient=gradient)

        @jax.jit
        def value(params):
            return head.apply({"params": params}, text, video, state, draws, whole, method="loss")[0]

        return jax.jit(jax.value_and_grad(value))(params())

    (loss, full), (same, diagonal) = slopes("full"), slopes("diagonal")
    np.testing.assert_allclose(loss, same, rtol=1e-6)
    for part, differs in (("selector", True), ("transformer", False)):
        gap = max(
            float(jnp.abs(one - other).max())
            for one, other in zip(jax.tree.leaves(full[part]), jax.tree.leaves(diagonal[part]), strict=True)
        )
        assert gap > 1e-4 if differs else gap < 1e-5, (part, gap)


def counted_frames(tiled, valid):
    """The frames that count, of a video of 12 frames of which the first `valid` are real; 3 patches a frame."""
    head = Ts2Net(4, tiled_mask=tiled, temporal_positions=48, temporal_layers=1, temporal_heads=1)
    mask = np.arange(12) < valid
    video = VideoFeatures(
        jnp.zeros(1, jnp.uint32),
        jnp.ones((1, 12, 4)),
        None,
        jnp.asarray(mask[None]),
        {"selected": jnp.ones((1, 12, 3, 4))},
    )
    variables = jax.eval_shape(lambda key: head.init(key, video, method="frame_states"), jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
    return np.flatnonzero(applied(head, zeros.get("params", {}), video, method="frame_states")[1][0]).tolist()


def test_the_mask_is_that_of_the_frames_or_tiled_in_the_wrong_order():
    for valid in (12, 10, 6, 3):
        assert counted_frames(False, valid) == list(range(valid))
    assert counted_frames(True, 9) == list(range(12))
    assert counted_frames(True, 8) == counted_frames(True, 5) == [0, 1, 3, 4, 6, 7, 9, 10]
    assert counted_frames(True, 4) == counted_frames(True, 1) == [0, 3, 6, 9]


def test_the_tiled_mask_lets_padding_into_the_score():
    text, video = features(4)
    noisy = dataclasses.replace(video, frames=jnp.where(video.mask[..., None], video.frames, 3.0))
    for tiled in (False, True):
        head = HEAD.clone(tiled_mask=tiled)
        change = np.abs(
            scores(head, params(), text, noisy, EVALUATION) - scores(head, params(), text, video, EVALUATION)
        )
        assert change.max() > 1e-3 if tiled else change.max() < 1e-5


def test_the_similarity_is_the_written_sum():
    rng = np.random.default_rng(0)
    text, frames = rng.normal(size=(3, WIDTH)), rng.normal(size=(4, FRAMES, WIDTH))
    text, frames = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (text, frames))
    mask = np.arange(FRAMES) < np.array([4, 2, 1, 0])[:, None]
    video = PreparedVideo(jnp.asarray(np.float32(frames)), jnp.asarray(mask))
    score = jax.jit(lambda *sides: HEAD.apply({"params": params()}, *sides, EVALUATION, True, method="score"))
    found = score(jnp.asarray(np.float32(text)), video)
    for i in range(3):
        for j in range(3):
            s = frames[j][mask[j]] @ text[i]
            weights = np.exp(4 * s / np.linalg.norm(s))
            weights /= weights.sum()
            np.testing.assert_allclose(found.similarity[i, j], weights @ s, atol=1e-6)
            np.testing.assert_allclose(found.aux["frame_weights"][i, j][mask[j]], weights, atol=1e-6)
    np.testing.assert_array_equal(found.similarity[:, 3], 0)  # a video without a frame


def test_selected_patches_act_through_the_attention_alone():
    """With the temporal blocks' outputs at zero, the frames are the class tokens, twice; the patches do nothing."""
    text, video = features(4)
    silent = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if {"output", "mlp_down"} & {key.key for key in path} else leaf,
        params(),
    )
    silent["transformer"]["positions"] = jnp.zeros_like(silent["transformer"]["positions"])
    other = dataclasses.replace(video, patches=-2 * video.patches)
    one, two = (scores(HEAD, silent, text, each, EVALUATION) for each in (video, other))
    np.testing.assert_allclose(one, two, atol=1e-6)
    sides = rows_of(text), PreparedVideo(unit_rows(video.frames), video.mask)
    plain = applied(HEAD, silent, *sides, EVALUATION, method="score")
    np.testing.assert_allclose(one, plain.similarity, atol=1e-5)
    one, two = (scores(HEAD, params(), text, each, EVALUATION) for each in (video, other))
    assert np.abs(one - two).max() > 1e-3


def unit_rows(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def rows_of(text):
    return unit_rows(text.pooled)


def test_reduced_features_score_as_whole_ones_and_keep_no_patches():
    text, video = features(5)
    for head in (HEAD, NOISY):
        reduced = make_reduce_video(head)(params(), video, EVALUATION)
        assert reduced.patches is None and reduced.extra["selected"].shape == (5, FRAMES, HEAD.selected, WIDTH)
        again = make_reduce_video(head)(params(), reduced, Draws(jax.random.key(1)))
        np.testing.assert_array_equal(again.extra["selected"], reduced.extra["selected"])
        options = ScoringOptions(block=2, video_block=3)
        found = [
            score_gallery(head, params(), text, each, draws=EVALUATION, options=options) for each in (video, reduced)
        ]
        np.testing.assert_allclose(*found, atol=1e-6)
    with pytest.raises(UserError, match=r"draws noise for every video; give prepare_video .* reduce_video"):
        NOISY.apply({"params": params()}, video, method="prepare_video")
    _, plain = features(2)
    assert make_reduce_video(Clip4Clip(WIDTH))({}, plain, EVALUATION) is plain


@pytest.mark.parametrize("source", ["", pytest.param("another/encoder", marks=pytest.mark.long)])
def test_crosstvr_keeps_the_patches_that_it_attends_to(source):
    shape = QueryShape(width=8, layers=1, heads=2, hidden=8)
    head = CrossTvr(NOISY, FRAMES, TokenShape(PATCHES + 1, WIDTH, source), shape, queries=2, selected=2)
    assert head.noisy_videos() and head.uses_patches
    text, video = features(3)
    tokens = jnp.concatenate([video.frames[:, :, None], video.patches], axis=2)
    video = dataclasses.replace(video, extra={"tokens": tokens})
    both = head_params(HEADS["crosstvr"]) | {"first": params()}
    reduced = make_reduce_video(head)(both, video, EVALUATION)
    assert (reduced.patches is None) == bool(source) and "selected" in reduced.extra
    draws = Draws(jax.random.key(2), train=True)

    @jax.jit
    def loss(params):
        return head.apply({"params": params}, text, video, (), draws, whole, method="loss")[0]

    assert np.isfinite(loss(both))
    first = head.candidate_scorer(both)
    found = [score_gallery(first.head, first.params, text, each, draws=EVALUATION) for each in (video, reduced)]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_it_starts_from_the_text_tower_and_its_own_further_positions():
    start = started_params(HEAD)
    block, positions = start["transformer"]["block_0"], start["transformer"]["positions"]
    text = {"block_0": jax.tree.map(lambda leaf: leaf + 1, block), "position_embedding": positions[:7] + 1}
    started = HEAD.start_from_clip(start, {"text": text}, np.float32(4.6))
    jax.tree.map(lambda new, old: np.testing.assert_allclose(new, old + 1), started["transformer"]["block_0"], block)
    np.testing.assert_allclose(started["transformer"]["positions"][:7], positions[:7] + 1)
    np.testing.assert_array_equal(started["transformer"]["positions"][7:], positions[7:])
    assert float(started["matching_loss"]["logit_scale"]) == pytest.approx(4.6)
    deviations = [float(jnp.std(positions)), *(float(jnp.std(start["selector"][n]["kernel"])) for n in ("up", "local"))]
    assert deviations == pytest.approx([0.02] * 3, rel=0.4)


def test_sizes_follow_the_clip_and_the_frames():
    clip = NAMED_SIZES["ViT-B/32"]
    for frames, selected, rows_wanted in ((12, 3, 77), (64, 3, 256), (24, 4, 120)):
        head = Ts2Net.from_config({"selected": selected}, clip, frames)
        assert (head.temporal_positions, head.width, head.temporal_heads) == (rows_wanted, 512, 8)
    with pytest.raises(UserError, match="selected is 50; a frame has 49 patches"):
        Ts2Net.from_config({"selected": 50}, clip, 12)
    with pytest.raises(UserError, match="samples is 0; give 1 or more"):
        Ts2Net.from_config({"samples": 0}, clip, 12)
    assert "tiled_mask" in Ts2Net.unread_options({**Ts2Net.options(), "mask_padding": False})
    assert "tiled_mask" not in Ts2Net.unread_options(Ts2Net.options())
