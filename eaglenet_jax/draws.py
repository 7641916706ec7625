"""Randomness as an argument: noise and dropout masks by name, one stream per example.

Nothing is stored and split. The key of a draw is folded from its name, from what the caller folded in (step, Langevin
step) and from the ids of the examples it belongs to. So a resumed, re-blocked or re-sharded run draws the same numbers,
and a score never depends on which other texts or videos are scored with it.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, PRNGKeyArray

Ids = Sequence[Any]  # uint32 arrays that broadcast against each other; their broadcast shape leads the result


def _name_code(name: str) -> int:
    return zlib.crc32(name.encode())  # stable between processes, unlike hash()


def _example_keys(key: PRNGKeyArray, ids: Ids) -> PRNGKeyArray:
    """Fold the ids of every example into a key, [product of their broadcast shape]."""
    shape = jnp.broadcast_shapes(*(jnp.shape(i) for i in ids))
    keys = jnp.broadcast_to(key, (math.prod(shape),))
    for one in ids:
        keys = jax.vmap(jax.random.fold_in)(keys, jnp.broadcast_to(jnp.asarray(one, jnp.uint32), shape).reshape(-1))
    return keys


@struct.dataclass
class Draws:
    """Noise and dropout masks drawn from a key, by name.

    Attributes:
        key: A typed PRNG key.
        train: Dropout is applied, and noise belongs to the pair.
        noise: In evaluation, "per_text" (the default: noise belongs to the text and all videos share it) or "per_pair"
            (as the released program draws it).
    """

    key: PRNGKeyArray
    train: bool = struct.field(pytree_node=False, default=False)
    noise: str = struct.field(pytree_node=False, default="per_text")

    def fold(self, index: Any) -> Draws:
        """Derive the draws of one step of a loop.

        Args:
            index: An integer or a traced scalar.

        Returns:
            Draws that are independent of those of other indices.
        """
        return dataclasses.replace(self, key=jax.random.fold_in(self.key, index))

    def pair_ids(self, text_ids: Array, video_ids: Array) -> Ids:
        """Select the ids that key the noise of pairs.

        Args:
            text_ids: [Bt] uint32.
            video_ids: [Bv] uint32.

        Returns:
            Arrays that broadcast to the leading axes of what is drawn: [Bt, Bv], or [Bt, 1] when noise belongs to the
            text.
        """
        if self.train or self.noise == "per_pair":
            return text_ids[:, None], video_ids[None, :]
        return (text_ids[:, None],)

    def normal(self, name: str, ids: Ids, shape: Sequence[int]) -> Array:
        """Draw standard normal numbers.

        Args:
            name: Of the stream; another name gives other numbers.
            ids: uint32 arrays that broadcast against each other, such as those of `pair_ids`.
            shape: Of what is drawn for each id.

        Returns:
            broadcast(ids) + shape, float32.
        """
        return self._each(jax.random.normal, name, ids, shape)

    def uniform(self, name: str, ids: Ids, shape: Sequence[int]) -> Array:
        """Draw numbers from U[0, 1), otherwise as `normal`."""
        return self._each(jax.random.uniform, name, ids, shape)

    def permutation(self, name: str, count: int) -> Array:
        """Draw a random order of 0 … count−1, [count] int32."""
        return jax.random.permutation(jax.random.fold_in(self.key, _name_code(name)), count)

    def dropout(self, name: str, ids: Ids, x: Array, rate: float) -> Array:
        """Apply inverted dropout; the identity in evaluation.

        Args:
            name: Of the stream.
            ids: As of `normal`.
            x: Array whose leading axes are broadcast(ids).
            rate: Probability that an element becomes zero, 0 ≤ rate < 1.

        Returns:
            Array of the shape and type of `x`.
        """
        if not self.train or rate == 0.0:
            return x
        lead = len(jnp.broadcast_shapes(*(jnp.shape(i) for i in ids)))
        # 16 random bits decide as well as 32 and cost half: the rate is met to 1e-5.
        bits = self._each(lambda key, shape: jax.random.bits(key, shape, jnp.uint16), name, ids, x.shape[lead:])
        keep = bits >= round(rate * 2**16)
        return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))

    def _each(self, sample: Any, name: str, ids: Ids, shape: Sequence[int]) -> Array:
        keys = _example_keys(jax.random.fold_in(self.key, _name_code(name)), ids)
        # Of flat shape, which gives the same numbers: with four axes a draw takes four times as long to compile.
        drawn = jax.vmap(lambda key: sample(key, (math.prod(shape),)))(keys)
        return drawn.reshape(*jnp.broadcast_shapes(*(jnp.shape(i) for i in ids)), *shape)


@struct.dataclass(kw_only=True)
class RecordedDraws(Draws):
    """Draws that were recorded from another program, for comparing with it.

    arrays: name → array whose leading axes are the folds, then the ids, and whose rest is the drawn shape. Ids are used
    as indices, so a comparison gives its texts and videos the ids 0, 1, 2, …
    """

    key: Any = None
    noise: str = struct.field(pytree_node=False, default="per_pair")
    arrays: Mapping[str, Array]
    folds: tuple[Any, ...] = ()

    def fold(self, index: Any) -> RecordedDraws:
        return dataclasses.replace(self, folds=(*self.folds, index))

    def pair_ids(self, text_ids: Array, video_ids: Array) -> Ids:
        return text_ids[:, None], video_ids[None, :]

    def normal(self, name: str, ids: Ids, shape: Sequence[int]) -> Array:
        drawn = self.arrays[name][(*self.folds, *ids)]
        expected = (*jnp.broadcast_shapes(*(jnp.shape(i) for i in ids)), *shape)
        if drawn.shape != expected:
            raise ValueError(f"recorded draw {name!r} has shape {drawn.shape}, asked for {expected}")
        return drawn

    uniform = normal

    def permutation(self, name: str, count: int) -> Array:
        order = self.arrays[name][self.folds] if self.folds else self.arrays[name]
        if order.shape != (count,):
            raise ValueError(f"recorded permutation {name!r} has shape {order.shape}, asked for ({count},)")
        return order

    def dropout(self, name: str, ids: Ids, x: Array, rate: float) -> Array:
        return x  # the records were made without dropout
