"""Properties of every head: permutation, independence of the gallery, padding, finite gradients, the pairwise
contract.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import whole
from eaglenet_jax.training.pairwise import make_pairwise
from tests.heads.heads import HEADS, applied, features, head_params, random_params, scores

EVALUATION = Draws(jax.random.key(7))


# They share most of their code with "eaglenet" and "tmass" and take a third of the time of this file.
VARIANTS = ("eaglenet_softmax_gat", "eaglenet_paper", "eaglenet_no_graph", "tmass_paper")
CASES = [pytest.param(name, marks=pytest.mark.long) if name in VARIANTS else name for name in HEADS]


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A head with its parameters and jitted scoring and loss, compiled once a module."""
    head = HEADS[request.param]
    params = random_params(head, *features(3))

    @functools.partial(jax.jit, static_argnums=(0,))
    def loss(block, params, text, video, state, key):
        """(loss, parts, new state) and the gradients by parameters, text and frames, in one program for all tests."""

        def value(params, pooled, frames):
            batch = dataclasses.replace(text, pooled=pooled), dataclasses.replace(video, frames=frames)
            pairwise = whole if block == 0 else make_pairwise(block=block)
            draws = Draws(key, train=True)
            total, parts, new_state = head.apply({"params": params}, *batch, state, draws, pairwise, method="loss")
            return total, (parts, new_state)

        (total, (parts, new_state)), slopes = jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True)(
            params, text.pooled, video.frames
        )
        return (total, parts, new_state), slopes

    return head, params, jax.jit(functools.partial(scores, head)), loss


