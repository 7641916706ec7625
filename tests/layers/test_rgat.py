"""The folded read-out of the graph network against its dense definition."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.layers.rgat import (
    GraphParameters,
    GraphShape,
    adjacency,
    candidate_logits,
    dense_candidate_weights,
    dense_layer,
)
from eaglenet_jax.layers.rgat_folded import candidate_weights, prepare_frames

# layers, heads, texts of a pair (S + 1), frames, the form that reads memory least
SIZES = [(1, 1, 1, 1, False), (1, 2, 4, 3, False), (2, 2, 3, 6, False), (2, 2, 3, 6, True)]
LARGER = [(2, 4, 6, 3), (3, 4, 5, 4), (4, 2, 2, 5)]
LARGER = [(*size, form) for size in LARGER for form in (False, True)] + [(1, 2, 4, 3, True)]
SIZES += [pytest.param(*size, marks=pytest.mark.long) for size in LARGER]
# kind, readout, shared residual, frame-frame edges
KINDS = [
    ("rgat", "released", True, True),
    ("rgat", "paper", False, True),
    ("rgat", "released", False, False),
    ("gat", "released", True, True),
    ("gat", "paper", True, False),
]


def _inputs(seed, width, texts, frames, dtype):
    rng = np.random.default_rng(seed)
    mask = rng.random((3, frames)) < 0.7
    mask[0] = True
    mask[1:, 0] = True
    return (
        jnp.asarray(rng.normal(size=(3, frames, width)), dtype),
        jnp.asarray(rng.normal(size=(2, 3, texts, width)), dtype),
        jnp.asarray(mask),
    )


def _start(shape, seed):
    """Parameters drawn in NumPy, about as large as those of the initialisation, which is not compiled."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(GraphParameters(shape).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(np.float32(rng.normal(0, 0.4, leaf.shape))), shapes)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _folded(shape, variables, frames, texts, mask, few_reads=False):
    layers = GraphParameters(shape).apply(variables)
    ids = (jnp.arange(2)[:, None], jnp.arange(3)[None])
    video = prepare_frames(shape, layers, frames, mask)
    return candidate_weights(shape, layers, video, texts, Draws(jax.random.key(0)), ids, few_reads)


@functools.partial(jax.jit, static_argnums=0)
def _dense(shape, variables, frames, texts, mask):
    layers, pairs = GraphParameters(shape).apply(variables), (2, *frames.shape)
    masks = jnp.broadcast_to(mask, (2, *mask.shape))
    return dense_candidate_weights(shape, layers, jnp.broadcast_to(frames, pairs), texts, masks)


FORMS = {False: _folded, True: functools.partial(_folded, few_reads=True)}


def _both(shape, variables, frames, texts, mask, few_reads=False):
    return _folded(shape, variables, frames, texts, mask, few_reads), _dense(shape, variables, frames, texts, mask)


def _weights(which, shape, *inputs):
    return which(shape, *inputs), ()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _gradient(which, shape, variables, frames, texts, mask):
    """Weights, and the gradient of a weighted sum of them, in one program: the dense one serves both folded forms."""

    def scalar(variables, frames, texts):
        found = which(shape, variables, frames, texts, mask)
        return jnp.sum(jnp.asarray(np.random.default_rng(9).normal(size=found.shape)) * found), found

    gradient, found = jax.grad(scalar, argnums=(0, 1, 2), has_aux=True)(variables, frames, texts)
    return found, gradient


