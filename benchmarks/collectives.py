"""What the devices of a training step send to each other, counted in the program that is compiled for simulated ones.

    python -m benchmarks.collectives [--devices=64] [--config=demo:tiny] [--clips=2] [--params=fsdp] [--json]

The devices are jax's simulated CPUs; nothing is run. XLA's partitioner decides what is sent before it compiles for a
device, so kinds and arrays are those of GPUs; there, several may travel together.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from benchmarks.compiled_program import Program
from benchmarks.gpu_cases import TOTAL_STEPS, step_config
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.plan import optimizer_settings
from eaglenet_jax.runs.step_memory import step_and_arguments
from eaglenet_jax.system import build_system
from eaglenet_jax.training.sharding import PARAMETER_SHARDINGS, make_mesh

SUMMARY = "What the devices of a training step send to each other, by the compiled program."


def simulate_devices(count: int) -> None:
    """Make jax see `count` CPU devices.

    Raises:
        UserError: This process has devices already, and of another number.
    """
    with contextlib.suppress(RuntimeError):  # the devices are made
        jax.config.update("jax_num_cpu_devices", count)
    if jax.device_count() != count:
        raise UserError(f"this process has {jax.device_count()} device(s) already, not {count}; unset XLA_FLAGS")


def count_collectives(config: Any) -> dict[str, Any]:
    """Count what a device sends in one step of a config's last stage, on all devices.

    Returns:
        Bytes of all parameters and of an array of all prepared videos, and kind → how often, bytes in all, bytes of the
        largest.
    """
    system = build_system(config)
    params = system.shapes()
    settings = optimizer_settings(config, system.head.unused_parameters())
    step, arguments = step_and_arguments(config, system, params, settings, make_mesh(), TOTAL_STEPS)
    sent = Program(step.lower(*arguments).compile().as_text()).collectives(unknown_trips=1)
    return {
        "devices": jax.device_count(),
        "batch": config.batch_size,
        "parameter_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)),
        "video_bytes": 4 * config.batch_size * system.max_frames * system.clip.config.embed_dim,
        "sent": {
            kind: {
                "count": sum(cost.times for cost in costs),
                "bytes": sum(cost.times * cost.moved for cost in costs),
                "largest": max(max(cost.read, cost.written) for cost in costs),
            }
            for kind, costs in sent.items()
        },
    }


def table(found: Mapping[str, Any]) -> str:
    """Format what `count_collectives` found."""
    lines = [
        f"{found['devices']} devices, batch {found['batch']}: parameters {found['parameter_bytes'] / 1e6:.3f} MB, "
        f"an array of all videos {found['video_bytes'] / 1e6:.3f} MB",
        f"{'':16}{'times':>7}{'MB read and written':>21}{'MB of the largest':>19}",
    ]
    lines += [
        f"{kind:16}{row['count']:7}{row['bytes'] / 1e6:21.3f}{row['largest'] / 1e6:19.3f}"
        for kind, row in sorted(found["sent"].items())
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Count and print."""
    parser = Parser(prog="python -m benchmarks.collectives", description=SUMMARY)
    parser.add_argument("--devices", type=int, default=8, help="how many are simulated, default %(default)s")
    parser.add_argument("--config", default="demo:tiny", help="default %(default)s")
    parser.add_argument("--clips", type=int, default=2, help="of each device, default %(default)s")
    parser.add_argument("--params", choices=PARAMETER_SHARDINGS, default="replicated", help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if given.devices < 1 or given.clips < 1:
        raise UserError("--devices and --clips must be at least 1")
    simulate_devices(given.devices)
    fields = {"sharding__params": given.params, "batch_size": given.clips * given.devices}
    found = count_collectives(step_config(given.config, **fields))
    print(json.dumps(found, indent=1) if given.json else table(found))


if __name__ == "__main__":
    run_command(main)
