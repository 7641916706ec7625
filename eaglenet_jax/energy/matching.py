"""Energy-aware matching: energy, Langevin sampler and replay buffer as one loss (docs/systems.md section 2.6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.draws import Draws
from eaglenet_jax.energy.langevin import langevin_samples
from eaglenet_jax.energy.replay_buffer import ReplayBuffer, push, start_chains

# text [B, d], frames [B, M, d], mask [B, M] → energies [B]: a bound flax module or a method of one.
PairEnergy = Callable[[Array, Array, Array], Array] | Any


@dataclasses.dataclass(frozen=True)
class SamplerSettings:
    """Settings of the Langevin sampler and its replay buffer.

    Attributes:
        steps: Langevin steps of a chain.
        step_size: Factor of the gradient.
        noise_deviation: Standard deviation of the noise (paper: √0.005).
        start: Rule of `start_chains`.
        buffer_rows: Rows of the replay buffer.
        buffer_probability: Share of the chains that start from the replay buffer.
    """

    steps: int = 20
    step_size: float = 1.0
    noise_deviation: float = 0.005
    start: str = "ours"
    buffer_rows: int = 500
    buffer_probability: float = 0.95


def draw_samples(
    energy: PairEnergy, buffer: ReplayBuffer, count: int, draws: Draws, settings: SamplerSettings
) -> tuple[Float[Array, "B d"], Float[Array, "B M d"], ReplayBuffer]:
    """Sample the energy-based model.

    Args:
        energy: As in `energy_loss`.
        buffer: The replay buffer.
        count: B, the number of samples.
        draws: Source of the noise.
        settings: Settings of the sampler.

    Returns:
        Samples (text, video), and the buffer with the samples in front.
    """
    owner: Any = getattr(energy, "__self__", energy)
    if owner.is_initializing():  # the sampler has no parameters, and takes a while to trace
        return jnp.zeros((count, *buffer.text.shape[1:])), jnp.zeros((count, *buffer.video.shape[1:])), buffer
    module, variables = owner.unbind()
    method = getattr(energy, "__name__", None)
    # The samples are constants of the loss, so the sampler's passes through the weights need no gradient either.
    variables = jax.lax.stop_gradient(variables)
    every_frame = jnp.ones((buffer.video.shape[1],), bool)
    text, video = start_chains(buffer, count, draws, rule=settings.start, probability=settings.buffer_probability)
    text, video = langevin_samples(
        lambda text, video: cast(Array, module.apply(variables, text, video, every_frame, method=method)),
        text,
        video,
        draws,
        steps=settings.steps,
        step_size=settings.step_size,
        noise_deviation=settings.noise_deviation,
    )
    return text, video, push(buffer, text, video)


def regularised_difference(
    positive: Float[Array, "*p"], negative: Float[Array, "*q"], counted: Bool[Array, "*q"], weight: float = 1.0
) -> Float[Array, ""]:
    """Compute mean p − mean q + c (mean p² + mean q²).

    Args:
        positive: p, energies of true pairs.
        negative: q, energies of other pairs.
        counted: Entries of `negative` that the means of q are over; a mean over none is 0.
        weight: c.
    """
    total = jnp.maximum(jnp.sum(counted), 1)
    negative = jnp.where(counted, negative, 0)
    penalty = jnp.mean(positive**2) + jnp.sum(negative**2) / total
    return jnp.mean(positive) - jnp.sum(negative) / total + weight * penalty


class MatchingPairs(NamedTuple):
    """Features of a batch where text i describes video i.

    Attributes:
        text: [B, d].
        frames: [B, M, d].
        mask: [B, M], True at valid frames.
    """

    text: Float[Array, "B d"]
    frames: Float[Array, "B M d"]
    mask: Bool[Array, "B M"]


def energy_loss(
    energy: PairEnergy,
    pairs: MatchingPairs,
    mismatched: tuple[Float[Array, "B B"], Bool[Array, "B B"]] | None,
    buffer: ReplayBuffer,
    draws: Draws,
    settings: SamplerSettings,
) -> tuple[Float[Array, ""], ReplayBuffer]:
    """Compute L_eam and the replay buffer after it.

    Args:
        energy: A bound module, or a method of one.
        pairs: Features of B matching pairs.
        mismatched: Energies of all pairs of the batch and which of them are negatives; then L_eam is the mean of the
            difference to them and the difference to the samples (released). None: only the samples (paper).
        buffer: The replay buffer.
        draws: Source of the noise.
        settings: Settings of the sampler.
    """
    true = energy(*pairs)
    sample_text, sample_video, buffer = draw_samples(energy, buffer, pairs.text.shape[0], draws, settings)
    sampled = energy(sample_text, sample_video, jnp.ones(sample_video.shape[:-1], bool))
    loss = regularised_difference(true, sampled, jnp.ones_like(sampled, bool))
    if mismatched is not None:
        loss = (regularised_difference(true, *mismatched) + loss) / 2
    return loss, buffer
