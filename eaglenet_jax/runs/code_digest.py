"""Digest of the code that a program is traced from, by which a program that is kept is known to be of this code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import sysconfig
from pathlib import Path

import jax

from eaglenet_jax.compilation_cache import STARTED

PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")  # by their versions
INSTALLED = {"site-packages", "dist-packages"}
NEVER_TRACED = "data_prep."  # some of its modules are loaded only by the start that renders data


def code_digest() -> str:
    """Compute a digest of all that the same config can be traced to another program by.

    These are the sources of this package and of every other module that is loaded and not installed (configs, heads of
    the user, a library that is worked on), the versions of Python and of the libraries, jax's settings, and the
    devices.

    Returns:
        32 hexadecimal digits; "" where the code cannot be known: that of a notebook, and of files that were changed
        after this process started, which may have loaded them before.
    """
    main = sys.modules.get("__main__")
    if not getattr(main, "__file__", None):
        return ""
    digest = hashlib.blake2b(digest_size=16)
    try:
        for file in sorted({*PACKAGE.rglob("*.py"), *_loaded_sources()}):
            about, content = file.stat(), file.read_bytes()
            if max(about.st_mtime, about.st_ctime) > STARTED:
                return ""
            digest.update(f"{file.name} {len(content)}\n".encode() + content)
    except OSError:
        return ""
    facts = [sys.version, *(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)]
    facts += [f"{name} {value}" for name, value in sorted(jax.config.values.items()) if "cache" not in name]
    facts += [f"{device.platform} {device.device_kind}" for device in jax.devices()]
    digest.update("\n".join(facts).encode())
    return digest.hexdigest()


def _loaded_sources() -> set[Path]:
    """Files of the modules that are loaded, without those that are installed or Python's own."""
    own = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))
    modules = {name: module for name, module in list(sys.modules.items()) if not name.startswith(NEVER_TRACED)}
    names = {getattr(module, "__file__", None) for module in modules.values()}
    files = {name for name in names if name and name.endswith(".py") and not name.startswith(own)}
    return {path for path in map(Path, files) if not INSTALLED & set(path.parts)}
