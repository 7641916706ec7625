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

from eaglenet_jax.errors import UserError

PYTORCH_SUFFIXES = (".pt", ".pth", ".bin")


def read_tensors(file: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a .safetensors or PyTorch file (.pt, .pth, .bin), by name, in their stored type.

    A PyTorch file may be a state dict, a dict with one under "state_dict", or a TorchScript archive. Pickles are read
    with weights_only=True, so a file cannot run code.

    Raises:
        UserError: The file is missing, truncated or of another format.
    """
    if not file.is_file():
        raise UserError(f"{file} is a folder; give the file in it" if file.is_dir() else f"{file}: no such file")
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    # CLIP4Clip and EagleNet append the epoch: pytorch_model.bin.4.
    if re.sub(r"\.\d+$", "", file.name).endswith(PYTORCH_SUFFIXES):
        return _read_pytorch(file)
    known = ", ".join((".safetensors", *PYTORCH_SUFFIXES))
    raise UserError(f"{file}: files ending in {file.suffix!r} are not read; give one of {known}")


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
    except TypeError:  # bfloat16, which NumPy alone does not have
        from safetensors.flax import load_file as load_file_as_jax

        return {name: np.asarray(array) for name, array in load_file_as_jax(file).items()}


def _read_pytorch(file: Path) -> dict[str, np.ndarray]:
    torch = _torch(file)
    try:
        held = _opened(torch, file)
    except Exception as error:  # torch raises errors of many types on a damaged file
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked:
            raise UserError(
                f"{file} needs {blocked[1]}, and only tensors can be read without running its code; save its state dict"
            ) from error
        raise UserError(f"{file} is truncated or no PyTorch file ({type(error).__name__}); copy it again") from error
    if isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    tensors = dict(held) if isinstance(held, Mapping) else {}
    foreign = [str(name) for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if not tensors or foreign:
        what = f"{', '.join(foreign[:5])} are no tensors" if foreign else f"it holds a {type(held).__name__}"
        raise UserError(f"{file} is no state dict: {what}; give the file of the model's weights")
    return {str(name): _as_numpy(torch, value) for name, value in tensors.items()}


def _opened(torch: ModuleType, file: Path) -> Any:
    if not _is_torchscript(file):
        return torch.load(file, map_location="cpu", weights_only=True)
    with warnings.catch_warnings():
        # TorchScript has its own reader, in C++, that runs no Python pickle; newer versions call it deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(file), map_location="cpu").state_dict()


def _as_numpy(torch: ModuleType, tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy()


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
