"""Settings of every test: exact matrix products, shapes checked at run time, no network, nothing compiled twice."""

from __future__ import annotations

import atexit
import gc
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is most of the time of the tests that train, in this process and in those that they start. The cache lasts
# as long as the session, unless the environment names one to keep.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jax-cache-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Halves the time to compile, and what is compiled runs only a few times. With 0 the tests run what users run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Halves it again: each fused operation is compiled by the older, shorter way. XLA ends a process for a flag that it
# does not know, and jaxlib 0.12 knows this one no more.
if (
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "0"
    and "fusion_emitters" not in os.environ.get("XLA_FLAGS", "")
    and importlib.metadata.version("jaxlib").startswith("0.10.")
):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()

import jax
import jaxtyping
import numpy as np
import pytest

import tests.typechecking  # noqa: F401  the hook below finds it by name

GOLDEN = Path(__file__).parent / "golden"
# heads/features.py and interface.py are left out: the dataclasses travel through vmap, eval_shape and sharding trees.
CHECKED = [
    "eaglenet_jax.clip",
    "eaglenet_jax.layers",
    "eaglenet_jax.energy",
    "eaglenet_jax.scoring",
    "eaglenet_jax.metrics",
]
CHECKED += [
    f"eaglenet_jax.heads.{path.stem}"
    for path in sorted((Path(__file__).parents[1] / "eaglenet_jax/heads").glob("[!_]*.py"))
    if path.stem not in ("interface", "features")
]

jaxtyping.install_import_hook(CHECKED, "tests.typechecking.functions_only")
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_collection_finish() -> None:
    """Look for garbage less often: jax traces make many objects that stay, and thousands of tests are kept as well."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """golden("name") reads tests/golden/name.npz as a dict of arrays."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    return read
