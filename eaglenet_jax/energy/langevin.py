"""Langevin sampling of text–video pairs from an energy, `jax.grad` in `lax.scan` (docs/systems.md section 2.6)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eaglenet_jax.draws import Draws


def langevin_samples(
    energy: Callable[[Array, Array], Array],
    text: Float[Array, "B d"],
    video: Float[Array, "B M d"],
    draws: Draws,
    *,
    steps: int = 20,
    step_size: float = 1.0,
    noise_deviation: float = 0.005,
) -> tuple[Float[Array, "B d"], Float[Array, "B M d"]]:
    """Sample pairs with B Langevin chains x ← x − step_size ∇_x E(x) + ε on text and video together.

    ε ~ N(0, noise_deviation²). No gradient passes through the samples.

    Args:
        energy: (text [B, d], video [B, M, d]) → energies [B]. Chains are independent of each other.
        text: Starts of the chains.
        video: Starts of the chains.
        draws: Source of the noise.
        steps: Steps of a chain.
        step_size: Factor of the gradient.
        noise_deviation: Standard deviation of the noise.

    Returns:
        Ends of the chains (text, video).
    """
    chain = jnp.arange(text.shape[0], dtype=jnp.uint32)
    slope = jax.grad(lambda text, video: jnp.sum(energy(text, video)), argnums=(0, 1))

    def step(state: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], None]:
        text, video = state
        text_slope, video_slope = slope(text, video)
        step_draws = draws.fold(index)
        text_noise = step_draws.normal("langevin_text", (chain,), text.shape[1:])
        video_noise = step_draws.normal("langevin_video", (chain,), video.shape[1:])
        text = text - step_size * text_slope + noise_deviation * text_noise
        video = video - step_size * video_slope + noise_deviation * video_noise
        return (text, video), None

    start = jax.lax.stop_gradient((text, video))
    ends, _ = jax.lax.scan(step, start, jnp.arange(steps))
    return jax.lax.stop_gradient(ends)
