"""All programs whose checkpoints are read and written: their tables, systems and inferred settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.errors import UserError, did_you_mean
from eaglenet_jax.port import heads, hf_clip, openai_clip
from eaglenet_jax.port.clip_sizes import SizeNames, sizes_from_shapes
from eaglenet_jax.port.files import read_checkpoint
from eaglenet_jax.port.load import CONFIG_FILE, WEIGHT_FILES, clip_files
from eaglenet_jax.port.shards import INDEX
from eaglenet_jax.port.table import Rule, Table, Tensors, share_known


@dataclasses.dataclass(frozen=True)
class Source:
    """A program whose checkpoints are read and written.

    Attributes:
        name: Value of `--from`.
        system: Name of the system that it becomes.
        table: The table, from the head's options.
        sizes: The CLIP's sizes, from the file, its tensors and the name of an architecture, and why the activation is
            the one that it is, empty if the file says so itself.
        settings: Other config values that the tensors determine.
        unused: From the tensors that are used, those that the program contains in addition.
        released: Whether it is one of the released retrieval programs, whose behaviour the preset `released` repeats.
    """

    name: str
    system: str
    table: Callable[[Mapping[str, Any]], Table]
    sizes: Callable[[Path, Tensors, str], tuple[ClipConfig, str]]
    settings: Callable[[Tensors], dict[str, Any]] = lambda tensors: {}
    unused: Callable[[Tensors], dict[str, np.ndarray]] = lambda tensors: {}
    released: bool = True

    def read(self, given: str, weights: str = "") -> tuple[Path, dict[str, Any], list[str]]:
        """Find the file that a user means by `given` and read its tensors.

        Args:
            given: File, folder or hub name.
            weights: Key of the model in the file if it holds several.

        Returns:
            (file, tensors by name, what was done to find them).

        Raises:
            UserError: It cannot be read.
        """
        file = Path(given)
        if self.name == "hf" and not file.is_file():
            file = clip_files(given)[1]
        elif file.is_dir():
            names = OPEN_CLIP_WEIGHTS if self.name == "open_clip" else INDEX_FILES
            file = next((file / name for name in names if (file / name).is_file()), file)
        tensors, notes = read_checkpoint(file, weights)
        if self.name == "open_clip":
            named = openai_clip.open_clip_names(tensors)
            notes += ["took `text.` off the text tower"] if named.keys() != tensors.keys() else []
            tensors = named
        scale = tensors.get("logit_scale", np.zeros(()))
        if scale.size == 1 and not abs(float(scale.reshape(()))) <= LARGEST_LOGIT_SCALE:
            value = float(scale.reshape(()))
            notes.append(f"the logit scale is {value:g}, where its logarithm is expected: CLIP's is at most 4.61")
        return file, tensors, notes


LARGEST_LOGIT_SCALE = 10.0  # a logarithm; CLIP clips it at log 100 = 4.61
INDEX_FILES = tuple(name for name in WEIGHT_FILES if name.endswith(INDEX))
OPEN_CLIP_CONFIG = "open_clip_config.json"
# Of hub repositories, of newer ones, of older ones, and split.
_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
OPEN_CLIP_WEIGHTS = (*_OPEN_CLIP, *(f"{name}{INDEX}" for name in _OPEN_CLIP), *WEIGHT_FILES)
BY_OPENAI = "as OpenAI's weights have; the file does not tell"


def _prefixed(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(rule.prefixed(source="clip.") for rule in rules)


def _from_shapes(names: SizeNames, prefix: str = "") -> Callable[[Path, Tensors, str], tuple[ClipConfig, str]]:
    def sizes(file: Path, tensors: Tensors, architecture: str) -> tuple[ClipConfig, str]:
        _no_architecture(architecture)
        return sizes_from_shapes(tensors, names, prefix), BY_OPENAI

    return sizes


def _hf_sizes(file: Path, tensors: Tensors, architecture: str) -> tuple[ClipConfig, str]:
    _no_architecture(architecture)
    config_file = file.with_name(CONFIG_FILE)
    config = hf_clip.config_from_hf(config_file)
    said = "hidden_act" in config_file.read_text(encoding="utf-8")
    return config, "" if said else f"transformers' default; {CONFIG_FILE} does not tell"


def _open_clip_sizes(file: Path, tensors: Tensors, architecture: str) -> tuple[ClipConfig, str]:
    """Read sizes from the config file next to the weights, or from a name where there is none."""
    config_file = file.with_name(OPEN_CLIP_CONFIG)
    if architecture:
        return openai_clip.config_of_architecture(architecture, tensors), f"by --architecture={architecture}"
    config = openai_clip.config_from_open_clip(config_file, tensors)
    said = "quick_gelu" in config_file.read_text(encoding="utf-8")
    return config, "" if said else f"open_clip's default; {OPEN_CLIP_CONFIG} does not tell"


def _no_architecture(architecture: str) -> None:
    if architecture:
        raise UserError("--architecture belongs to --from=open_clip; the sizes of other sources are read; leave it out")


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
            _hf_sizes,
            released=False,
        ),
        Source(
            "open_clip",
            "clip4clip",
            lambda head: openai_clip.OPEN_CLIP,
            _open_clip_sizes,
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


def fitting_sources(tensors: Tensors, asked: Source) -> list[str]:
    """Return the names of the sources that the names of the tensors fit better than the source that was asked for."""

    def share(source: Source) -> float:
        try:
            options = source.settings(tensors).get("head", {})
            return share_known(source.table({"loss_kind": "sigmoid", **options}), tensors)
        except (UserError, LookupError, ValueError, TypeError, AttributeError):  # tensors of something else
            return 0.0

    shares = {name: share(source) for name, source in SOURCES.items()}
    best = max(shares.values())
    return [name for name, found in shares.items() if found == best] if best > max(shares[asked.name], 0.5) else []


def fitting_prefix(tensors: Tensors, asked: Source) -> str:
    """Return the first part of the names under which the tensors fit a source, where others lie beside; else ""."""
    parts = dict.fromkeys(name.partition(".")[0] for name in tensors if "." in name)
    for part in parts:
        within = {name.removeprefix(f"{part}."): each for name, each in tensors.items() if name.startswith(f"{part}.")}
        if share_known(asked.table({"loss_kind": "sigmoid"}), within) > 0.5:
            return part
    return ""


def source_called(name: str) -> Source:
    """Return the source of that name.

    Raises:
        UserError: There is none.
    """
    if name not in SOURCES:
        hint = did_you_mean(name, SOURCES, f"choose one of {', '.join(SOURCES)}")
        raise UserError(f"--from: no source is named {name!r}; {hint}")
    return SOURCES[name]
