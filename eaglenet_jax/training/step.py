"""Training step: a pure function from a factory, for our loop or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Pairwise
from eaglenet_jax.training.gradcache import micro_batches_of, value_and_cached_gradient
from eaglenet_jax.training.optimizer import clamp_logit_scale
from eaglenet_jax.training.pairwise import make_pairwise
from eaglenet_jax.training.sharding import state_shardings
from eaglenet_jax.training.state import TrainState

Batch = Mapping[str, Any]  # arrays of NumPy or jax
TrainStep = Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, dict[str, Array]]]
JittedStep = Any  # a jitted TrainStep, which has lower() too


class Trainable(Protocol):
    """Interface of a trainable system: parameters from a key, features of a batch, and the loss of features."""

    @property
    def head(self) -> Any: ...

    def init(self, key: PRNGKeyArray) -> Any: ...

    def encode(self, params: Any, batch: Batch) -> tuple[Any, Any]: ...

    def head_loss(
        self, params: Any, features: tuple[Any, Any], head_state: Any, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], Any]: ...


def initial_state(system: Trainable, optimizer: optax.GradientTransformation, params: Any) -> TrainState:
    """Make the state before the first step.

    Args:
        system: Its head gives the state that it carries from step to step.
        optimizer: Any optax transformation.
        params: {"clip": …, "head": …}, as of `System.init`. A step that donates its state takes their memory.

    Returns:
        Step 0 with these parameters.
    """

    def rest(params: Any) -> tuple[Array, Any, Any]:
        return jnp.zeros((), jnp.int32), optimizer.init(params), system.head.initial_state()

    step, opt_state, head_state = jax.jit(rest)(params)  # one program, where each tensor's zeros would be one
    return TrainState(step, params, opt_state, head_state)


def make_train_step(
    system: Trainable,
    optimizer: optax.GradientTransformation,
    *,
    mesh: jax.sharding.Mesh | None = None,
    donate: bool = True,
    pairwise_block: int | None = None,
    accumulate: int = 1,
    encode_micro_batches: int = 1,
) -> JittedStep:
    """Make the jitted training step.

    Args:
        system: Encoders and head, such as `System`.
        optimizer: Any optax transformation; after each update every `logit_scale` is at most ln 100.
        mesh: The devices over which state and batch are spread, for the pairwise part of the loss. Parameters that are
            cut over them are gathered once a step; `keep_placement` has them lie as before after it.
        donate: Reuse the memory of the old state, which the caller must not touch again.
        pairwise_block: Texts whose pairs are scored at a time; all by default.
        accumulate: Micro-batches of an update, each with its own negatives, gradients averaged (as the released
            program).
        encode_micro_batches: Parts of the batch that the encoders run on one after the other, while the loss is over
            the whole batch (training/gradcache.py).

    Returns:
        step(state, batch, key) → (state, metrics). batch: see `System.encode`. key: of the whole run, the step number
        is folded in. metrics: "loss", its parts by name and "gradient_norm", scalars.

    Raises:
        ValueError: Both ways of splitting a batch are asked for.
    """
    if accumulate > 1 and encode_micro_batches > 1:
        raise ValueError("accumulate and encode_micro_batches exclude each other; set one of them to 1")
    pairwise = make_pairwise(mesh=mesh, block=pairwise_block)

    def gradients(params: Any, batch: Batch, head_state: Any, draws: Draws) -> tuple[Any, dict[str, Array], Any]:
        def loss(params: Any, features: tuple[Any, Any]) -> tuple[Array, tuple[dict[str, Array], Any]]:
            value, parts, new_state = system.head_loss(params, features, head_state, draws, pairwise)
            return value, ({"loss": value, **parts}, new_state)

        if encode_micro_batches > 1:
            (_, aux), grads = value_and_cached_gradient(system.encode, loss, params, dict(batch), encode_micro_batches)
        else:
            grads, aux = jax.grad(lambda params: loss(params, system.encode(params, batch)), has_aux=True)(params)
        return grads, *aux

    def accumulated(params: Any, batch: Batch, head_state: Any, draws: Draws) -> tuple[Any, dict[str, Array], Any]:
        micro = jax.tree.map(lambda leaf: micro_batches_of(leaf, accumulate), dict(batch))

        def one(head_state: Any, indexed: tuple[Array, Batch]) -> tuple[Any, tuple[Any, dict[str, Array]]]:
            grads, metrics, head_state = gradients(params, indexed[1], head_state, draws.fold(indexed[0]))
            return head_state, (grads, metrics)

        head_state, results = jax.lax.scan(one, head_state, (jnp.arange(accumulate), micro))
        grads, metrics = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), results)
        return grads, metrics, head_state

    def step(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, dict[str, Array]]:
        draws = Draws(jax.random.fold_in(key, state.step), train=True)
        compute = gradients if accumulate == 1 else accumulated
        grads, metrics, head_state = compute(_gathered(state.params, mesh), batch, state.head_state, draws)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = clamp_logit_scale(optax.apply_updates(state.params, updates))
        metrics = {**metrics, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, opt_state, head_state), metrics

    return jax.jit(step, donate_argnums=(0,) if donate else ())


def keep_placement(step: JittedStep, mesh: jax.sharding.Mesh, params: str) -> JittedStep:
    """Return a step after which the state lies on the mesh as `state_shardings` places it.

    Left to the partitioner, some leaves of parameters that are cut come back whole: they need more memory, and the
    second step is compiled again for them.

    Args:
        step: Of `make_train_step`. The new one donates the state.
        mesh: The devices.
        params: As of `state_shardings`.
    """

    def placed(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, dict[str, Array]]:
        state, metrics = step(state, batch, key)
        return jax.lax.with_sharding_constraint(state, state_shardings(state, mesh, params)), metrics

    return jax.jit(placed, donate_argnums=(0,))


def _gathered(params: Any, mesh: jax.sharding.Mesh | None) -> Any:
    """Return parameters that every device has whole.

    Without it the partitioner takes the cuts of parameters over into activations, along features and heads, and sends
    those between products and back.
    """
    if mesh is None or mesh.size == 1:
        return params
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.lax.with_sharding_constraint(params, jax.tree.map(lambda _: whole, params))
