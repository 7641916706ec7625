"""Conversion of checkpoints of PyTorch programs into work directories, and back."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from eaglenet_jax.clip.config import COMPUTATION, NAMED_SIZES, ClipConfig
from eaglenet_jax.config.loading import as_plain, load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head
from eaglenet_jax.port.files import read_tensors, write_tensors
from eaglenet_jax.port.load import save_clip, to_stderr
from eaglenet_jax.port.sources import SOURCES, Source, fitting_prefix, fitting_sources, source_called
from eaglenet_jax.port.table import to_flax, to_pytorch, unused_tensors
from eaglenet_jax.runs.saved_config import save_config, saved_config
from eaglenet_jax.runs.workdir import CHECKPOINTS, load_checkpoint
from eaglenet_jax.system import System, build_clip_config, build_system
from eaglenet_jax.training.checkpoint_files import read_arrays, saved_shapes
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.loop import Best
from eaglenet_jax.training.state import TrainState

UNUSED_FILE = "unused.safetensors"  # what the source holds and nothing is computed from, kept for the way back
DEFAULT_CONFIG = "msrvtt"
# Named in a config; everything else of a ClipConfig is how it computes.
SIZES = tuple(field.name for field in dataclasses.fields(ClipConfig) if field.name not in COMPUTATION)


def to_workdir(
    name: str,
    given: str,
    output: Path,
    config_name: str | None = None,
    overrides: Sequence[str] = (),
    weights: str = "",
    architecture: str = "",
) -> str:
    """Convert a checkpoint into a new work directory → a line that says what was done.

    name: of a source. given: its file, folder or hub name. config_name, overrides: config of the work directory;
    without a name the MSR-VTT config with the released behaviour, fitted to what the file holds; an override of that is
    refused. weights: key of the model in a file that holds several. architecture: open_clip's name of it, for a file
    without a config. UserError if the file cannot be read or does not fit the config, or if `output` exists.
    """
    source = source_called(name)
    _check_new(output)
    file, tensors, notes = source.read(given, weights)
    with _naming_another_source(source, tensors):
        sizes, activation_by = source.sizes(file, tensors, architecture)
    if config_name is None:
        config = load_config(f"{DEFAULT_CONFIG}:{source.system}" + (",released" if source.released else ""), overrides)
        asked = as_plain(config)
        _fit(config, sizes, source.settings(tensors))
        _check_kept(overrides, asked, as_plain(config))
    else:
        config = load_config(config_name, overrides)
        _check(config, source, sizes, given)
    if any(override.startswith("--config.init_from=") for override in overrides):
        raise UserError("--config.init_from would change nothing: all parameters come from --input; leave it out")
    config.init_from = ""
    system = build_system(config)
    with _naming_another_source(source, tensors):
        params, head_state = _converted(source, system, as_plain(config.head), tensors)
    save_config(config, output)
    state = TrainState(np.zeros((), np.int32), params, (), head_state)
    with Checkpoints(output / CHECKPOINTS) as checkpoints:
        checkpoints.save(0, state, {"best": Best(0, 0.0).as_dict(), "converted_from": name}, best=True)
    unused = unused_tensors(source.table(config.head), tensors)
    if unused:
        write_tensors(output / UNUSED_FILE, unused)
    return (
        f"{given}: "
        + "".join(f"{note}; " for note in notes)
        + (f"activation {sizes.activation}, {activation_by}; " if activation_by else "")
        + f"{len(tensors)} tensors of {name} as {config.system} in {output}"
        + (f" ({len(unused)} that nothing is computed from in {UNUSED_FILE})" if unused else "")
        + f"; evaluate it with: python -m eaglenet_jax.evaluate --workdir={output}"
    )


def to_pytorch_file(workdir: Path, output: Path, name: str | None = None) -> str:
    """Write the best checkpoint of a work directory as a state dict → a line that says what was done.

    output: .bin, .pt or .pth (needs PyTorch), or .safetensors. name: whose names, by default those of the system's
    released program. UserError for a work directory that is not there, or of a system without a released program.
    """
    config = saved_config(workdir)
    name = name or config.system
    if name not in SOURCES:
        raise UserError(f"{workdir} holds a {name}, which has no released program; give the CLIP's names with --from")
    source = source_called(name)
    if source.released and source.system != config.system:
        raise UserError(f"{workdir} holds a {config.system}, not a {source.system}; give another --from")
    tree = _saved(workdir, build_system(config).head)
    if not source.released:
        scale = _logit_scale(build_system(config).head, tree)
        tree = {"clip": tree["clip"], "head": {"matching_loss": {"logit_scale": scale}}}
    table = source.table(config.head)
    tensors = to_pytorch(table, tree)
    kept = workdir / UNUSED_FILE
    # A program opens its checkpoint strictly, so what it never uses must be there as well.
    tensors |= unused_tensors(table, read_tensors(kept)) if kept.is_file() else source.unused(tensors)
    write_tensors(output, tensors)
    return f"{workdir}: {len(tensors)} tensors with the names of {name} in {output}"


def converted_parameters(name: str, given: str, config: Any) -> Any:
    """Convert a checkpoint of another program into the parameters of a config's system, as `to_workdir` does.

    What was done to find the tensors, and the activation where the file does not tell it, is printed as a line.
    """
    source = source_called(name)
    file, tensors, notes = source.read(given)
    with _naming_another_source(source, tensors):
        sizes, activation_by = source.sizes(file, tensors, "")
        _check(config, source, sizes, given)
        params, _ = _converted(source, build_system(config), as_plain(config.head), tensors)
    if activation_by:
        notes = [*notes, f"activation {sizes.activation}, {activation_by}"]
    if notes:
        to_stderr(f"{given}: {'; '.join(notes)}")
    return params


def to_hf_folder(workdir: Path, output: Path) -> str:
    """Write the CLIP of a work directory's best checkpoint as a Hugging Face folder → a line that says what was done.

    UserError for a work directory that is not there, or if `output` exists.
    """
    _check_new(output)
    system = build_system(saved_config(workdir))
    tree = _saved(workdir, system.head)
    save_clip(output, system.clip.config, {"clip": tree["clip"]}, _logit_scale(system.head, tree))
    shift = system.clip.config.shift_blocks
    return f"{workdir}: CLIP in {output}, for transformers.CLIPModel.from_pretrained" + (
        f"; it has no token shift there (blocks {', '.join(map(str, shift))}), so features of frames differ"
        if shift
        else ""
    )


def _logit_scale(head: Head, tree: Mapping[str, Any]) -> np.ndarray:
    """Return the logit scale that a head has, or CLIP's start."""
    scale = head.clip_logit_scale(tree["head"])
    return np.asarray(math.log(1 / 0.07) if scale is None else scale, np.float32)


