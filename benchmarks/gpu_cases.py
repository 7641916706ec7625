"""Programs to compile for described GPUs: scoring a block of pairs, and a training step."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from benchmarks.described_gpu import PRODUCTS, placed
from benchmarks.random_features import Sizes, gallery, released_fields
from benchmarks.training_memory import initial_params, pairwise_loss
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.heads.interface import Head
from eaglenet_jax.layers.rgat_folded import candidate_weights
from eaglenet_jax.runs.plan import optimizer_settings
from eaglenet_jax.runs.step_memory import step_and_arguments
from eaglenet_jax.runs.time_estimate import batch_shapes
from eaglenet_jax.scoring.gallery import make_score
from eaglenet_jax.system import build_system
from eaglenet_jax.training.sharding import DATA_AXIS

TOTAL_STEPS = 1000  # of the schedule, which is a constant of the program
ROWS = PartitionSpec(DATA_AXIS)


def compiled(
    jitted: Any, arguments: tuple[Any, ...], dtype: str, products: str = "cublas", dump: str | None = None
) -> Any:
    """Compile a jitted function for the GPUs that its arguments' shapes are placed on.

    Code that chooses by jax's backend sees "gpu"; products of float32 are at precision `highest`. dump: folder for the
    code of every kernel.
    """
    precision = "highest" if dtype == "float32" else "default"
    with mock.patch("jax.default_backend", return_value="gpu"), jax.default_matmul_precision(precision):
        lowered = jitted.trace(*arguments).lower(lowering_platforms=("cuda",))
    return lowered.compile(compiler_options=PRODUCTS[products] | ({} if dump is None else {"xla_dump_to": dump}))


def compiled_scoring(sizes: Sizes, dtype: str, mesh: Mesh, products: str = "cublas", kernel: str = "none") -> Any:
    """Compile EagleNet's scoring of one block; sizes.texts is of each device.

    products: a name of `PRODUCTS`. kernel: as of `ScoringOptions`.
    """
    head = EagleNet(**released_fields(sizes, dtype))

    def features() -> Any:
        return jax.tree.map(jnp.asarray, gallery(sizes))

    def params(key: jax.Array) -> Any:
        texts, videos = features()

        def everything(module: EagleNet) -> None:
            module.score(module.prepare_text(texts), module.prepare_video(videos), Draws(key))

        return nn.init(everything, head)(key)["params"]

    given = jax.eval_shape(params, _key()), jax.eval_shape(features)
    return _scoring(head.clone(scoring_kernel=kernel), *given, mesh, dtype, products)


def compiled_block(config: Any, texts: int, videos: int, mesh: Mesh) -> Any:
    """Compile the scoring of one block by the head of a config; `texts` is of each device."""
    system = build_system(config)
    params = system.shapes()
    batch = batch_shapes(system, max(texts, videos))
    both: Any = jax.eval_shape(system.encode, params, batch)
    text, video = (
        jax.tree.map(lambda leaf, rows=rows: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), features)
        for features, rows in zip(both, (texts, videos), strict=True)
    )
    return _scoring(system.head, params["head"], (text, video), mesh, config.clip.get("dtype") or "float32")


def _scoring(
    head: Head, params: Any, features: tuple[Any, Any], mesh: Mesh, dtype: str, products: str = "cublas"
) -> Any:
    score = make_score(head, mesh if mesh.size > 1 else None)
    draws = jax.eval_shape(lambda key: Draws(key), _key())

    def prepare(params: Any, text: Any, video: Any, draws: Draws) -> Any:
        def run(module: Head) -> Any:
            return module.prepare_text(text), module.prepare_video(module.reduce_video(video, draws))

        return nn.apply(run, head)({"params": params})

    text, video = jax.eval_shape(prepare, params, *features, draws)
    texts = text if mesh.size == 1 else jax.tree.map(lambda leaf: _rows(leaf, mesh.size), text)
    given = placed(params, mesh), placed(texts, mesh, ROWS), placed(video, mesh), placed(draws, mesh)
    return compiled(score.block, given, dtype, products)


def compiled_pairs(sizes: Sizes, mesh: Mesh, few_reads: bool) -> Any:
    """Compile EagleNet's loss of all pairs of a batch with its gradient, without energies, in one form of the graph.

    It computes as `train` does, in float32 whatever the type of the CLIP, with products of TF32.
    """
    head, function = pairwise_loss(sizes, "folded")
    params = jax.eval_shape(lambda: initial_params(head))
    text = jax.ShapeDtypeStruct((sizes.texts, sizes.width), jnp.float32)
    frames = jax.ShapeDtypeStruct((sizes.texts, sizes.frames, sizes.width), jnp.float32)
    form = functools.partial(candidate_weights, few_reads=few_reads)
    with mock.patch("eaglenet_jax.heads.eaglenet.candidate_weights", form):
        return compiled(jax.jit(function), placed((params, text, frames, _key()), mesh), "tensorfloat32")


def compiled_step(config: Any, mesh: Mesh) -> Any:
    """Compile the training step of a config's last stage, as `train` makes it. The batch is of all devices.

    Attention is XLA's: the compiler says nothing of what cuDNN's kernel reads and computes.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.clip.attention = "xla"
    system = build_system(config)
    params = system.shapes()
    settings = optimizer_settings(config, system.head.unused_parameters())
    step, arguments = step_and_arguments(config, system, params, settings, mesh, TOTAL_STEPS)
    return compiled(step, arguments, config.clip.get("dtype") or "float32")


def step_config(name: str, **fields: Any) -> Any:
    """Load a config with other values of some fields, by names with "__" for dots."""
    overrides = [f"--config.{field.replace('__', '.')}={value}" for field, value in fields.items()]
    return load_config(name, overrides)


def _rows(leaf: Any, devices: int) -> Any:
    return jax.ShapeDtypeStruct((leaf.shape[0] * devices, *leaf.shape[1:]), leaf.dtype)


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))