def _taken(tree, rows):
    """In NumPy, as all that is changed here between two programs: jax would compile it for each shape."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(rows)], tree)


def test_explanations_belong_to_their_pairs(case):
    """Weights sum to 1 over real frames and over candidates; an energy is there only if it was trained."""
    head, params, _, _ = case
    text, video = features(3)
    said = applied(head, params, text, video, EVALUATION, method="explain")
    assert ("energy" in said) == bool(getattr(head, "eam_weight", 0) or getattr(head, "eam_support_weight", 0))
    for name, values in said.items():
        assert values.shape[:2] == (3, 3), name
        if name == "noun_patches":
            np.testing.assert_allclose(np.sum(values, axis=(-1, -2)), 1, atol=1e-5)
        elif name == "radius_length":
            assert np.min(values) > 0
        elif name == "attended_patches":  # the class token has the rest
            share = np.sum(values, axis=-1)
            assert np.all((share < 1) & ((share > 0) == np.asarray(video.mask)))
        elif name != "energy":
            np.testing.assert_allclose(np.sum(values, axis=-1), 1, atol=1e-5)


def test_without_energy_aware_matching_there_is_no_energy_to_explain():
    head = HEADS["eaglenet"].clone(eam_weight=0.0, eam_support_weight=0.0)
    params = jax.eval_shape(lambda: head_params(head))
    said = jax.eval_shape(
        lambda params: head.apply({"params": params}, *features(2), EVALUATION, method="explain"), params
    )
    assert set(said) == {"frame_weights", "candidate_weights", "radius_length"}


def test_permuting_texts_and_videos_permutes_the_matrix(case):
    _, params, score, _ = case
    text, video = features(5)
    found = score(params, text, video, EVALUATION)
    rows, columns = [3, 0, 4, 1, 2], [1, 2, 0, 4, 3]
    permuted = score(params, _taken(text, rows), _taken(video, columns), EVALUATION)
    np.testing.assert_allclose(permuted, found[np.array(rows)][:, np.array(columns)], atol=2e-6)
    assert np.ptp(np.asarray(found)) > 1e-4


def test_a_score_does_not_depend_on_the_gallery(case):
    _, params, score, _ = case
    text, video = features(5)
    found = score(params, text, video, EVALUATION)
    fewer = score(params, _taken(text, [4, 1]), _taken(video, [0, 2, 3]), EVALUATION)
    np.testing.assert_allclose(fewer, found[np.array([4, 1])][:, np.array([0, 2, 3])], atol=2e-6)


def test_padding_frames_change_nothing(case):
    head, params, score, loss = case
    text, video = features(5)
    noisy = dataclasses.replace(
        video,
        frames=np.where(np.asarray(video.mask)[..., None], video.frames, np.float32(50)),
        patches=np.where(np.asarray(video.mask)[..., None, None], video.patches, np.float32(50)),
    )
    np.testing.assert_allclose(
        score(params, text, noisy, EVALUATION), score(params, text, video, EVALUATION), atol=2e-6
    )
    key, state = jax.random.key(3), head.initial_state()
    for one, other in zip(
        jax.tree.leaves(loss(0, params, text, noisy, state, key)[0]),
        jax.tree.leaves(loss(0, params, text, video, state, key)[0]),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_blocks_of_rows_give_the_same_loss(case):
    head, params, _, loss = case
    text, video = features(5)
    state, draws = head.initial_state(), Draws(jax.random.key(4), train=True)

    @jax.jit
    def by_blocks(params, text, video):
        return head.apply({"params": params}, text, video, state, draws, make_pairwise(block=2), method="loss")[0]

    (found, _, _), _ = loss(0, params, text, video, state, draws.key)
    np.testing.assert_allclose(by_blocks(params, text, video), found, rtol=1e-5)


@pytest.mark.long  # compiles the largest program of these tests
def test_blocks_of_rows_give_the_same_gradient(case):
    head, params, _, loss = case
    text, video = features(5)
    state, key = head.initial_state(), jax.random.key(4)
    (_, slopes), (_, other_slopes) = (loss(block, params, text, video, state, key) for block in (0, 2))
    for left, right in zip(jax.tree.leaves(slopes), jax.tree.leaves(other_slopes), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["zero", "huge", "equal"])
def test_values_and_gradients_are_finite(case, kind):
    head, params, score, loss = case
    text, video = features(5, scale={"zero": 0.0, "huge": 1e12, "equal": 1.0}[kind])
    if kind == "equal":
        text = dataclasses.replace(text, pooled=np.ones(text.pooled.shape, np.float32))
        video = dataclasses.replace(video, frames=np.ones(video.frames.shape, np.float32))
    assert np.isfinite(score(params, text, video, EVALUATION)).all()
    for leaf in jax.tree.leaves(loss(0, params, text, video, head.initial_state(), jax.random.key(5))):
        assert np.isfinite(leaf).all()


def test_the_loss_falls_when_its_gradient_is_followed(case):
    head, params, _, loss = case
    text, video = features(5)
    state, key = head.initial_state(), jax.random.key(6)
    (start, _, _), (slope, _, _) = loss(0, params, text, video, state, key)
    slope = jax.tree.map(np.asarray, slope)
    norm = float(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(slope))) ** 0.5
    moved = jax.tree.map(lambda leaf, gradient: leaf - 1e-3 * gradient / norm, params, slope)
    assert loss(0, moved, text, video, state, key)[0][0] < start


# CrossTVR draws its negatives: tests/heads/test_crosstvr.py shows which.
@pytest.mark.parametrize("case", [each for each in CASES if each != "crosstvr"], indirect=True)
def test_another_caption_of_the_same_video_is_no_negative(case):
    """With the switch off, the same batch and draws have two negatives more, each with a loss of its own."""
    head, params, _, loss = case
    text, video = features(5)
    state, key = head.initial_state(), jax.random.key(8)
    same = np.asarray([0, 1, 2, 3, 0])
    twice = dataclasses.replace(_taken(video, same), id=np.asarray(video.id)[same])
    counted = loss(0, params, text, twice, state, key)[0][1]["match_loss"]
    released = head.clone(mask_repeated_videos=False)

    @jax.jit
    def released_loss(params, text, video):
        draws = Draws(key, train=True)
        return released.apply({"params": params}, text, video, state, draws, whole, method="loss")[1]["match_loss"]

    assert released_loss(params, text, twice) > counted + 1e-4
