"""Energy-aware matching: the energy, its sampler and its replay buffer as one loss (docs/systems.md section 2.6)."""

from __future__ import annotations

import dataclasses
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.draws import Draws
from eaglenet_jax.energy.functions import Energy
from eaglenet_jax.energy.langevin import langevin_samples
from eaglenet_jax.energy.loss import regularised_difference
from eaglenet_jax.energy.replay_buffer import ReplayBuffer, push, start_chains


@dataclasses.dataclass(frozen=True)
class SamplerSettings:
    """How the sampler runs. start: rule of `start_chains`. noise_deviation: standard deviation (paper: √0.005)."""

    steps: int = 20
    step_size: float = 1.0
    noise_deviation: float = 0.005
    start: str = "ours"
    buffer_rows: int = 500
    buffer_probability: float = 0.95


def draw_samples(
    energy: Energy, buffer: ReplayBuffer, count: int, draws: Draws, settings: SamplerSettings
) -> tuple[Float[Array, "B d"], Float[Array, "B M d"], ReplayBuffer]:
    """`count` samples of the model (text, video) and the buffer with them in front. energy: a bound module."""
    module, variables = energy.unbind()
    # The samples are constants of the loss, so the sampler's own pass through the weights needs no gradient either.
    variables = jax.lax.stop_gradient(variables)
    every_frame = jnp.ones((buffer.video.shape[1],), bool)
    text, video = start_chains(buffer, count, draws, rule=settings.start, probability=settings.buffer_probability)
    text, video = langevin_samples(
        lambda text, video: cast(Array, module.apply(variables, text, video, every_frame)),
        text,
        video,
        draws,
        steps=settings.steps,
        step_size=settings.step_size,
        noise_deviation=settings.noise_deviation,
    )
    return text, video, push(buffer, text, video)


def energy_loss(
    energy: Energy,
    text: Float[Array, "B d"],
    frames: Float[Array, "B M d"],
    mask: Bool[Array, "B M"],
    mismatched: tuple[Float[Array, "B B"], Bool[Array, "B B"]] | None,
    buffer: ReplayBuffer,
    draws: Draws,
    settings: SamplerSettings,
) -> tuple[Float[Array, ""], ReplayBuffer]:
    """L_eam and the buffer after it.

    mismatched: energies of all pairs of the batch and which of them count as negatives; then L_eam is the mean of the
    differences to them and to the samples (released). None: samples alone (paper).
    """
    true = energy(text, frames, mask)
    sample_text, sample_video, buffer = draw_samples(energy, buffer, text.shape[0], draws, settings)
    sampled = energy(sample_text, sample_video, jnp.ones(sample_video.shape[:-1], bool))
    loss = regularised_difference(true, sampled, jnp.ones_like(sampled, bool))
    if mismatched is not None:
        loss = (regularised_difference(true, *mismatched) + loss) / 2
    return loss, buffer
