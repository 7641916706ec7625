"""Text transformer: token ids to end-of-text features and word states."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.layers import block_class, layer_norm, pick_token
from eaglenet_jax.errors import UserError


class TextTower(nn.Module):
    """CLIP's causal text transformer, without a padding mask: tokens after the end of text are never attended to."""

    config: ClipConfig

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "B L"], words: bool
    ) -> tuple[Float[Array, "B d"], Float[Array, "B L d"] | None]:
        """Encode token ids.

        The end of text is the largest id of a row, as in the released programs.

        Args:
            tokens: Ids, L ≤ context_length. An id outside the vocabulary gives NaN.
            words: Return the word states too.

        Returns:
            The feature at the end of text and, if asked for, the states of all tokens.

        Raises:
            UserError: There are more tokens than context_length.
        """
        config, dtype = self.config, self.config.dtype
        width, length = config.text_width, tokens.shape[1]
        if length > config.context_length:
            raise UserError(
                f"clip: captions have {length} tokens, the text tower takes at most {config.context_length}; "
                "tokenize with fewer"
            )
        vocabulary = self.param("token_embedding", nn.initializers.normal(0.02), (config.vocab_size, width))
        places = self.param("position_embedding", nn.initializers.normal(0.01), (config.context_length, width))
        x = (jnp.take(vocabulary, tokens, axis=0, mode="fill", fill_value=jnp.nan) + places[:length]).astype(dtype)

        end = jnp.argmax(tokens, axis=-1)
        block = block_class(self, config.remat)
        for index in range(config.text_layers):
            only_end = end if index == config.text_layers - 1 and not words else None
            x = block(
                heads=config.text_heads,
                depth=config.text_layers,
                activation=config.activation,
                causal=True,
                dtype=dtype,
                attention=config.attention,
                name=f"block_{index}",
            )(x, None, only_end)

        x = layer_norm(dtype, "norm_final")(x)
        x = x @ self.param("projection", nn.initializers.normal(width**-0.5), (width, config.embed_dim)).astype(dtype)
        return (pick_token(x, end)[:, 0], x) if words else (x[:, 0], None)
