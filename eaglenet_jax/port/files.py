"""Files of tensors: safetensors, and PyTorch's own formats if PyTorch is installed."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError, near_path
from eaglenet_jax.port.plain_pickles import plain_globals
from eaglenet_jax.port.shards import INDEX, check_whole, shard_files, weight_map
from eaglenet_jax.port.wrappings import strip, unwrap

PYTORCH_MARKS = (b"PK", b"\x80")  # a zip archive, a pickle
LFS_POINTER = b"version https://git-lfs"
PYTORCH_SUFFIXES = (".pt", ".pth", ".bin")
CHECKPOINT_SUFFIXES = (*PYTORCH_SUFFIXES, ".ckpt", ".pt.tar", ".pth.tar")  # read, not written


def read_tensors(file: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a .safetensors or PyTorch file (.pt, .pth, .bin, .ckpt), by name, in their stored type.

    A PyTorch file may be a state dict, dicts around one (see `wrappings`), or a TorchScript archive. Pickles are read
    with weights_only=True and a list of harmless types, so a file cannot run code.

    Raises:
        UserError: The file is missing, truncated or of another format.
    """
    return _held_tensors(file, "")[0]


def read_checkpoint(file: Path, weights: str = "") -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the tensors of a model, without the prefixes of wrappers, from one file or from all files of an index.

    Args:
        file: As for `read_tensors`, or an index of several files (*.index.json).
        weights: Key of the model to take where the file holds several, such as "ema".

    Returns:
        (tensors by name, what was done: sentences without a subject, such as "stripped `module.`").

    Raises:
        UserError: As for `read_tensors`; or a file of the index is missing or does not hold what the index says.
    """
    if file.name.endswith(INDEX):
        tensors, notes = _read_shards(file), [f"read the files of {file.name}"]
    else:
        check_whole(file)
        tensors, notes = _held_tensors(file, weights)
    # A choice is a key of the file, or where nothing is nested the first part of the names.
    flat = bool(weights) and any(name.startswith(f"{weights}.") for name in tensors)
    try:
        if weights and not flat and not any(note.startswith("took") for note in notes):
            raise UserError(f"has nothing called {weights!r}; leave out --weights")
        found, stripped = strip(tensors, weights if flat else "")
    except UserError as error:
        raise UserError(f"{file} {error}") from error
    return {name: _scalar(name, value) for name, value in found.items()}, stripped + notes


def _scalar(name: str, value: np.ndarray) -> np.ndarray:
    """The logit scale and bias as one number; some programs store a vector of one."""
    one = name.rpartition(".")[2] in ("logit_scale", "logit_bias") and value.shape == (1,)
    return value.reshape(()) if one else value


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for file in shard_files(index):
        tensors |= read_tensors(file)
    places = weight_map(index)
    wrong = sorted(places.keys() ^ tensors.keys())
    if wrong:
        raise UserError(
            f"{index} and its files differ in {len(wrong)} names, first {wrong[0]}; copy all files of one model again"
        )
    return tensors


def _held_tensors(file: Path, weights: str) -> tuple[dict[str, np.ndarray], list[str]]:
    if not file.is_file():
        raise UserError(f"{file} is a folder; give the file in it" if file.is_dir() else _not_there(file))
    with file.open("rb") as opened:
        start = opened.read(64)
    if start.startswith(LFS_POINTER):
        raise UserError(f"{file} is a pointer of Git LFS, not the weights; fetch them with: git lfs pull")
    if start.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        raise UserError(f"{file} is a web page, not the weights; download the file itself")
    # CLIP4Clip and EagleNet append the epoch: pytorch_model.bin.4.
    if re.sub(r"\.\d+$", "", file.name).endswith((".safetensors", *CHECKPOINT_SUFFIXES)):
        if _is_safetensors(start) or (file.suffix == ".safetensors" and not start.startswith(PYTORCH_MARKS)):
            return _read_safetensors(file), []
        return _read_pytorch(file, weights)
    known = ", ".join((".safetensors", *CHECKPOINT_SUFFIXES))
    raise UserError(f"{file}: files ending in {file.suffix!r} are not read; give one of {known}")


def _is_safetensors(start: bytes) -> bool:
    """Whether a file begins with the length of a header in eight bytes and the header, whatever it is called."""
    return start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") < 1 << 32


def _not_there(file: Path) -> str:
    return f"{file}: no such file; give the path of a checkpoint, or the folder that holds it{near_path(file)}"


def read_parts(file: Path, prefixes: tuple[str, ...], shapes_only: bool = False) -> dict[str, np.ndarray]:
    """Read the tensors of a file whose names begin with one of `prefixes`; a large file is not read as a whole.

    Args:
        file: As for `read_tensors`.
        prefixes: Beginnings of names.
        shapes_only: Of safetensors, give zeros that take no memory in place of the values.

    Raises:
        UserError: As for `read_tensors`.
    """
    if file.suffix != ".safetensors":
        return {name: value for name, value in read_tensors(file).items() if name.startswith(prefixes)}
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise UserError(_not_there(file))
    try:
        with safe_open(file, framework="numpy") as opened:
            names = [name for name in opened.keys() if name.startswith(prefixes)]  # noqa: SIM118 (no mapping)
            if shapes_only:
                return {name: np.broadcast_to(np.float32(0), opened.get_slice(name).get_shape()) for name in names}
            return {name: opened.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise UserError(f"{file} is truncated or no safetensors file ({error}); copy it again") from error
    except AttributeError as error:
        raise _few_bits(file) from error
    except TypeError:  # bfloat16, which NumPy alone does not have
        with safe_open(file, framework="flax") as opened:
            return {name: np.asarray(opened.get_tensor(name)) for name in names}


def tensor_names(file: Path) -> list[str]:
    """List the names of the tensors of a file, or of all files of an index.

    Raises:
        UserError: As for `read_tensors`.
    """
    if file.name.endswith(INDEX):
        return list(weight_map(file))
    return list(read_parts(file, ("",), shapes_only=True))


def write_tensors(file: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors as .safetensors, or as a PyTorch state dict (.pt, .pth, .bin), atomically.

    Raises:
        UserError: The suffix is none of these, or PyTorch is needed and not installed.
    """
    if file.suffix == ".safetensors":
        from safetensors.numpy import save_file

        contiguous = {name: np.array(array, order="C") for name, array in tensors.items()}
        _write_atomically(file, lambda path: save_file(contiguous, path, metadata={"format": "pt"}))
    elif file.suffix in PYTORCH_SUFFIXES:
        torch = _torch(file)
        state = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
        _write_atomically(file, lambda path: torch.save(state, path))
    else:
        known = ", ".join((".safetensors", *PYTORCH_SUFFIXES))
        raise UserError(f"{file}: files ending in {file.suffix!r} are not written; give one of {known}")


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file} is truncated or no safetensors file ({error}); copy it again") from error
    except AttributeError as error:
        raise _few_bits(file) from error
    except TypeError:  # bfloat16, which NumPy alone does not have
        from safetensors.flax import load_file as load_file_as_jax

        return {name: np.asarray(array) for name, array in load_file_as_jax(file).items()}


