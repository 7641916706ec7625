"""What the default device is, where faster ways of computing depend on it."""

from __future__ import annotations

import jax

AMPERE = 8  # compute capability since which an NVIDIA GPU multiplies bfloat16 on its tensor cores


def is_recent_gpu() -> bool:
    """Return whether the default device is an NVIDIA GPU whose tensor cores take bfloat16 (A100, H100, RTX 30 …).

    Kernels by cuDNN and by Triton are used there and nowhere else.
    """
    # What `jax.default_device` sets, which the types of jax's configuration leave out.
    device = jax.config.jax_default_device or jax.local_devices()[0]  # type: ignore[attr-defined]
    if getattr(device, "platform", None) != "gpu":
        return False
    major = str(getattr(device, "compute_capability", "")).partition(".")[0]
    return major.isdigit() and int(major) >= AMPERE
