"""The kernel of a pair, in interpret mode, against the dense definition and the plain form; what it refuses."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax import accelerator
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import whole
from eaglenet_jax.layers import graph_kernel
from eaglenet_jax.layers.graph_kernel import candidate_weights_by_kernel
from eaglenet_jax.layers.rgat import GraphParameters, GraphShape, dense_candidate_weights
from eaglenet_jax.layers.rgat_folded import prepare_frames
from eaglenet_jax.scoring.gallery import ScoringOptions, score_gallery
from tests.heads.heads import HEADS, features, head_params

WIDTH, TEXTS, VIDEOS = 24, 2, 4
DRAWS = Draws(jax.random.key(3))


@functools.partial(jax.jit, static_argnums=0)
def _both(shape, variables, frames, texts, mask):
    layers = GraphParameters(shape).apply(variables)
    found = candidate_weights_by_kernel(shape, layers, prepare_frames(shape, layers, frames, mask), texts, "interpret")
    masks = jnp.broadcast_to(mask, (TEXTS, *mask.shape))
    return found, dense_candidate_weights(shape, layers, jnp.broadcast_to(frames, (TEXTS, *frames.shape)), texts, masks)


@pytest.mark.parametrize(
    ("nodes", "frames", "heads", "readout", "shared", "columns"),
    [
        (21, 12, 2, "released", True, 16),
        (5, 64, 3, "paper", False, 16),
        (1, 1, 1, "released", False, 32),
        (5, 3, 1, "paper", True, 16),
    ],
)
def test_weights_equal_the_dense_definition_in_float32(nodes, frames, heads, readout, shared, columns, monkeypatch):
    """Sizes below, at and above powers of two; a head of 8, 12 and 24 features, these at once and in two parts; the
    last video is all padding.
    """
    chosen = graph_kernel.choose_launch
    monkeypatch.setattr(graph_kernel, "choose_launch", lambda *of: chosen(*of)._replace(columns=columns))
    shape = GraphShape(WIDTH, heads=heads, readout=readout, shared_residual=shared)
    rng = np.random.default_rng(nodes)
    shapes = jax.eval_shape(GraphParameters(shape).init, jax.random.key(0))
    variables = jax.tree.map(lambda leaf: np.float32(rng.normal(0, 0.5, leaf.shape)), shapes)
    mask = rng.random((VIDEOS, frames)) < 0.6
    mask[0], mask[-1] = True, False
    normal = lambda *shape: np.float32(rng.normal(size=shape))  # noqa: E731
    found, dense = _both(shape, variables, normal(VIDEOS, frames, WIDTH), normal(TEXTS, VIDEOS, nodes, WIDTH), mask)
    assert found.shape == (TEXTS, VIDEOS, nodes) and (nodes == 1 or np.ptp(found[:, 0]) > 1e-2)
    np.testing.assert_allclose(found, dense, atol=1e-5)


def test_it_is_chosen_where_it_was_measured_faster(monkeypatch):
    plain = HEADS["eaglenet"]
    half = dataclasses.replace(plain, dtype=jnp.bfloat16)
    assert half.with_scoring_kernel("auto").scoring_kernel == "none"  # on a CPU
    monkeypatch.setattr(accelerator, "is_recent_gpu", lambda: True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert ScoringOptions().kernel == "auto" and half.with_scoring_kernel("auto").scoring_kernel == "triton"
    assert plain.with_scoring_kernel("auto").scoring_kernel == "none"  # slower in float32
    for other in ({"graph": dataclasses.replace(half.graph, layers=1)}, {"candidate_choice": "best"}):
        assert half.clone(**other).with_scoring_kernel("auto").scoring_kernel == "none"
    assert HEADS["clip4clip"].with_scoring_kernel("auto") is HEADS["clip4clip"]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(None, 1e-5), pytest.param(jnp.bfloat16, 2e-2, marks=pytest.mark.long)]
)
def test_scores_equal_the_plain_form_for_any_block(dtype, tolerance):
    """In bfloat16 the plain form rounds messages and nodes that the kernel keeps in float32: scores differ by 2e-2."""
    head = dataclasses.replace(HEADS["eaglenet"], dtype=dtype)
    given = head, head_params(HEADS["eaglenet"]), *features(5)
    plain = score_gallery(*given, draws=DRAWS)
    by_kernel = score_gallery(*given, draws=DRAWS, options=ScoringOptions(2, 3, kernel="interpret"))
    assert np.ptp(plain) > 10 * tolerance
    np.testing.assert_allclose(by_kernel, plain, atol=tolerance)


def test_what_it_does_not_compute_is_refused_in_one_line():
    eaglenet, graph = HEADS["eaglenet"], HEADS["eaglenet"].graph
    refused = {
        "XPool has no scoring kernel": (HEADS["xpool"], "triton"),
        "runs on a GPU, and this is a cpu": (eaglenet, "triton"),
        "is none of none, triton, interpret": (eaglenet, "cuda"),
        "not 'gat' of 2 layers": (HEADS["eaglenet_softmax_gat"], "interpret"),
        "not 'rgat' of 3 layers": (eaglenet.clone(graph=dataclasses.replace(graph, layers=3)), "interpret"),
        "which has no graph": (HEADS["eaglenet_no_graph"], "interpret"),
        "not 65, 4 and 4": (eaglenet.clone(candidates=64), "interpret"),
        "not 4, 65 and 4": (eaglenet.clone(frames=65), "interpret"),
        "not 4, 4 and 512": (eaglenet.clone(graph=dataclasses.replace(graph, width=1024)), "interpret"),
    }
    for message, (head, kind) in refused.items():
        with pytest.raises(UserError, match=message) as error:
            score_gallery(head, {}, *features(3), draws=DRAWS, options=ScoringOptions(kernel=kind))
        assert "use kernel" in str(error.value) and "\n" not in str(error.value)


def test_training_with_it_is_refused():
    head = HEADS["eaglenet"].with_scoring_kernel("interpret")
    given = head_params(HEADS["eaglenet"]), *features(3), head.initial_state(), Draws(DRAWS.key, train=True)

    def loss(params, *rest):
        return head.apply({"params": params}, *rest, whole, method="loss")

    with pytest.raises(UserError, match="no gradient"):
        jax.eval_shape(loss, *given)


def test_heads_are_imported_without_pallas():
    code = "import sys, eaglenet_jax.heads.eaglenet; sys.exit('jax.experimental.pallas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
