"""Persistent cache of compiled programs: what a command compiled once, the next one reads from the disk."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from eaglenet_jax.errors import UserError

FOLDER_VARIABLE, LIMIT_VARIABLE = "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"
NO_LIMIT = "-1"
LIMIT_BYTES = 2 * 1024**3  # what was not read for longest is removed beyond it
SHORTEST_SECONDS = 0.05  # of a compilation that is worth a file
OFF, AUTO = "", "auto"
STARTED = time.time()  # when this process loaded its code: commands import this file among the first
TRACED = "traced"  # folder of traced steps, within that of compiled programs

_in_command = False


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
    global _in_command
    _in_command = True
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
    if os.environ.setdefault(LIMIT_VARIABLE, str(LIMIT_BYTES)) != NO_LIMIT:
        _remove_incomplete(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(SHORTEST_SECONDS))


def _remove_incomplete(folder: Path) -> None:
    """Remove programs of which a killed process or a full disk left a part.

    With a limit JAX writes a program, then the time of its use. Of a program without a time it reads what is there, and
    nothing is written to the folder any more: looking for what was not read for longest, JAX fails at it.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return
    incomplete = [name for name in names if name.endswith("-cache") and f"{name[:-6]}-atime" not in names]
    if not incomplete:
        return
    import filelock  # late: --help answers at once

    try:
        with filelock.FileLock(folder / ".lockfile", timeout=1):  # JAX's own, held while it writes
            for name in incomplete:
                if not (folder / f"{name[:-6]}-atime").exists():
                    (folder / name).unlink(missing_ok=True)
    except (OSError, filelock.Timeout):
        return


def traced_folder() -> Path | None:
    """Folder in which this process keeps traced steps; None where it keeps no programs, or is no command.

    In a notebook or a test code can change while it runs, by which a step that was kept would be out of date.
    """
    import jax

    options: Any = jax.config
    folder = options.jax_compilation_cache_dir
    return Path(folder) / TRACED if _in_command and folder and options.jax_enable_compilation_cache else None


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
