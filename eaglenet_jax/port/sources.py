"""All programs whose checkpoints are read and written: their tables, systems and inferred settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.errors import UserError
from eaglenet_jax.port import heads, hf_clip, openai_clip
from eaglenet_jax.port.clip_sizes import SizeNames, sizes_from_shapes
from eaglenet_jax.port.files import read_tensors
from eaglenet_jax.port.load import clip_files
from eaglenet_jax.port.table import Rule, Table, Tensors


@dataclasses.dataclass(frozen=True)
class Source:
    """A program whose checkpoints are read and written.

    Attributes:
        name: Value of `--from`.
        system: Name of the system that it becomes.
        table: The table, from the head's options.
        sizes: The CLIP's sizes, from the file and its tensors.
        settings: Other config values that the tensors determine.
        unused: From the tensors that are used, those that the program contains in addition.
        released: Whether it is one of the released retrieval programs, whose behaviour the preset `released` repeats.
    """

    name: str
    system: str
    table: Callable[[Mapping[str, Any]], Table]
    sizes: Callable[[Path, Tensors], ClipConfig]
    settings: Callable[[Tensors], dict[str, Any]] = lambda tensors: {}
    unused: Callable[[Tensors], dict[str, np.ndarray]] = lambda tensors: {}
    released: bool = True

    def read(self, given: str) -> tuple[Path, dict[str, Any]]:
        """Find the file that a user means by `given` and read its tensors.

        Raises:
            UserError: It cannot be read.
        """
        file = Path(given)
        if self.name == "hf" and not file.is_file():
            file = clip_files(given)[1]
        elif self.name == "open_clip" and file.is_dir():
            file = file / OPEN_CLIP_WEIGHTS
        return file, read_tensors(file)


OPEN_CLIP_WEIGHTS, OPEN_CLIP_CONFIG = "open_clip_model.safetensors", "open_clip_config.json"


def _prefixed(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(rule.prefixed(source="clip.") for rule in rules)


def _from_shapes(names: SizeNames, prefix: str = "") -> Callable[[Path, Tensors], ClipConfig]:
    return lambda file, tensors: sizes_from_shapes(tensors, names, prefix)


def _eaglenet(head: Mapping[str, Any]) -> Table:
    softmax = head["loss_kind"] == "softmax"
    rules = (*_prefixed(openai_clip.ENCODERS), *heads.POOLING, *heads.RADIUS, *heads.GRAPH, *heads.ENERGY)
    rules += (
        (heads.FRAME_POSITIONS, heads.CLIP_LOGIT_SCALE) if softmax else (heads.FRAME_POSITIONS, *heads.SIGMOID_LOSS)
    )
    # The program creates these and never uses them; with the sigmoid loss CLIP's logit scale as well.
    unused = ["transformerClip.*", "frame_position_embeddings.*", heads.RADIUS_UNUSED]
    unused += [f"clip.{name}" for name in openai_clip.SIZES]
    unused += [] if softmax else heads.CLIP_LOGIT_SCALE.sources
    return Table("released EagleNet", rules, tuple(unused))


def _clip4clip(head: Mapping[str, Any]) -> Table:
    rules = (*_prefixed(openai_clip.ENCODERS), heads.CLIP_LOGIT_SCALE, *heads.TEMPORAL)
    return Table("released CLIP4Clip", rules, tuple(f"clip.{name}" for name in openai_clip.SIZES))


def _ts2net(head: Mapping[str, Any]) -> Table:
    # The first rule that fits decides, so those of the wrapped attention stand before the encoders'.
    rules = (*_prefixed(openai_clip.SHIFTED_ATTENTION), *_prefixed(openai_clip.ENCODERS), heads.CLIP_LOGIT_SCALE)
    rules += (*heads.TOKEN_SCORES, *heads.TEMPORAL)
    return Table("released TS2-Net", rules, (*heads.TS2NET_UNUSED, *(f"clip.{name}" for name in openai_clip.SIZES)))


def _xpool(head: Mapping[str, Any]) -> Table:
    rules = (*_prefixed(hf_clip.ENCODERS), heads.CLIP_LOGIT_SCALE, *heads.POOLING)
    return Table("released X-Pool", rules, tuple(f"clip.{name}" for name in hf_clip.POSITIONS))


def _tmass(head: Mapping[str, Any]) -> Table:
    rules = (*_prefixed(hf_clip.ENCODERS), heads.CLIP_LOGIT_SCALE, *heads.POOLING, *heads.RADIUS)
    return Table("released T-MASS", rules, (*(f"clip.{name}" for name in hf_clip.POSITIONS), heads.RADIUS_UNUSED))


SOURCES = {
    source.name: source
    for source in (
        Source(
            "openai",
            "clip4clip",
            lambda head: openai_clip.OPENAI_CLIP,
            _from_shapes(openai_clip.SIZE_NAMES),
            released=False,
        ),
        Source(
            "hf",
            "clip4clip",
            lambda head: hf_clip.HF_CLIP,
            lambda file, tensors: hf_clip.config_from_hf(file.with_name("config.json")),
            released=False,
        ),
        Source(
            "open_clip",
            "clip4clip",
            lambda head: openai_clip.OPEN_CLIP,
            lambda file, tensors: openai_clip.config_from_open_clip(file.with_name(OPEN_CLIP_CONFIG), tensors),
            released=False,
        ),
        Source(
            "eaglenet",
            "eaglenet",
            _eaglenet,
            _from_shapes(openai_clip.SIZE_NAMES, "clip."),
            heads.eaglenet_settings,
            heads.eaglenet_unused,
        ),
        Source(
            "clip4clip",
            "clip4clip",
            _clip4clip,
            _from_shapes(openai_clip.SIZE_NAMES, "clip."),
            heads.clip4clip_settings,
        ),
        Source(
            "ts2net",
            "ts2net",
            _ts2net,
            _from_shapes(openai_clip.SIZE_NAMES, "clip."),
            heads.ts2net_settings,
        ),
        Source("xpool", "xpool", _xpool, _from_shapes(hf_clip.SIZE_NAMES, "clip.")),
        Source(
            "tmass",
            "tmass",
            _tmass,
            _from_shapes(hf_clip.SIZE_NAMES, "clip."),
            heads.tmass_settings,
            heads.tmass_unused,
        ),
    )
}


def source_called(name: str) -> Source:
    """Return the source of that name.

    Raises:
        UserError: There is none.
    """
    if name not in SOURCES:
        raise UserError(f"--from: no source is named {name!r}; choose one of {', '.join(SOURCES)}")
    return SOURCES[name]
