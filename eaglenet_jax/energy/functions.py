"""Energy of a text–video pair, low for a match (docs/systems.md section 2.6)."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eaglenet_jax.layers.similarity import at_least_float32, masked_mean, unit


class Energy(nn.Module):
    """Energy by frame, pooled over the valid frames.

    Attributes:
        width: d.
        kind: "cosine" −cos(t, f); "bilinear" −(A t̂ + b) · f̂ on unit vectors; "mlp" on [f ; t], 2d → d → ReLU → 1.
        pooling: "avg", "max" or "min" over frames, or "mean_frame": the energy of the mean frame.
        bias: b of the bilinear energy; the paper's eq. 13 has none.
    """

    width: int
    kind: str = "mlp"
    pooling: str = "avg"
    bias: bool = True

    def setup(self) -> None:
        """Build the layers of the chosen kind."""
        if self.kind not in ("cosine", "bilinear", "mlp"):
            raise ValueError(f"energy {self.kind!r} is none of cosine, bilinear, mlp")
        if self.pooling not in ("avg", "max", "min", "mean_frame"):
            raise ValueError(f"energy pooling {self.pooling!r} is none of avg, max, min, fused, mean_frame")
        if self.kind == "bilinear":
            self.text_map = nn.Dense(self.width, use_bias=self.bias)
        elif self.kind == "mlp":
            # One 2d → d layer on [f ; t], split so that all pairs need only two products and a sum.
            self.hidden_frame = nn.Dense(self.width)
            self.hidden_text = nn.Dense(self.width, use_bias=False)
            self.output = nn.Dense(1)

    def __call__(
        self, text: Float[Array, "*#pairs d"], frames: Float[Array, "*#pairs M d"], mask: Bool[Array, "*#pairs M"]
    ) -> Float[Array, "*pairs"]:
        """Compute energies; leading axes broadcast.

        Args:
            text: Text features; [Bt, 1, d] with frames [1, Bv, M, d] gives all pairs.
            frames: Frame features.
            mask: True at valid frames. The energy of a video without any is 0.
        """
        text, frames = at_least_float32(text)[..., None, :], at_least_float32(frames)
        if self.pooling == "mean_frame":
            frames = masked_mean(jnp.moveaxis(frames, -1, -2), mask[..., None, :])[..., None, :]
            mask = jnp.any(mask, axis=-1, keepdims=True)
        if self.kind == "cosine":
            by_frame = -jnp.sum(unit(text) * unit(frames), axis=-1)
        elif self.kind == "bilinear":
            by_frame = -jnp.sum(self.text_map(unit(text)) * unit(frames), axis=-1)
        else:
            hidden = nn.relu(self.hidden_frame(frames) + self.hidden_text(text))
            by_frame = self.output(hidden)[..., 0]
        if self.pooling in ("avg", "mean_frame"):
            return masked_mean(by_frame, mask)
        limits = jnp.finfo(by_frame.dtype)
        if self.pooling == "max":
            pooled = jnp.max(jnp.where(mask, by_frame, limits.min), axis=-1)
        else:
            pooled = jnp.min(jnp.where(mask, by_frame, limits.max), axis=-1)
        return jnp.where(jnp.any(mask, axis=-1), pooled, 0)
