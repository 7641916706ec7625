"""The perturbed selection: what it selects, and both gradients against the smoothed objective's finite differences."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.layers.perturbed_maximum import GRADIENTS, perturbed_top_indicators, top_indicators

SIGMA = 0.3
SCORES = np.array([0.1, -0.2, 0.25, 0.0])
COST = np.array([[1.0, -2.0, 0.5, 0.3], [0.2, 1.5, -1.0, 0.8]])  # of the objective Σ_ki cost_ki Y_ki


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@functools.partial(jax.jit, static_argnums=(2,))
def pulled(scores, noise, gradient, cost):
    """Gradient by the scores of Σ cost · Y."""
    return jax.grad(
        lambda scores: jnp.sum(cost * perturbed_top_indicators(scores, noise, cost.shape[-2], SIGMA, gradient))
    )(scores)


def smoothed(scores, noise, cost=COST):
    """The same objective written with argsort: mean over draws of the cost of the selected positions, by index."""
    best = np.sort(np.argsort(-(scores + SIGMA * noise), axis=-1)[:, : len(cost)], axis=-1)
    return np.mean(sum(cost[k][best[:, k]] for k in range(len(cost))))


def test_it_averages_the_selections_of_the_draws():
    scores, noise = normal(2, 3, 5), normal(2, 3, 7, 5, seed=1)
    found = np.asarray(perturbed_top_indicators(jnp.asarray(scores), jnp.asarray(noise), 2, SIGMA, "full"))
    expected = np.zeros((2, 3, 2, 5))
    for b, m, r in itertools.product(range(2), range(3), range(7)):
        for k, i in enumerate(sorted(np.argsort(-(scores[b, m] + SIGMA * noise[b, m, r]))[:2])):
            expected[b, m, k, i] += 1 / 7
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)


def test_without_noise_it_is_the_hard_selection_in_the_order_of_the_index():
    scores = jnp.asarray([[0.3, 0.9, -0.5, 0.9, 0.1]])
    found = top_indicators(scores, 3)
    np.testing.assert_array_equal(np.argmax(found, axis=-1), [[0, 1, 3]])
    nearly = perturbed_top_indicators(
        scores + jnp.asarray([0, 1e-2, 0, 0, 0]), jnp.asarray(normal(1, 9, 5)), 3, 1e-6, "full"
    )
    np.testing.assert_allclose(nearly, found, atol=1e-6)


def test_the_full_gradient_is_the_slope_of_the_smoothed_objective():
    """Finite differences with the same draws; what is left is the noise of 400,000 draws."""
    noise = normal(400_000, 4)
    found = np.asarray(pulled(SCORES, noise, "full", COST))
    step = 0.2 * SIGMA
    for j, slope in enumerate(found):
        aside = step * np.eye(4)[j]
        expected = (smoothed(SCORES + aside, noise) - smoothed(SCORES - aside, noise)) / (2 * step)
        assert abs(slope - expected) < 0.05, (j, slope, expected)
    assert np.abs(found).max() > 1
    assert abs(found.sum()) < 0.05  # the same number added to all scores selects the same


def test_the_gradient_of_two_scores_is_known_in_closed_form():
    """P(first) = Φ((c₀ − c₁) / (√2 σ)); both rules estimate its derivative by c₀."""
    scores, noise, cost = np.array([0.1, -0.1]), normal(400_000, 2, seed=2), np.array([[1.0, 0.0]])
    distance = (scores[0] - scores[1]) / (math.sqrt(2) * SIGMA)
    density = math.exp(-(distance**2) / 2) / math.sqrt(2 * math.pi) / (math.sqrt(2) * SIGMA)
    full, diagonal = (np.asarray(pulled(scores, noise, gradient, cost)) for gradient in GRADIENTS)
    np.testing.assert_allclose(full, [density, -density], atol=0.01)
    np.testing.assert_allclose(diagonal, [density, 0], atol=0.01)


def test_the_diagonal_gradient_is_the_diagonal_of_the_full_jacobian():
    noise, cost = normal(200, 4, seed=3), normal(2, 4, seed=4)
    expected = np.zeros(4)
    for k, i in itertools.product(range(2), range(4)):
        one = np.zeros((2, 4))
        one[k, i] = 1
        expected[i] += cost[k, i] * np.asarray(pulled(SCORES, noise, "full", one))[i]
    np.testing.assert_allclose(pulled(SCORES, noise, "diagonal", cost), expected, atol=1e-5)
    assert np.abs(pulled(SCORES, noise, "full", cost) - expected).max() > 0.1


def test_batches_are_independent_and_the_noise_has_no_gradient():
    scores, noise, cost = normal(3, 5, seed=5), normal(3, 20, 5, seed=6), normal(3, 2, 5, seed=7)
    for gradient in GRADIENTS:
        each = [pulled(scores[row], noise[row], gradient, cost[row]) for row in range(3)]
        np.testing.assert_allclose(pulled(scores, noise, gradient, cost), each, atol=1e-5)

        def objective(noise, gradient=gradient):
            return jnp.sum(cost * perturbed_top_indicators(jnp.asarray(scores), noise, 2, SIGMA, gradient))

        np.testing.assert_array_equal(jax.grad(objective)(jnp.asarray(noise)), 0)


def test_an_unknown_gradient_is_refused():
    with pytest.raises(ValueError, match="'half' is none of full, diagonal"):
        perturbed_top_indicators(jnp.zeros(4), jnp.zeros((3, 4)), 2, SIGMA, "half")
