"""Choices for --config, as the help of the commands lists them. Imports no model library."""

from __future__ import annotations

import textwrap

from eaglenet_jax.config.clip_sizes import CLIP_SIZES
from eaglenet_jax.config.loading import config_names
from eaglenet_jax.config.presets import PRESETS
from eaglenet_jax.config.systems import SYSTEMS


def choices_text() -> str:
    """Configs, systems, presets and CLIP sizes, with an example."""
    names = config_names()
    rows = [
        ("configs", ", ".join(name for name in names if "/" not in name)),
        ("ablations", ", ".join(name for name in names if "/" in name)),
        ("systems", ", ".join(SYSTEMS)),
        ("presets", ", ".join(PRESETS)),
        ("smallest", "demo:tiny, which only shows that everything works"),
        ("CLIP sizes", ", ".join(f"{short} ({name})" for short, name in CLIP_SIZES.items()) + "; not for the demo"),
    ]
    lines = [
        textwrap.fill(value, 100, initial_indent=f"  {name:<12}", subsequent_indent=14 * " ", break_on_hyphens=False)
        for name, value in rows
    ]
    return "\n".join(
        [
            "what --config takes: a config, then behind a colon a system, a preset and a CLIP size, with commas:",
            *lines,
            "  example     python -m eaglenet_jax.train --config=msrvtt:xpool,released,b32 --config.batch_size=16",
            "",
            "Any field of the config can be overridden, as --config.batch_size=32; --print-config lists them all.",
            "A run that was stopped resumes with the same command; a finished one continues if --config.steps is",
            "raised.",
        ]
    )
