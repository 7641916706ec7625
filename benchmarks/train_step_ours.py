"""Our training step for benchmarks: the system, one batch of random data, the step, and its parts one by one."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from benchmarks.random_features import Sizes, gallery
from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.config.loading import as_plain, load_config
from eaglenet_jax.config.moving_shapes import CLIP as TINY_CLIP
from eaglenet_jax.draws import Draws
from eaglenet_jax.energy.matching import draw_samples
from eaglenet_jax.heads.interface import whole
from eaglenet_jax.runs.plan import optimizer_settings
from eaglenet_jax.system import System, build_system
from eaglenet_jax.training.optimizer import make_optimizer
from eaglenet_jax.training.step import Trainable, initial_state, make_train_step

CLIPS: dict[str, dict[str, Any]] = {"tiny": TINY_CLIP, "b32": {"name": "ViT-B/32"}, "b16": {"name": "ViT-B/16"}}
TOTAL_STEPS = 1000  # of the learning-rate schedule
VISION, TEXT, HEAD, LANGEVIN, OPTIMIZER = "vision", "text", "head", "Langevin", "optimiser"


@dataclass(frozen=True)
class StepSizes:
    """clip: a name of `CLIPS`. batch: B. frames: M. dtype: compute type of CLIP. remat: recompute its blocks.

    attention: as of `ClipConfig`.
    """

    clip: str = "tiny"
    batch: int = 8
    frames: int = 12
    dtype: str = "float32"
    remat: bool = False
    attention: str = "auto"


@dataclass(frozen=True)
class Measured:
    """System, settings of `make_optimizer` and params {"clip", "head"} of a step; params are never donated."""

    system: System
    settings: dict[str, Any]
    params: Any

    @property
    def clip(self) -> ClipConfig:
        """Sizes of the CLIP."""
        return self.system.clip.config


def measured_system(sizes: StepSizes) -> Measured:
    """Build EagleNet with the released MSR-VTT settings of the CLIP size (the tiny one's are B/32's), at random.

    Three things are left out on both sides of a comparison: token shift, which transformers' CLIPModel does not have,
    the rounding of CLIP's parameters to float16, and the parameters of CLIP that stay as they are.
    """
    shapes = measured_shapes(sizes)
    return replace(shapes, params=_drawn(replace(sizes, batch=1, dtype="float32", remat=False, attention="xla")))


def measured_shapes(sizes: StepSizes) -> Measured:
    """As `measured_system`, with shapes in place of parameters."""
    config = load_config(f"msrvtt:{'b16' if sizes.clip == 'b16' else 'b32'},released")
    config.optimizer.clip_storage, config.optimizer.freeze = "float32", ""
    plain = as_plain(config)
    clip = {**CLIPS[sizes.clip], "dtype": sizes.dtype, "remat": sizes.remat, "attention": sizes.attention}
    clip |= {"shift_blocks": (), "mask_padding": False}
    system = build_system({**plain, "clip": clip, "max_frames": sizes.frames})
    params = system.shapes()
    return Measured(system, optimizer_settings(config, system.head.unused_parameters()), params)


@functools.lru_cache(maxsize=3)
def _drawn(sizes: StepSizes) -> Any:
    """Draw the parameters, which neither the compute type nor what saves memory changes.

    By NumPy: a program that draws them as training does takes longer to compile than they take to draw.
    """
    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: Any) -> Array:
        noise = 0.02 * rng.standard_normal(leaf.shape, np.float32)
        return jnp.asarray(noise + 1 if path[-1].key == "scale" else noise, leaf.dtype)  # of a normalisation

    return jax.tree_util.tree_map_with_path(draw, measured_shapes(sizes).params)


def random_batch(sizes: StepSizes, clip: ClipConfig, words: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw a training batch of noise: captions of all lengths, no padding frames."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, clip.vocab_size - 2, (sizes.batch, words), dtype=np.int32)
    tokens[:, 0] = clip.vocab_size - 2
    for row, end in zip(tokens, rng.integers(2, words, sizes.batch), strict=True):
        row[end] = clip.vocab_size - 1
        row[end + 1 :] = 0
    ids = np.arange(sizes.batch, dtype=np.uint32)
    shape = (sizes.batch, sizes.frames, clip.image_size, clip.image_size, 3)
    frames = rng.integers(0, 256, shape, dtype=np.uint8)
    return {"text_id": ids, "tokens": tokens, "video_id": ids, "frames": frames, "frame_mask": np.ones(shape[:2], bool)}


def random_features(sizes: StepSizes, width: int) -> dict[str, Any]:
    """Draw matching features "text" and "video" of the encoders' form."""
    text, video = gallery(Sizes(sizes.frames, texts=sizes.batch, videos=sizes.batch, width=width))
    return {"text": text, "video": video}


@dataclass(frozen=True)
class StepProgram:
    """A compiled step. seconds: of tracing and compiling."""

    compiled: Any
    seconds: float


