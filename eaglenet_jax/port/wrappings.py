"""Search for a model's tensors inside what a training program saved, and removal of wrappers' prefixes.

Nothing here reads a file: `held` is what a file contained, and values may be NumPy arrays or PyTorch tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError, listed

# Keys under which programs keep a model's tensors; the first that is there is taken.
CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "student",
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema_state_dict",
    "teacher",
)
# Prefixes of whole models; where a file holds several, the first is taken.
PREFIXES = ("module.", "model.", "student.", "net.", "network.", "online_model.", "ema_model.", "ema.", "teacher.")
# First parts of the names of models that are read here. A prefix of another name is one that a program made up, if all
# names have it and these are behind it. "clip." belongs to the names of the released programs.
PARTS = ("clip", "visual", "vision_model", "text", "text_model", "transformer", "token_embedding", "text_projection")
# Parts of a name that torch.compile, FSDP and checkpointing put in, at any depth.
INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
TRAINING = ("optim", "sched", "scaler", "rng")  # parts of keys whose tensors are not the model's
COUNTERS = ("n_averaged", "initted", "step", "num_updates")  # of moving averages, next to the model's names
NUMBERS = ("logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size")  # may be plain numbers
NAMED = 4  # how many names a note lists


def unwrap(held: Any, choice: str = "") -> tuple[dict[str, Any], list[str]]:
    """Find the tensors of a model in the content of a checkpoint.

    Args:
        held: The content, in general nested dicts.
        choice: Key of the part to take, with . between nested keys; by default the first of `CONTAINERS` in
            each level.

    Returns:
        (tensors by name, what was done: sentences without a subject, such as "took `state_dict`").

    Raises:
        UserError: There are no tensors, or several models of which none has a usual key, or no such `choice`.
    """
    taken: list[str] = []
    notes: list[str] = []
    if isinstance(held, list | tuple):  # as torch.save((model.state_dict(), epoch), file)
        places = [place for place, value in enumerate(held) if _holds_model(str(place), value)]
        if len(places) == 1:
            taken, held = [str(places[0])], held[places[0]]
    for key in _keys(held, choice):
        held = held[key]
        taken.append(key)
    while isinstance(held, Mapping):
        models = [key for key, value in held.items() if isinstance(key, str) and _holds_model(key, value)]
        usual = [key for key in CONTAINERS if key in models]
        # A loss or a step next to the model is a tensor too, of one number.
        own = any(_is_tensor(value) and len(value.shape) for value in held.values())
        if not usual and (own or not models):
            break
        if not usual and len(models) > 1:
            several = ", ".join(models)
            raise UserError(f"is no state dict: it holds several, {several}; choose one, as --weights={models[0]}")
        key = usual[0] if usual else models[0]
        _note_rest(held, key, [each for each in models if each != key], [*taken, ""], notes)
        held = held[key]
        taken.append(key)
    if taken:
        notes.insert(0, f"took `{'.'.join(taken)}`")
    if not isinstance(held, Mapping):
        raise UserError(f"is no state dict: it holds a {type(held).__name__}; give the file of the model's weights")
    tensors = {str(name): value for name, value in held.items() if _is_tensor(value)}
    numbers = {
        str(name): np.asarray(value)
        for name, value in held.items()
        if str(name).rpartition(".")[2] in NUMBERS and isinstance(value, (int, float, np.number))
    }
    if not tensors:
        what = f"{', '.join(str(name) for name in list(held)[:NAMED])} are no tensors" if held else "it is empty"
        raise UserError(f"is no state dict: {what}; give the file of the model's weights")
    other = [str(name) for name in held if str(name) not in tensors and str(name) not in numbers]
    if other:
        notes.append(f"passed over {listed(other, NAMED)}, no tensors")
    return {**tensors, **numbers}, notes


def strip(tensors: Mapping[str, Any], choice: str = "") -> tuple[dict[str, Any], list[str]]:
    """Remove the prefixes of wrappers that all names share.

    Args:
        tensors: By name.
        choice: Prefix of the model to take where the file holds several, with or without the dot.

    Returns:
        (tensors by their own names, what was done).

    Raises:
        UserError: Two names become one.
    """
    notes: list[str] = []
    stripped: list[str] = []
    if choice:
        tensors = {
            name.removeprefix(f"{choice}."): each for name, each in tensors.items() if name.startswith(f"{choice}.")
        }
        notes.append(f"took the names that start with `{choice}.`")
    counters = [name for name in tensors if name in COUNTERS and np.prod(tensors[name].shape) == 1]
    found = {name: value for name, value in tensors.items() if name not in counters}
    if counters:
        notes.append(f"passed over {listed(counters, NAMED)}, of a moving average")
    for inner in INNER:
        renamed = {name.replace(inner, ""): value for name, value in found.items()}
        if renamed.keys() != found.keys():
            if len(renamed) != len(found):
                raise UserError(f"without `{inner}` two names become one; save the state dict of one model")
            stripped.append(f"`{inner}`")
            found = renamed
    while found:
        heads = {f"{head}." if dot else "" for head, dot, _ in (name.partition(".") for name in found)}
        if heads <= set(PREFIXES):
            first, *others = sorted(heads, key=PREFIXES.index)
        elif _is_made_up(heads, found):
            first, *others = heads
        else:
            break
        found = {name.removeprefix(first): value for name, value in found.items() if name.startswith(first)}
        stripped.append(f"`{first}`")
        if others:
            shown = ", ".join(f"`{other}`" for other in others)
            notes.append(f"left {shown} (--weights={others[0][:-1]} takes it)")
    if stripped:
        notes.insert(0, f"stripped {', '.join(stripped)}")
    return found, notes


def _is_made_up(heads: set[str], tensors: Mapping[str, Any]) -> bool:
    """Whether all names have one first part that belongs to no model, and parts of a model follow, at any depth."""
    if len(heads) != 1 or not all(heads) or next(iter(heads))[:-1] in PARTS:
        return False
    return any(part in PARTS for name in tensors for part in name.split(".")[1:])


def _keys(held: Any, choice: str) -> list[str]:
    """Return the keys of a choice; keys may contain dots themselves."""
    if not choice:
        return []
    if isinstance(held, Mapping):
        for key in sorted((key for key in held if isinstance(key, str)), key=len, reverse=True):
            if choice == key and isinstance(held[key], Mapping):
                return [key]
            if choice.startswith(f"{key}.") and isinstance(held[key], Mapping):
                return [key, *_keys(held[key], choice.removeprefix(f"{key}."))]
        there = [key for key, value in held.items() if isinstance(key, str) and _holds_model(key, value)]
    else:
        there = []
    raise UserError(f"has nothing called {choice!r} with tensors in it; it has {', '.join(there) or 'one model only'}")


def _holds_model(key: str, value: Any) -> bool:
    """Whether a value is a dict that holds tensors under names, at any depth, and not an optimiser's."""
    if not isinstance(value, Mapping) or any(part in key.lower() for part in TRAINING):
        return False
    return any(isinstance(name, str) and (_is_tensor(each) or _holds_model(name, each)) for name, each in value.items())


def _note_rest(held: Mapping[Any, Any], key: str, models: list[str], path: list[str], notes: list[str]) -> None:
    prefix = ".".join(path)
    if models:
        notes.append(
            f"left {', '.join(f'`{prefix}{each}`' for each in models)} (--weights={prefix}{models[0]} takes it)"
        )
    rest = [str(each) for each in held if each != key and each not in models]
    if rest:
        notes.append(f"passed over {listed(rest, NAMED)}")


def _is_tensor(value: Any) -> bool:
    return (isinstance(value, np.ndarray) and value.dtype.kind not in "OSUMm") or (
        hasattr(value, "detach") and hasattr(value, "dtype")
    )
