"""Frozen parameters as constants of the loss, so that no step computes their gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import jax
from jaxtyping import Array, PyTree

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Pairwise
from eaglenet_jax.training.optimizer import parameter_name
from eaglenet_jax.training.step import Batch, Trainable


@dataclasses.dataclass(frozen=True)
class WithFrozen:
    """A trainable system of which some parameters are constants; `make_train_step` takes it as it takes a `System`.

    The gradients of frozen parameters are zero and cost nothing, and "gradient_norm" is that of the others. Updates are
    those of an optimiser that never updates the frozen parameters.

    Attributes:
        system: The system itself.
        frozen: Names of parameters, such as "clip/vision/projection".
    """

    system: Trainable
    frozen: Collection[str]

    @property
    def head(self) -> Any:
        """The head."""
        return self.system.head

    def init(self, key: Any) -> Any:
        """Random parameters, frozen ones included."""
        return self.system.init(key)

    def encode(self, params: PyTree, batch: Batch) -> tuple[Any, Any]:
        """Features of a batch, see `System.encode`."""
        return self.system.encode(self._constant(params), batch)

    def head_loss(
        self, params: PyTree, features: tuple[Any, Any], head_state: Any, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], Any]:
        """The head's training loss, see `System.head_loss`."""
        return self.system.head_loss(self._constant(params), features, head_state, draws, pairwise)

    def _constant(self, params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jax.lax.stop_gradient(leaf) if parameter_name(path) in self.frozen else leaf, params
        )