def _few_bits(file: Path) -> UserError:
    return UserError(f"{file} has numbers of 8 bits or fewer, which are not read; save it in float16 or bfloat16")


def _read_pytorch(file: Path, weights: str) -> tuple[dict[str, np.ndarray], list[str]]:
    torch = _torch(file)
    try:
        held = _opened(torch, file)
    except Exception as error:  # torch raises errors of many types on a damaged file
        blocked = re.search(r"(?:GLOBAL |got <class ')([\w.]+)", str(error))
        if blocked:
            raise UserError(
                f"{file} needs {blocked[1]}, and only tensors can be read without running its code; if you trust it, "
                f'write them where that code is installed: held = torch.load("{file.name}", map_location="cpu", '
                f'weights_only=False) and then torch.save(held.state_dict(), "{file.stem}_weights.pt") '
                '(with held["state_dict"] if held is a dict)'
            ) from error
        raise UserError(f"{file} is truncated or no PyTorch file ({type(error).__name__}); copy it again") from error
    try:
        tensors, notes = _unwrapped(held, weights)
    except UserError as error:
        raise UserError(f"{file} {error}") from error
    empty = [name for name, value in tensors.items() if getattr(getattr(value, "device", None), "type", "") == "meta"]
    if empty:
        raise UserError(
            f"{file}: {len(empty)} tensors have a shape but no values, first {empty[0]}; save the weights again"
        )
    return {name: _as_numpy(torch, value) for name, value in tensors.items()}, notes


def _unwrapped(held: Any, weights: str) -> tuple[dict[str, Any], list[str]]:
    """The tensors of a choice, which may also be a prefix of the names in the one model that there is."""
    try:
        return unwrap(held, weights)
    except UserError:
        tensors, notes = unwrap(held)
        if weights and any(name.startswith(f"{weights}.") for name in tensors):
            return tensors, notes
        raise


def _opened(torch: ModuleType, file: Path) -> Any:
    if not _is_torchscript(file):
        # Of a path, newer versions judge by its suffix.
        with torch.serialization.safe_globals(plain_globals()), file.open("rb") as opened:
            return torch.load(opened, map_location="cpu", weights_only=True)
    with warnings.catch_warnings():
        # TorchScript has its own reader, in C++, that runs no Python pickle; newer versions call it deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(file), map_location="cpu").state_dict()


def _as_numpy(torch: ModuleType, tensor: Any) -> np.ndarray:
    if isinstance(tensor, np.ndarray):
        return np.asarray(tensor)
    tensor = tensor.detach()
    tensor = tensor.to_dense() if tensor.is_sparse else tensor
    known_to_numpy = (torch.float16, torch.float32, torch.float64)
    if tensor.dtype.is_floating_point and tensor.dtype not in known_to_numpy:
        tensor = tensor.float()
    return tensor.contiguous().numpy()


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _torch(file: Path) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{file} is a PyTorch file, which needs PyTorch: pip install torch") from error
    return torch


def _write_atomically(file: Path, write: Callable[[str], None]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=file.suffix)
    os.close(descriptor)
    try:
        write(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    finally:
        Path(temporary).unlink(missing_ok=True)