def _check_new(output: Path) -> None:
    if output.exists() and any(output.iterdir() if output.is_dir() else [output]):
        raise UserError(f"{output} is there already; give another --output, or delete it")


@contextlib.contextmanager
def _naming_another_source(source: Source, tensors: Mapping[str, Any]) -> Iterator[None]:
    """Add to an error the sources that the tensors' names fit better."""
    try:
        yield
    except UserError as error:
        others, part = fitting_sources(tensors, source), fitting_prefix(tensors, source)
        if not others and part:
            raise UserError(
                f"only the names under `{part}.` fit --from={source.name}: eaglenet_jax.convert takes them with "
                f"--weights={part}"
            ) from error
        if not others:
            raise
        raise UserError(f"{' or '.join(f'--from={other}' for other in others)} fits this file; {error}") from error


def _fit(config: ConfigDict, sizes: ClipConfig, settings: Mapping[str, Any]) -> None:
    """Write into a config what the file holds: the CLIP's sizes, the head's options, the number of frames."""
    named = [name for name, known in NAMED_SIZES.items() if known == sizes]
    how = {name: config.clip[name] for name in COMPUTATION if name in config.clip}
    last = sizes.vision_layers - 1
    if any(block > last for block in how["shift_blocks"]):
        how["shift_blocks"] = (last - 1, last)  # as blocks 10 and 11 are of the released program's 12
    with config.unlocked():
        fields = {"name": named[0]} if named else {"name": "", **{name: getattr(sizes, name) for name in SIZES}}
        config.clip = ConfigDict({**fields, **how})
    config.max_words = min(config.max_words, sizes.context_length)
    config.max_frames = settings.get("max_frames", config.max_frames)
    config.head.update(settings.get("head", {}))


def _check_kept(overrides: Sequence[str], asked: Mapping[str, Any], fitted: Mapping[str, Any]) -> None:
    """UserError for an override of what the checkpoint decides: it would be written over."""

    def value(config: Any, names: Sequence[str]) -> Any:
        for name in names:
            config = config.get(name) if isinstance(config, Mapping) else None
        return config

    for override in overrides:
        name = override.removeprefix("--config.").partition("=")[0]
        wanted, found = (value(config, name.split(".")) for config in (asked, fitted))
        if wanted != found:
            raise UserError(
                f"{override} would change nothing: the checkpoint says {name}={found}, and a converted model keeps "
                "that; leave it out, or override it where you train from the converted model"
            )


def _check(config: ConfigDict, source: Source, sizes: ClipConfig, given: str) -> None:
    if config.system != source.system:
        raise UserError(f"--config is of the system {config.system}, {given} becomes a {source.system}")
    wanted = build_clip_config(config.clip)
    different = [
        f"{name} is {getattr(sizes, name)} there and {getattr(wanted, name)} in --config"
        for name in SIZES
        if getattr(sizes, name) != getattr(wanted, name)
    ]
    if different:
        raise UserError(f"{given} holds another CLIP: {'; '.join(different)}")


def _converted(source: Source, system: System, head: Mapping[str, Any], tensors: Mapping[str, Any]) -> tuple[Any, Any]:
    """(parameters, head state) of a system from a source's tensors."""
    expected = system.shapes()
    head_state = system.head.initial_state()
    arrays = system.head.state_arrays(head_state)
    if arrays:
        expected["head_state"] = arrays
    tree = to_flax(source.table(head), tensors, expected)
    if arrays:
        head_state = system.head.state_with(head_state, tree.pop("head_state"))
    return tree, head_state


def _saved(workdir: Path, head: Head) -> dict[str, Any]:
    """Parameters and buffers of the best checkpoint."""
    loaded = load_checkpoint(workdir)
    tree = dict(loaded.params)
    names = [f"head_state/{name}" for name in head.state_arrays(head.initial_state())]
    if names:
        shapes = saved_shapes(loaded.folder)
        arrays = read_arrays(loaded.folder, {name: shapes[name] for name in names})
        tree["head_state"] = {name.removeprefix("head_state/"): array for name, array in arrays.items()}
    return tree
