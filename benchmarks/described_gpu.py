"""GPUs that are described and not present: jax's CUDA plugin compiles for them on a machine that has none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from eaglenet_jax.errors import UserError
from eaglenet_jax.training.sharding import DATA_AXIS

# Who computes products. On a GPU XLA tries both; here nothing is tried, and some large ones find no tiling in Triton.
PRODUCTS: dict[str, dict[str, Any]] = {"triton": {}, "cublas": {"xla_gpu_enable_triton_gemm": False}}
PER_HOST = 8
DESCRIPTION = (
    "gpu_device_info { threads_per_block_limit:1024 threads_per_warp:32 shared_memory_per_block:49152 "
    "shared_memory_per_core:233472 threads_per_core_limit:2048 core_count:132 fpus_per_core:128 "
    "block_dim_limit_x:2147483647 block_dim_limit_y:65535 block_dim_limit_z:65535 memory_bandwidth:4800000000000 "
    "l2_cache_size:62914560 clock_rate_ghz:1.98 device_memory_size:150000000000 "
    "shared_memory_per_block_optin:232448 cuda_compute_capability { major:9 minor:0 } "
    "registers_per_core_limit:65536 registers_per_block_limit:65536 }\n"
    'platform_name:"CUDA" dnn_version_info { major:9 minor:5 patch:0 } device_description_str:"NVIDIA H200"'
)


@dataclass(frozen=True)
class Peaks:
    """What a GPU is assumed to reach. Not measured.

    Attributes:
        bytes_per_second: Of its memory.
        bfloat16: FLOP/s of large products of bfloat16.
        tensorfloat32: FLOP/s of large products of float32 at jax's default precision on a GPU.
        float32: FLOP/s of large products of float32 at precision `highest`.
        link_bytes_per_second: To the other GPUs, each way.
    """

    bytes_per_second: float
    bfloat16: float
    tensorfloat32: float
    float32: float
    link_bytes_per_second: float

    def flops(self, dtype: str) -> float:
        """Return the FLOP/s of products of a type: bfloat16, tensorfloat32 or float32 (at precision `highest`)."""
        return float(getattr(self, dtype))

    def __str__(self) -> str:
        return (
            f"{self.bytes_per_second / 1e12:.1f} TB/s, {self.bfloat16 / 1e12:.0f} TFLOP/s of bfloat16, "
            f"{self.tensorfloat32 / 1e12:.0f} of TF32, {self.float32 / 1e12:.0f} of float32 at `highest`, "
            f"{self.link_bytes_per_second / 1e9:.0f} GB/s to the "
            "other GPUs"
        )


# Nine tenths of the 4.8 TB/s and four fifths of the 989, 495 and 67 TFLOP/s and 450 GB/s of the data sheet.
H200 = Peaks(4.3e12, 790e12, 395e12, 54e12, 360e9)


def allow_compiling() -> None:
    """Set what the plugin reads of the environment; call it before anything of jax is run.

    Raises:
        UserError: jax's CUDA plugin is not installed.
    """
    try:
        import jax_cuda12_plugin  # noqa: F401  # jax finds it by itself
    except ImportError as error:
        raise UserError("compiling for a GPU needs jax's CUDA plugin: pip install -e '.[cuda12]'") from error
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"


def described_mesh(devices: int = 1) -> Mesh:
    """Return a mesh of described H200s along the axis "data", eight on a host."""
    from jax.experimental import topologies

    hosts = -(-devices // PER_HOST)
    topology = topologies.get_topology_desc(
        topology_name="h200", platform="cuda", target_config=DESCRIPTION, topology=f"{hosts}x{devices // hosts}x1"
    )
    return Mesh(np.array(topology.devices).reshape(-1), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def placed(tree: Any, mesh: Mesh, spec: PartitionSpec | None = None) -> Any:
    """Return the shapes of a tree's arrays, placed on the mesh; by default whole on every device."""
    sharding = NamedSharding(mesh, PartitionSpec() if spec is None else spec)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