@pytest.mark.parametrize(("layers", "heads", "texts", "frames", "few_reads"), SIZES)
def test_folded_equals_dense_with_gradients_in_float64(layers, heads, texts, frames, few_reads):
    for index, (kind, readout, shared, edges) in enumerate(KINDS):
        shape = GraphShape(
            8, layers, heads, kind, shared_residual=shared, frame_frame_edges=edges, readout=readout, dropout_rate=0.0
        )
        with jax.enable_x64(True):
            variables = _start(shape, index)
            variables = jax.tree.map(lambda leaf: 3 * np.asarray(leaf, np.float64), variables)
            inputs = _inputs(index, 8, texts, frames, jnp.float64)
            # Compiling gradients costs most of the time: of every kind at one of the larger sizes.
            compute = _gradient if index == 0 or (layers, heads) == (2, 4) else _weights
            folded, slopes = compute(FORMS[few_reads], shape, variables, *inputs)
            dense, expected = compute(_dense, shape, variables, *inputs)
            np.testing.assert_allclose(folded, dense, atol=1e-12, rtol=0)
            if layers <= 2 and texts > 1:  # a deep GAT without residual makes all nodes alike
                assert np.ptp(np.asarray(folded)) > 1e-5
            for one, other in zip(jax.tree.leaves(slopes), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("few_reads", [False, True])
def test_folded_equals_dense_with_gradients_in_float32(few_reads):
    shape = GraphShape(64, dropout_rate=0.0)
    variables = _start(shape, 0)
    frames, texts, mask = _inputs(0, 64, 21, 12, jnp.float32)
    probe = np.random.default_rng(9).normal(size=texts.shape[:-1])

    def scalar(which, variables, frames, texts):
        weights = which(shape, variables, frames, texts, mask)
        return jnp.sum(probe * weights), weights

    gradient = jax.jit(jax.grad(scalar, argnums=(1, 2, 3), has_aux=True), static_argnums=0)
    (folded, weights), (dense, expected) = (
        gradient(which, variables, frames, texts) for which in (FORMS[few_reads], _dense)
    )
    np.testing.assert_allclose(weights, expected, atol=1e-5, rtol=0)
    pairs = list(zip(jax.tree.leaves(folded), jax.tree.leaves(dense), strict=True))
    length = np.sqrt(sum(np.sum(np.square(leaf)) for _, leaf in pairs))
    assert length > 1e-2 and max(np.linalg.norm(one - other) for one, other in pairs) <= 1e-5 * length


@pytest.mark.parametrize("layers", [1, 2])
def test_paper_readout_cannot_see_frame_frame_edges(layers):
    """docs/systems.md section 3: before LeakyReLU the frames' half of an edge weight is the same for all texts."""
    variables = _start(GraphShape(8, layers), 1)
    frames, texts, mask = _inputs(1, 8, 5, 4, jnp.float32)
    found = {}
    for readout, edges in itertools.product(("paper", "released"), (True, False)):
        shape = GraphShape(8, layers, readout=readout, frame_frame_edges=edges, dropout_rate=0.0)
        found[readout, edges] = _folded(shape, variables, frames, texts, mask)
    np.testing.assert_allclose(found["paper", True], found["paper", False], atol=1e-6)
    changed = np.abs(found["released", True] - found["released", False]).max()
    assert changed > 1e-4 if layers == 2 else changed == 0


@pytest.mark.parametrize("shared", [True, False])
def test_the_dense_layer_is_the_written_sum(shared):
    """Loops over nodes, relations and heads, from docs/systems.md section 2.2; frames 0 and 1, texts 2 to 4."""
    shape = GraphShape(4, 2, heads=2, shared_residual=shared)
    layer = GraphParameters(shape).apply(_start(shape, 5))[0]
    assert layer.residual.shape == (4, 1 if shared else 2, 2)
    x = np.random.default_rng(5).normal(size=(5, 4)).astype(np.float32)
    found = jax.jit(lambda x: dense_layer(layer, x, adjacency(shape, jnp.ones(2, bool), 3)))(x)
    frames, texts = (0, 1), (2, 3, 4)
    for i, h in itertools.product(range(5), range(2)):
        expected = x[i] @ np.asarray(layer.residual)[:, 0 if shared else h]
        same, other = (frames, texts) if i in frames else (texts, frames)
        for name, senders in (("frame_frame" if i in frames else "text_text", same), ("text_frame", other)):
            relation = layer.relations[name]
            z = x @ np.asarray(relation.kernel)[:, h]
            logits = np.array([z[i] @ np.asarray(relation.receive) + z[j] @ np.asarray(relation.send) for j in senders])
            weights = np.exp(np.where(logits > 0, logits, 0.1 * logits))
            expected = expected + (weights / weights.sum()) @ z[list(senders)]
        np.testing.assert_allclose(found[i, h], expected, atol=1e-5)


@pytest.mark.parametrize("readout", ["paper", "released"])
def test_edge_weights_are_read_as_written(readout):
    """Loops over pairs and heads, docs/systems.md section 3; frames 0 and 1, texts 2 to 4."""
    shape = GraphShape(4, 1, heads=2, readout=readout)
    layer = GraphParameters(shape).apply(_start(shape, 6))[0]
    relation = layer.relations["text_frame"]
    x = np.random.default_rng(6).normal(size=(5, 4)).astype(np.float32)
    found = candidate_logits(shape, layer, jnp.asarray(x), jnp.ones(2, bool))
    for text in (2, 3, 4):
        weights = []
        for frame, head in itertools.product((0, 1), range(2)):
            z = x @ np.asarray(relation.kernel)[:, head]
            receiver, sender = (text, frame) if readout == "paper" else (frame, text)
            logit = z[receiver] @ np.asarray(relation.receive) + z[sender] @ np.asarray(relation.send)
            weights.append(logit if readout == "paper" or logit > 0 else 0.1 * logit)
        np.testing.assert_allclose(found[text - 2], np.mean(weights), atol=1e-5)


def test_padding_frames_change_nothing():
    shape = GraphShape(8, 3, dropout_rate=0.0)
    variables = _start(shape, 2)
    frames, texts, mask = _inputs(2, 8, 4, 5, jnp.float32)
    other = jnp.where(mask[..., None], frames, 1e3)
    clean, polluted = (_both(shape, variables, seen, texts, mask) for seen in (frames, other))
    for one, two in zip(clean, polluted, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_dropout_belongs_to_the_pair():
    shape = GraphShape(8, 2, dropout_rate=0.5)
    layers = GraphParameters(shape).apply(_start(shape, 3))
    frames, texts, mask = _inputs(3, 8, 4, 5, jnp.float32)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def weights(rows, train=True):
        rows, draws = np.array(rows), Draws(jax.random.key(4), train=train)
        ids = (jnp.arange(2)[rows, None], jnp.arange(3)[None])
        return candidate_weights(shape, layers, prepare_frames(shape, layers, frames, mask), texts[rows], draws, ids)

    both = weights((0, 1))
    np.testing.assert_allclose(both[1:], weights((1,)), atol=1e-6)
    assert np.abs(both - weights((0, 1), False)).max() > 1e-4


def test_shape_refuses_what_cannot_be_built():
    with pytest.raises(ValueError, match="divide"):
        GraphShape(10, heads=4)
    with pytest.raises(ValueError, match="kind"):
        GraphShape(8, kind="gcn")