def step_program(
    trainable: Trainable, params: Any, settings: dict[str, Any], batch: Any, **options: Any
) -> StepProgram:
    """Compile the step. params and batch: arrays or their shapes; nothing is run. options: of `make_train_step`."""
    start = time.perf_counter()
    params, batch = (jax.eval_shape(lambda tree: jax.tree.map(jnp.asarray, tree), tree) for tree in (params, batch))
    optimizer = make_optimizer(settings, params, TOTAL_STEPS)
    state = jax.eval_shape(lambda params: initial_state(trainable, optimizer, params), params)
    step = make_train_step(trainable, optimizer, **options)
    compiled = step.lower(state, batch, jax.eval_shape(lambda: jax.random.key(1))).compile()
    return StepProgram(compiled, time.perf_counter() - start)


class OurStep:
    """The compiled step on one batch, which is on the device; a call is one update.

    program: of `step_program`, which makes it from the other arguments if it is None. options: of `make_train_step`.
    compile_seconds: with tracing. compiled: the program.
    """

    def __init__(
        self,
        trainable: Trainable,
        params: Any,
        settings: dict[str, Any],
        batch: Any,
        program: StepProgram | None = None,
        **options: Any,
    ) -> None:
        program = program or step_program(trainable, params, settings, batch, **options)
        self.compiled, self.compile_seconds = program.compiled, program.seconds
        optimizer = make_optimizer(settings, params, TOTAL_STEPS)
        self._state = initial_state(trainable, optimizer, jax.tree.map(jnp.array, params))  # a copy: it is donated
        self._batch, self._key = jax.device_put(batch), jax.random.key(1)

    @property
    def memory(self) -> Any:
        """The compiler's memory analysis of the program."""
        return self.compiled.memory_analysis()

    def __call__(self) -> float:
        """Run one step; return the loss before it."""
        self._state, metrics = self.compiled(self._state, self._batch, self._key)
        jax.block_until_ready(self._state)
        return float(metrics["loss"])


def our_parts(measured: Measured, sizes: StepSizes, words: int) -> dict[str, Callable[[], Any]]:
    """Build the parts of the step by name, each with its gradient if it has one, as separate programs.

    "head": both losses of the similarities without energies. "Langevin": one call of the sampler. A step that is one
    program can be faster than their sum; energies of the batch's pairs are in none of them.
    """
    system, params = measured.system, measured.params
    batch = jax.device_put(random_batch(sizes, measured.clip, words))
    features = jax.device_put(random_features(sizes, measured.clip.embed_dim))
    head: Any = system.head
    similarities_alone = head.clone(eam_weight=0.0, eam_support_weight=0.0)
    buffer, draws = head.initial_state(), Draws(jax.random.key(2), train=True)

    def vision(tower: Any) -> Array:
        tree = {"clip": {**params["clip"], "vision": tower}}
        return jnp.sum(system.encode_video(tree, batch["video_id"], batch["frames"], batch["frame_mask"]).frames)

    def text(tower: Any) -> Array:
        tree = {"clip": {**params["clip"], "text": tower}}
        return jnp.sum(system.encode_text(tree, batch["text_id"], batch["tokens"]).pooled)

    def head_loss(params: Any, features: Any) -> Array:
        given = (features["text"], features["video"], buffer, draws, whole)
        loss: Any = similarities_alone.apply({"params": params}, *given, method="loss")
        return loss[0]

    def langevin(params: Any) -> Any:
        def samples(bound: Any) -> Any:
            return draw_samples(bound.energy_function, buffer, sizes.batch, draws, bound.sampler)

        return head.apply({"params": params}, method=samples)

    head_gradient = jax.jit(jax.grad(head_loss, argnums=(0, 1), allow_int=True))
    vision_gradient, text_gradient, sampler = jax.jit(jax.grad(vision)), jax.jit(jax.grad(text)), jax.jit(langevin)
    ready = jax.block_until_ready
    return {
        VISION: lambda: ready(vision_gradient(params["clip"]["vision"])),
        TEXT: lambda: ready(text_gradient(params["clip"]["text"])),
        HEAD: lambda: ready(head_gradient(params["head"], features)),
        LANGEVIN: lambda: ready(sampler(params["head"])),
        OPTIMIZER: _OptimizerAlone(measured),
    }


class _OptimizerAlone:
    """Run one update from given gradients, in place as in the step."""

    def __init__(self, measured: Measured) -> None:
        optimizer = make_optimizer(measured.settings, measured.params, TOTAL_STEPS)
        self._params = jax.tree.map(jnp.array, measured.params)
        self._gradients = measured.params
        self._state = optimizer.init(self._params)

        def update(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        self._update = jax.jit(update, donate_argnums=(0, 1))

    def __call__(self) -> None:
        self._params, self._state = self._update(self._params, self._state, self._gradients)
        jax.block_until_ready(self._params)
