"""Invertible changes of layout between PyTorch's tensors and ours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

Arrays = Sequence[np.ndarray]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Transform:
    """Change of layout and its inverse, on lists, since several tensors may become one, or one several.

    Attributes:
        to_flax: (source arrays, shapes of the targets) → target arrays.
        to_pytorch: Target arrays → source arrays.
    """

    to_flax: Callable[[Arrays, Sequence[Shape]], list[np.ndarray]]
    to_pytorch: Callable[[Arrays], list[np.ndarray]]

    def source_shapes(self, targets: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the source tensors that give targets of these shapes."""
        return [array.shape for array in self.to_pytorch([np.broadcast_to(np.float32(0), shape) for shape in targets])]


def _linear_groups(arrays: Arrays) -> list[np.ndarray]:
    return [arrays[0].reshape(arrays[0].shape[0], -1).T]


def _convolution(arrays: Arrays) -> list[np.ndarray]:
    kernel = arrays[0]
    side = math.isqrt(kernel.shape[0] // 3)
    return [kernel.reshape(side, side, 3, kernel.shape[1]).transpose(3, 2, 0, 1)]


# No change.
SAME = Transform(lambda sources, _: list(sources), lambda targets: list(targets))

# A linear layer's weight (out, in) ↔ a kernel [in, out].
LINEAR = Transform(lambda sources, _: [sources[0].T], lambda targets: [targets[0].T])

# A linear layer's weight (groups · k, in) ↔ a kernel [in, groups, k].
LINEAR_GROUPS = Transform(lambda sources, shapes: [sources[0].T.reshape(shapes[0])], _linear_groups)

# Linear layers of one input, such as query, key and value, ↔ one kernel [in, out₁ + out₂ + out₃] or bias [...].
FUSED_LINEAR = Transform(
    lambda sources, _: [np.concatenate([source.T for source in sources], axis=1)],
    lambda targets: [part.T for part in np.split(targets[0], 3, axis=1)],
)
FUSED_BIAS = Transform(lambda sources, _: [np.concatenate(sources)], lambda targets: list(np.split(targets[0], 3)))

# A linear layer (out, in₁ + in₂) on two concatenated inputs of equal width ↔ two kernels [in₁, out], [in₂, out].
SPLIT_LINEAR = Transform(
    lambda sources, _: list(np.split(sources[0].T, 2, axis=0)),
    lambda targets: [np.concatenate(targets, axis=0).T],
)

# A convolution (w, 3, p, p) with stride p ↔ a kernel on flat patches [p · p · 3, w].
PATCHES = Transform(
    lambda sources, _: [sources[0].transpose(2, 3, 1, 0).reshape(-1, sources[0].shape[0])],
    _convolution,
)

# One number as (1,) ↔ [].
SCALAR = Transform(lambda sources, _: [sources[0].reshape(())], lambda targets: [targets[0].reshape(1)])
