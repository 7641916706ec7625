"""Persistent cache of compiled programs: what a command compiled once, the next one reads from the disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from eaglenet_jax.errors import UserError

FOLDER_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
LIMIT_BYTES = 2 * 1024**3  # what was not read for longest is removed beyond it
SHORTEST_SECONDS = 0.3  # of a compilation that is worth a file
OFF, AUTO = "", "auto"


def default_folder() -> Path:
    """Folder of the user's compiled programs, one for each kind of processor.

    XLA compiles for the processor at hand; a home directory may be shared by machines that differ.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "eaglenet_jax" / f"compiled_{_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kind = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.blake2b("\n".join(kind).encode(), digest_size=4).hexdigest()


def keep_compiled_programs() -> None:
    """Turn the cache on for this process, by the variables that JAX reads when it is imported.

    What the user set by these variables is left as it is; a folder that cannot be written leaves the cache off.
    """
    if FOLDER_VARIABLE in os.environ:
        return
    try:
        folder = default_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return
    if not os.access(folder, os.W_OK):
        return
    os.environ[FOLDER_VARIABLE] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(LIMIT_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(SHORTEST_SECONDS))


def choose_cache(folder: str) -> None:
    """Apply `config.compilation_cache`, before anything is compiled.

    Several processes on CPUs compile each for itself: with programs from a warm cache, Gloo mixes up collectives of two
    programs that start within milliseconds, and aborts.

    Args:
        folder: "auto": the cache of this process is left as it is. "": none. Else where it lies.

    Raises:
        UserError: The folder cannot be made or written.
    """
    import jax

    if folder == OFF or (jax.process_count() > 1 and jax.default_backend() == "cpu"):
        jax.config.update("jax_enable_compilation_cache", False)
    elif folder != AUTO:
        path = Path(folder).expanduser().absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"config.compilation_cache: {path}: {error.strerror}; give another folder") from error
        if not os.access(path, os.W_OK):
            raise UserError(f"config.compilation_cache: {path} cannot be written; give another folder")
        jax.config.update("jax_compilation_cache_dir", str(path))


def describe_cache() -> str:
    """Where this process keeps its compiled programs, in a few words."""
    import jax

    options: Any = jax.config  # mypy does not know its flags
    folder = options.jax_compilation_cache_dir
    if not (folder and options.jax_enable_compilation_cache):
        return "not kept"
    limit = options.jax_compilation_cache_max_size
    size = f" (at most {limit / 1024**3:.3g} GiB)" if limit > 0 else ""
    return f"kept in {_short(folder)}{size}"


def _short(folder: str) -> str:
    """The folder with the home directory as ~."""
    try:
        return f"~/{Path(folder).relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return folder
