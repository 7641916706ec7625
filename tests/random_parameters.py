"""Random parameters of a system, where any do: to compile its own initialisation takes seconds for each system."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from eaglenet_jax.system import System


def random_parameters(system: System, seed: int = 0) -> dict[str, Any]:
    """Draw scales near one and everything else near zero, in NumPy."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        middle = 1.0 if jax.tree_util.keystr(path).endswith("['scale']") else 0.0
        return rng.normal(middle, 0.1, leaf.shape).astype(leaf.dtype)

    shapes = system.shapes()
    return dict(jax.tree_util.tree_map_with_path(draw, shapes))
